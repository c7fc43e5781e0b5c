import type { Bio } from '../../../core/block/bio.ts';
import { REQ_FLAG, REQ_OP } from '../../../core/block/op.ts';
import { SECTOR_SIZE } from '../../../core/base/units.ts';
import { hungUpOn } from '../checkers/c3-neighbours.ts';
import { badAnswer } from '../checkers/c1-answered-once.ts';
import type { ClientOp } from '../op.ts';
import type { SimClient } from './client.ts';
import { CMD, FLAG, joined, requestHead, type Head, type Style } from './format.ts';
import type { HostConnection } from './host-connection.ts';
import { ReplyReader, type Asked } from './replies.ts';
import { Talk } from './talk.ts';
import { SimWire, type Peer } from './wire.ts';

/** A request of the model that a client has to see through, on whatever connection. */
export interface Wish {
  op: ClientOp;
  bio: Bio;
  /** FAST_ZERO was refused: it is asked for without. */
  isSlow: boolean;
}

type Standing = 'down' | 'talking' | 'ready' | 'leaving';

const ENOTSUP = 95;
const ESHUTDOWN = 108;
/** So long after the last trouble it may still be hung up on for holding memory. */
const GRACE_MS = 10_000;

/** One connection of a client, again and again: handshake, requests, replies, its end. */
export class ClientLink implements Peer {
  readonly name: string;
  standing: Standing = 'down';
  wire: SimWire | null = null;
  connection: HostConnection | null = null;
  /** Something was done to it: no wonder if it is lost. */
  isExpected = false;
  /** Names of the contexts agreed, by id. */
  contexts: ReadonlyMap<number, string> = new Map();
  private readonly client: SimClient;
  private talk: Talk | null = null;
  private reader: ReplyReader | null = null;
  private readonly wishes = new Map<Asked, Wish>();
  private out: { readonly bytes: Uint8Array; at: number }[] = [];
  /** Bytes of requests so far. */
  private askedBytes = 0;
  private asks = 0;
  private isDeaf = false;
  private isClosing = false;
  private troubledUntilMs = 0;
  /** Until then a request of it may have waited for memory that a stuck leg has: for so much that there is no other. */
  barredUntilMs = 0;

  constructor(client: SimClient, index: number) {
    this.client = client;
    this.name = `client ${client.index} connection ${index}`;
  }

  get style(): Style {
    return this.client.style;
  }

  get load(): number {
    return this.reader?.pending.size ?? 0;
  }

  get unanswered(): readonly string[] {
    return [...(this.reader?.pending.values() ?? [])].map(({ words }) => words);
  }

  get openWishes(): readonly Wish[] {
    return [...this.wishes.values()];
  }

  // --- its life

  connect(): void {
    const { front } = this.client;
    const { host, clock, prng } = front;
    if (host === null || this.standing !== 'down') return;
    const wire = new SimWire(clock, prng);
    this.standing = 'talking';
    this.wire = wire;
    this.isExpected = false;
    this.askedBytes = 0;
    this.out = [];
    const { wants } = this.client;
    this.talk = new Talk(this.name, wants, front.sizeBytes, (bytes) => this.send(bytes));
    this.reader = new ReplyReader(this.name, wants.style);
    wire.toServer.onRoom = (): void => this.pump();
    this.connection = host.accept(wire);
    wire.clientEnd = this;
    front.say(() => `${this.name} connects`);
  }

  received(bytes: Uint8Array): number {
    if (this.isDeaf) return 0;
    if (this.talk === null) {
      this.reader?.read(bytes);
      return bytes.length;
    }
    const outcome = this.talk.read(bytes);
    if (outcome === 'ready') this.ready(this.talk);
    else if (outcome === 'refused') {
      this.isExpected = true;
      this.wire?.reset();
    }
    return bytes.length;
  }

  /** The server has closed. That is right only behind the last answer. */
  inputEnded(): void {
    const { front } = this.client;
    const isWhole = this.reader?.hasPart !== true && this.load === 0;
    if (front.isShuttingDown) this.isExpected = true;
    if (this.standing === 'leaving' && !isWhole && !this.isExpected)
      badAnswer(this.name, `closed without an answer to ${this.unanswered.join(', ')}`);
    if (this.standing === 'leaving') this.isExpected = true;
    this.over();
  }

  lost(): void {
    this.over();
  }

