import { Issuer, nextSerial } from '../../../core/block/loan.ts';
import { Export } from '../../../core/export/export.ts';
import type { Offer } from '../../../core/export/offer.ts';
import { Session, type SessionStream } from '../../../core/export/session.ts';
import { Handshake, type ByteSink } from '../../../core/nbd/handshake.ts';
import type { Host } from './host.ts';
import type { Peer, SimWire } from './wire.ts';

/** Bytes that wait for the socket: of a handshake, or lent by the session until they are with the kernel. */
interface Piece {
  readonly bytes: Uint8Array;
  at: number;
  readonly end: number;
}

/** The kernel takes its time to say that bytes are sent, in microseconds. */
const SENT_US = 60;
/** Replies in one write, at most. */
const MOST_AT_ONCE = 64;

/**
 * The daemon's end of a connection: core's handshake and session, moved by a simulated socket as
 * daemon/net and daemon/uring move them. Bytes of replies are read when the socket takes them, not
 * when they are given; payload goes straight into the arena.
 */
export class HostConnection implements SessionStream, ByteSink, Peer {
  /** Whom the model thinks of where the core has an Issuer of its own. */
  readonly issuer = new Issuer();
  session: Session | null = null;
  /** Bytes of the client's that the session has had: requests that end behind them were never here. */
  fedBytes = 0;
  /** Counts what the client takes and gives; stands still when it does neither. */
  activity = 0;
  /** The serials between which that Issuer was born. */
  bornAfter = 0;
  bornBefore = 0;
  /** Closed, dropped or lost: nothing more is taken from it. */
  isGone = false;
  /** Why the core hung up; null: it has not. */
  failure: string | null = null;
  private readonly host: Host;
  private readonly wire: SimWire;
  private readonly handshake: Handshake<Offer>;
  private readonly out: Piece[] = [];
  private sending = 0;
  private isTelling = false;
  private isScheduled = false;
  private isInputOver = false;
  private isClosing = false;

  constructor(host: Host, wire: SimWire) {
    this.host = host;
    this.wire = wire;
    wire.serverEnd = this;
    wire.toClient.onRoom = (): void => this.pump();
    this.handshake = new Handshake<Offer>(host.table, this);
  }

  /** Nothing of it is left: no request of it is under way, and none will ever begin. */
  get isOver(): boolean {
    return this.isGone && (this.session === null || this.session.requestsInUse === 0);
  }

  /** As in the daemon: it holds memory that only its client can set free. */
  get isHoldingUp(): boolean {
    const { session } = this;
    if (session === null || session.arenaBytes === 0) return false;
    return this.sending > 0 || session.payloadWanted > 0;
  }

  // --- bytes from the client

  received(bytes: Uint8Array): number {
    this.activity += 1;
    let at = 0;
    while (at < bytes.length) {
      if (this.isGone) return bytes.length;
      const taken = this.session === null ? this.negotiate(bytes, at) : this.feed(bytes, at);
      if (taken === 0) break;
      at += taken;
    }
    return at;
  }

  inputEnded(): void {
    this.isInputOver = true;
    const { session } = this;
    if (session === null) this.drop();
    else if (!session.isBlocked) session.endInput();
  }

  lost(): void {
    this.drop();
  }

  // --- bytes to the client

  /** ByteSink: the handshake's. */
  write(bytes: Uint8Array): void {
    this.out.push({ bytes, at: 0, end: bytes.length });
    this.pump();
  }

  // --- what a session says

  repliesReady(): void {
    if (this.isScheduled || this.sending > 0) return;
    this.isScheduled = true;
    this.host.clock.in(this.host.prng.below(20), () => {
      this.isScheduled = false;
      this.flush();
      this.closeIfSent();
    });
  }

  intakeResumed(): void {
    this.wire.toServer.resume();
    if (!this.isInputOver) return;
    this.host.clock.in(0, () => {
      if (!this.isGone && this.session?.isBlocked === false) this.session.endInput();
    });
  }

  sessionEnded(failure: string): void {
    this.failure = failure;
    if (failure === '') this.close();
    else this.host.clock.in(0, () => this.drop());
  }

  /** Hangs up when all that waits has gone out. */
  close(): void {
    this.isClosing = true;
    this.host.clock.in(0, () => this.closeIfSent());
  }

  private closeIfSent(): void {
    const isWaiting = this.out.length > 0 || this.sending > 0 || this.isScheduled;
    if (this.isClosing && !isWaiting) this.endOutput();
  }

  /** Hangs up now. */
  drop(): void {
    if (this.isGone) return;
    this.isGone = true;
    this.out.length = 0;
    this.wire.reset();
    this.session?.abandon();
  }

  private endOutput(): void {
    if (this.isGone) return;
    this.isGone = true;
    this.wire.toClient.end();
    this.session?.abandon();
  }

  private negotiate(bytes: Uint8Array, at: number): number {
    const { handshake } = this;
    const taken = handshake.consume(bytes, at, bytes.length);
    if (handshake.state === 'CLOSED') {
      this.failure = handshake.failure;
      if (handshake.failure === '') this.close();
      else this.drop();
    }
    const { chosen } = handshake;
    if (handshake.state !== 'TRANSMISSION') return taken;
    if (!(chosen instanceof Export)) throw new Error('an export that does not serve');
    this.bornAfter = nextSerial();
    this.session = new Session(chosen, this.host.arena, this, handshake.agreement);
    this.bornBefore = nextSerial();
    return taken;
  }

  private feed(bytes: Uint8Array, at: number): number {
    const { session } = this;
    if (session === null) return 0;
    const wanted = session.payloadWanted;
    if (wanted === 0) {
      const taken = session.consume(bytes, at, bytes.length);
      this.fedBytes += taken;
      return taken;
    }
    const count = Math.min(wanted, bytes.length - at);
    this.host.arena.bytes.set(bytes.subarray(at, at + count), session.payloadAt);
    this.fedBytes += count;
    session.payloadReceived(count);
    return count;
  }

  /** Some of the replies that wait become one write. */
  private flush(): void {
    const { session, host } = this;
    if (session === null || this.isGone || this.sending > 0) return;
    const { replies } = session;
    if (replies.length === 0) return;
    const { prng } = host;
    const most = prng.ratio(1, 3) ? prng.between(1, MOST_AT_ONCE) : MOST_AT_ONCE;
    const count = Math.min(replies.length, most);
    for (let i = 0; i < count; i += 1) {
      const head = replies.headAt(i);
      this.out.push({ bytes: replies.headers, at: head, end: head + replies.headBytes(i) });
      const payload = replies.payloadAt(i);
      const end = payload + replies.payloadBytes(i);
      if (end > payload) this.out.push({ bytes: host.arena.bytes, at: payload, end });
    }
    this.sending = count;
    this.pump();
  }

  /** As much as the socket takes. */
  private pump(): void {
    if (this.isGone) return;
    for (let piece = this.out[0]; piece !== undefined; piece = this.out[0]) {
      piece.at += this.wire.toClient.write(piece.bytes, piece.at, piece.end);
      if (piece.at < piece.end) return;
      this.out.shift();
    }
    const { sending } = this;
    if (sending === 0) this.closeIfSent();
    if (sending === 0 || this.isTelling) return;
    this.isTelling = true;
    this.host.clock.in(this.host.prng.below(SENT_US), () => this.sent(sending));
  }

  private sent(count: number): void {
    this.isTelling = false;
    if (this.isGone) return;
    this.sending = 0;
    this.activity += 1;
    this.session?.repliesSent(count);
    this.flush();
    this.closeIfSent();
  }
}
