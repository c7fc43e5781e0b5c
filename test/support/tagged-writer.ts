// A client that knows what it was told: every write carries a tag of its own, and of each place it is
// known which tags may be there: the acknowledged one, and those that went out after it.
import { setTimeout as sleep } from 'node:timers/promises';

import type { Prng } from '../../core/base/prng.ts';
import { COMMAND, COMMAND_FLAG } from '../../core/nbd/proto.ts';
import { request } from './nbd-messages.ts';
import { RawClient } from './raw-client.ts';

/** No multiple of a sector: neighbours share sectors, and must not lose each other's bytes. */
const SLOT_BYTES = 1500;

/** How hard a writer writes. */
export interface Pace {
  /** Requests under way at once. */
  readonly depth: number;
  /** Between an answer and the next request. */
  readonly pauseMs: number;
}
const FULL_SPEED: Pace = { depth: 16, pauseMs: 0 };

interface Sent {
  readonly slot: number;
  readonly tag: number;
  readonly sentMs: number;
}

/** What may be on the device, over all clients and daemons that wrote to it. */
export class TagBook {
  readonly slots: number;
  /**
   * Slots that some writer has a request under way for. Of two requests at once only the device knows
   * which came last: answers on two connections may be read the other way round.
   */
  readonly busy = new Set<number>();
  private readonly maybe: Set<number>[];
  private lastTag = 0;

  constructor(bytes: number) {
    this.slots = Math.floor(bytes / SLOT_BYTES);
    this.maybe = Array.from({ length: this.slots }, () => new Set([0]));
  }

  nextTag(): number {
    this.lastTag += 1;
    return this.lastTag;
  }

  issued(slot: number, tag: number): void {
    this.maybe[slot]?.add(tag);
  }

  acknowledged(slot: number, tag: number): void {
    this.maybe[slot] = new Set([tag]);
  }

  /** What a client was shown is what the next one must see: where two tags were possible, one is left. */
  seenIn(image: Buffer): void {
    for (let slot = 0; slot < this.slots; slot += 1) {
      const at = slot * SLOT_BYTES;
      const found = image.readUInt32LE(at);
      const whole = image.subarray(at, at + SLOT_BYTES).equals(payloadOf(found));
      if (whole && this.maybe[slot]?.has(found) === true) this.maybe[slot] = new Set([found]);
    }
  }

  /** The slots of an image that hold what they must not, in words. Empty is good. */
  wrongIn(image: Buffer): readonly string[] {
    const wrong: string[] = [];
    this.maybe.forEach((tags, slot) => {
      for (let at = 0; at < SLOT_BYTES; at += 4) {
        const found = image.readUInt32LE(slot * SLOT_BYTES + at);
        if (tags.has(found)) continue;
        wrong.push(`slot ${slot}+${at}: ${found}, wanted ${[...tags].join(' or ')}`);
        break;
      }
    });
    return wrong;
  }
}

/** Writes until the connection ends, or `stop`; one request a slot at a time. */
export class TaggedWriter {
  acknowledged = 0;
  /** The longest that a request has waited for its answer. */
  longestMs = 0;
  /** Errors the server answered with, by NBD number. */
  readonly errors = new Map<number, number>();
  private readonly client: RawClient;
  private readonly book: TagBook;
  private readonly prng: Prng;
  private readonly pace: Pace;
  private readonly inFlight = new Map<number, Sent>();
  private cookie = 0;
  private stopping = false;
  private ended = false;
  private running: Promise<void> = Promise.resolve();

  private constructor(client: RawClient, book: TagBook, prng: Prng, pace: Pace) {
    this.pace = pace;
    this.client = client;
    this.book = book;
    this.prng = prng;
  }

  static async start(
    socket: string,
    name: string,
    book: TagBook,
    prng: Prng,
    pace = FULL_SPEED,
  ): Promise<TaggedWriter> {
    const client = await RawClient.open({ kind: 'unix', path: socket }, name);
    const writer = new TaggedWriter(client, book, prng, pace);
    writer.running = writer.run().finally(() => {
      writer.ended = true;
    });
    return writer;
  }

  /** The server is gone, or all is answered after `stop`. */
  get isEnded(): boolean {
    return this.ended;
  }

  /** Fulfilled when every request is answered, or the server is gone. */
  async stop(): Promise<void> {
    this.stopping = true;
    await this.running;
    // What was under way with a server that is gone is there or not, and others may try again.
    for (const { slot } of this.inFlight.values()) this.book.busy.delete(slot);
    this.client.socket.destroy();
  }

  private async run(): Promise<void> {
    for (let i = 0; i < this.pace.depth; i += 1) this.sendOne();
    while (this.inFlight.size > 0) {
      try {
        const { error, cookieLow } = await this.client.readReply();
        this.answered(cookieLow, error);
      } catch {
        return; // The connection has ended; what was in flight may be there or not.
      }
      if (this.pace.pauseMs > 0) await sleep(this.pace.pauseMs);
      if (!this.stopping) this.sendOne();
    }
  }

  private sendOne(): void {
    let slot = this.prng.below(this.book.slots);
    while (this.book.busy.has(slot)) slot = this.prng.below(this.book.slots);
    this.book.busy.add(slot);
    const zeroes = this.prng.ratio(1, 8);
    const tag = zeroes ? 0 : this.book.nextTag();
    this.cookie += 1;
    this.inFlight.set(this.cookie, { slot, tag, sentMs: performance.now() });
    this.book.issued(slot, tag);
    const fields = {
      type: zeroes ? COMMAND.WRITE_ZEROES : COMMAND.WRITE,
      cookie: this.cookie,
      flags: this.prng.ratio(1, 50) ? COMMAND_FLAG.FUA : 0,
      offset: slot * SLOT_BYTES,
      length: SLOT_BYTES,
    };
    this.client.send(zeroes ? request(fields) : request(fields, payloadOf(tag)));
  }

  private answered(cookie: number, error: number): void {
    const sent = this.inFlight.get(cookie);
    if (sent === undefined) throw new Error(`a reply to nothing: ${cookie}`);
    this.inFlight.delete(cookie);
    this.longestMs = Math.max(this.longestMs, performance.now() - sent.sentMs);
    this.book.busy.delete(sent.slot);
    if (error !== 0) {
      this.errors.set(error, (this.errors.get(error) ?? 0) + 1);
      return;
    }
    this.acknowledged += 1;
    this.book.acknowledged(sent.slot, sent.tag);
  }
}

function payloadOf(tag: number): Uint8Array {
  const bytes = Buffer.alloc(SLOT_BYTES);
  for (let at = 0; at < SLOT_BYTES; at += 4) bytes.writeUInt32LE(tag, at);
  return bytes;
}