  /** All of it is gone with the daemon. */
  forget(): void {
    this.standing = 'down';
    this.wire = null;
    this.connection = null;
    this.talk = null;
    this.reader = null;
    this.wishes.clear();
    this.out = [];
    this.isDeaf = false;
    this.isClosing = false;
    this.troubledUntilMs = 0;
    this.barredUntilMs = 0;
  }

  private ready(talk: Talk): void {
    this.talk = null;
    this.contexts = talk.contexts;
    this.standing = 'ready';
    const { front } = this.client;
    if (this.connection !== null) front.connected(this.connection);
    this.client.pump();
  }

  private over(): void {
    const { front } = this.client;
    if (this.standing === 'down') return;
    front.say(() => `${this.name} is over, ${this.load} unanswered`);
    const now = front.clock.nowMs();
    if (!this.isExpected && !front.isShuttingDown && now > this.troubledUntilMs + GRACE_MS)
      hungUpOn(this.name, this.connection?.failure ?? 'nobody knows why');
    const { connection, wire } = this;
    const lost = [...this.wishes];
    this.forget();
    wire?.reset();
    for (const [asked, wish] of lost) {
      if (connection !== null) front.orphaned(wish.op, connection, asked.endsAt);
      this.client.askAgain(wish, false);
    }
    if (connection !== null) front.disconnected(connection);
    this.client.reconnect(this);
  }

  /** Has it asked for so many bytes at once? A status takes more than that. */
  hasAsked(bytes: number): boolean {
    for (const { head } of this.reader?.pending.values() ?? [])
      if (head.bytes >= bytes || head.type === CMD.STATUS) return true;
    return false;
  }

  // --- trouble it is given, or makes

  /** Until then whatever happens to it is the network's doing. */
  trouble(ms: number): void {
    const { front } = this.client;
    const until = front.clock.nowMs() + ms;
    this.troubledUntilMs = Math.max(this.troubledUntilMs, until);
    front.troubledUntilMs = Math.max(front.troubledUntilMs, until);
  }

  /** Takes nothing for a while. */
  beDeaf(ms: number): void {
    const { wire, client } = this;
    if (wire === null) return;
    this.trouble(ms);
    this.isDeaf = true;
    client.front.clock.in(ms * 1000, () => {
      if (this.wire !== wire) return;
      this.isDeaf = false;
      wire.toClient.resume();
    });
  }

  /** Says goodbye, or only closes its half: all that it has asked is still to be answered. */
  leave(byDisc: boolean): void {
    if (this.standing !== 'ready') return;
    this.standing = 'leaving';
    if (byDisc) this.sendHead({ type: CMD.DISC, flags: 0, offset: 0, bytes: 0 });
    else {
      this.isClosing = true;
      this.pump();
    }
  }

  // --- asking

  send(bytes: Uint8Array): void {
    this.out.push({ bytes, at: 0 });
    this.pump();
  }

  /** Asks for what the model knows of. */
  ask(wish: Wish): void {
    const { op, bio } = wish;
    const { front, style } = this.client;
    const memory = op.sectors > 0 && bio.vecCount > 0 ? bio.ownVec(0).page : null;
    const bytes = op.sectors * SECTOR_SIZE;
    const { type, flags } = this.commandOf(wish);
    const isRead = type === CMD.READ;
    const [lead, tail] = isRead ? this.edges(bytes) : [0, 0];
    const length = bytes - lead - tail;
    if (this.connection !== null) op.issuer = this.connection.issuer;
    // What it had to wait for before is nobody's fault but its connections'.
    op.calledMs = front.clock.nowMs();
    const asked = this.sendHead(
      { type, flags, offset: op.sector * SECTOR_SIZE + lead, bytes: length },
      {
        words: String(op),
        data: isRead && memory !== null ? memory.subarray(lead, lead + length) : null,
        done: (error) => {
          this.wishes.delete(asked);
          if (error === 0 && isRead && memory !== null) completeEdges(memory, lead, tail, bytes);
          this.done(wish, error);
        },
      },
      type === CMD.WRITE && memory !== null ? memory.slice(0, bytes) : undefined,
    );
    this.wishes.set(asked, wish);
    front.say(() => `${this.name} ${style} asks ${String(op)}, flags ${flags}`);
  }

  /** The daemon refused it, or has done it, well or not. */
  private done(wish: Wish, error: number): void {
    const { front } = this.client;
    front.answering = this;
    if (error === ESHUTDOWN && front.isShuttingDown) {
      front.neverDone(wish.op);
      this.client.askAgain(wish, wish.isSlow);
    } else if (error === ENOTSUP) {
      // proto.md "NBD_CMD_FLAG_FAST_ZERO": then nothing has changed.
      front.neverDone(wish.op);
      this.client.askAgain(wish, true);
    } else {
      wish.bio.error = error;
      wish.op.endIo(wish.bio);
    }
  }

  private commandOf({ op, isSlow }: Wish): { type: number; flags: number } {
    const { front, style } = this.client;
    const { prng } = front;
    let flags = 0;
    if ((op.flags & REQ_FLAG.FUA) !== 0) flags |= FLAG.FUA;
    // "FUA" is taken with every command, also where it means nothing.
    if (!op.isWrite && prng.ratio(1, 10)) flags |= FLAG.FUA;
    switch (op.op) {
      case REQ_OP.READ:
        if (style !== 'simple' && prng.ratio(1, 3)) flags |= FLAG.DF;
        return { type: CMD.READ, flags };
      case REQ_OP.WRITE:
        if (style === 'extended') flags |= FLAG.PAYLOAD_LEN;
        return { type: CMD.WRITE, flags };
      case REQ_OP.WRITE_ZEROES:
        if (prng.ratio(1, 3)) flags |= FLAG.NO_HOLE;
        if (!isSlow && prng.ratio(1, 4)) flags |= FLAG.FAST_ZERO;
        return { type: CMD.ZEROES, flags };
      case REQ_OP.DISCARD:
        return { type: CMD.TRIM, flags };
      case REQ_OP.FLUSH:
        return { type: CMD.FLUSH, flags };
    }
  }

  /** Bytes of the first and last sector that are not asked for: of each the pair that tells it is left. */
  private edges(bytes: number): readonly [number, number] {
    const { front } = this.client;
    const { prng } = front;
    if (!front.mix.byteReads || prng.ratio(2, 3)) return [0, 0];
    const most = SECTOR_SIZE - PAIR_BYTES;
    if (bytes > SECTOR_SIZE) return [prng.below(most + 1), prng.below(most + 1)];
    const lead = prng.below(most + 1);
    return [lead, prng.below(most - lead + 1)];
  }

  /** Sends a request; of DISC nothing is awaited. */
  sendHead(
    what: Omit<Head, 'cookieHigh' | 'cookieLow'>,
    rest: Partial<Omit<Asked, 'head' | 'endsAt'>> = {},
    payload?: Uint8Array,
  ): Asked {
    const { prng } = this.client.front;
    this.asks += 1;
    const head = { ...what, cookieHigh: prng.u32(), cookieLow: this.asks };
    const bytes = requestHead(head, this.client.style);
    const whole = payload === undefined ? bytes : joined(bytes, payload);
    this.askedBytes += whole.length;
    const asked: Asked = {
      head,
      words: `command ${head.type} ${head.offset}+${head.bytes}`,
      contexts: [],
      effectBytes: head.bytes,
      data: null,
      done: (): void => undefined,
      extent: (): void => undefined,
      ...rest,
      endsAt: this.askedBytes,
    };
    const done = asked.done.bind(asked);
    asked.done = (error: number): void => {
      done(error);
      // There is room for another.
      this.client.pump();
    };
    if (head.type !== CMD.DISC) this.reader?.add(asked);
    this.send(whole);
    return asked;
  }

  private pump(): void {
    const { wire } = this;
    if (wire === null) return;
    for (let piece = this.out[0]; piece !== undefined; piece = this.out[0]) {
      piece.at += wire.toServer.write(piece.bytes, piece.at, piece.bytes.length);
      if (piece.at < piece.bytes.length) return;
      this.out.shift();
    }
    if (this.isClosing) wire.toServer.end();
  }
}

/** (tag, sector), again and again: content.ts. */
const PAIR_BYTES = 8;

/** Sectors are judged whole: what was not asked for of the first and the last is as the rest of them. */
function completeEdges(memory: Uint8Array, lead: number, tail: number, bytes: number): void {
  const byteLike = (place: number, from: number): void => {
    const first = from + ((place - from) % PAIR_BYTES);
    memory[place] = memory[first < from ? first + PAIR_BYTES : first] ?? 0;
  };
  for (let i = 0; i < lead; i += 1) byteLike(i, lead);
  // All sectors begin with a pair, so the last pair of what was asked for fits everywhere behind it.
  for (let i = bytes - tail; i < bytes; i += 1) byteLike(i, bytes - tail - PAIR_BYTES);
}
