import { assert } from '../../core/base/assert.ts';
import type { Session, SessionStream } from '../../core/export/session.ts';
import { SIZE } from '../../core/nbd/proto.ts';
import { MSG_DONTWAIT, MSG_NOSIGNAL, MSG_WAITALL, OP } from './abi.ts';
import { Company } from './company.ts';
import type { Memory, Room } from './memory.ts';
import { Outbox, OUTBOX_BYTES } from './outbox.ts';
import { RingOp, type Ring } from './ring.ts';
import { close, recvmsg, sendmsg, setBlocking, setSendBuffer, shutdown } from './syscall.ts';

/** Bytes taken from a socket in one gulp: many small requests, or a large payload's beginning. */
export const GULP_BYTES = 256 * 1024;
/** From this on the rest of a payload is received straight into its slot. */
const DIRECT_BYTES = 16 * 1024;
/** Bytes one stream takes in one turn before others have theirs. */
const TURN_BYTES = 512 * 1024;
/** On its way to the client; the kernel counts its own part, so it doubles this. */
const SEND_BYTES = 320 * 1024;
const SHUT_RD = 0;
const SHUT_RDWR = 2;
const EINTR = 4;
const EAGAIN = 11;

/** What a stream asks of the plane it lives on. */
export interface StreamHost {
  readonly ring: Ring;
  readonly memory: Memory;
  /** `stream.flushReplies()` will be called before the ring is next entered. */
  wantsFlush(stream: UringStream): void;
  /** As much is moved in place as one turn should: requests that come now would only hold memory. */
  readonly isFull: boolean;
  /** `stream.goOn()` will be called in the next turn, before the plane sleeps. */
  wantsTurn(stream: UringStream): void;
  /** The descriptors are closed and nothing of the stream is in flight. */
  streamClosed(stream: UringStream): void;
}

/** A client's descriptors, the stream's to close: one socket, or two pipes. */
export interface StreamFds {
  readonly input: number;
  readonly output: number;
  readonly isSocket: boolean;
}

class RecvOp extends RingOp {
  private readonly stream: UringStream;

  constructor(stream: UringStream) {
    super();
    this.stream = stream;
  }

  ended(result: number): void {
    this.stream.received(result);
  }
}

class SendOp extends RingOp {
  private readonly stream: UringStream;

  constructor(stream: UringStream) {
    super();
    this.stream = stream;
  }

  ended(result: number): void {
    this.stream.sent(result);
  }
}

/** Takes an operation on a pipe back; a socket is shut down instead. */
class CancelOp extends RingOp {
  private readonly stream: UringStream;

  constructor(stream: UringStream) {
    super();
    this.stream = stream;
  }

  ended(): void {
    this.stream.cancelled();
  }
}

/**
 * One client on the ring: at most one receive and one send in flight. Small requests arrive many at
 * a time in the gulp and are parsed in place; the rest of a large payload is received into its arena
 * slot, and with it no more than the header behind it, so that large payloads are copied once.
 *
 * All replies that are ready leave in one message, at once when the socket takes it; what it does
 * not take is the ring's to send.
 *
 * Memory the kernel may still touch is never given back: a stream that ends first shuts the socket
 * down, waits for both operations, and only then lets its session go.
 */
export class UringStream implements SessionStream {
  session: Session | null = null;
  needsFlush = false;
  /** Waits for its turn: there was more to take than one turn's part. */
  isWaiting = false;
  /** Counts what the client takes and gives; stands still when it does neither. */
  activity = 0;
  /** In words, why it ended; empty: as it should. */
  failure = '';
  /** Called once, when the stream is closed. */
  readonly ended: (failure: string) => void;
  /** Where in `memory.bytes` the gulp lies; [start, end) of it holds bytes not yet consumed. */
  readonly gulpAt: number;
  readonly room: Room;
  private readonly fds: StreamFds;
  private readonly host: StreamHost;
  private readonly recvOp = new RecvOp(this);
  private readonly sendOp = new SendOp(this);
  private readonly cancelRecv = new CancelOp(this);
  private readonly cancelSend = new CancelOp(this);
  private readonly outbox: Outbox;
  private readonly company = new Company();
  private start = 0;
  private end = 0;
  private recvIsPayload = false;
  /** The last request was a large write: the next will be, so only its header is taken with this one. */
  private headersOnly = false;
  private turnBytes = TURN_BYTES;
  private taking = false;
  /** Replies wait for `release`. */
  private holding = false;
  private dying = false;
  private closed = false;

  constructor(
    host: StreamHost,
    fds: StreamFds,
    place: { readonly gulpAt: number; readonly room: Room },
    ended: (failure: string) => void,
  ) {
    this.host = host;
    this.fds = fds;
    this.ended = ended;
    this.gulpAt = place.gulpAt;
    this.room = place.room;
    this.outbox = new Outbox(place.room, host.memory);
    setBlocking(fds.input);
    setBlocking(fds.output);
    if (fds.isSocket) setSendBuffer(fds.output, SEND_BYTES);
    for (const op of this.ops()) host.ring.register(op);
  }

  /** Bytes of mapped memory for a stream's message headers and iovecs. */
  static get messageBytes(): number {
    return OUTBOX_BYTES;
  }

  /** Begins, with the bytes that came in during the handshake. */
  begin(session: Session, early: Uint8Array): void {
    assert(this.session === null && early.length <= GULP_BYTES, 'a stream was begun twice');
    this.session = session;
    this.host.memory.bytes.set(early, this.gulpAt);
    this.end = early.length;
    this.intake();
  }

  /** Takes no more from the client; what it asked for is answered, then the socket is closed. */
  hangUp(): void {
    this.session?.endInput();
  }

  /** Answers nothing until `release`; requests are still taken. */
  hold(): void {
    this.holding = true;
  }

  /** The client has asked for nothing that is not done. */
  get isIdle(): boolean {
    const session = this.session;
    return session === null || session.requestsInUse === session.replies.length;
  }

  /** Its sends fail from now on; what it has sent is taken, and all replies leave. */
  release(): void {
    this.holding = false;
    shutdown(this.fds.input, SHUT_RD);
    this.askFlush();
  }

  /** Ends the connection: requests under way end silently. */
  drop(failure: string): void {
    if (this.failure === '') this.failure = failure;
    this.die();
  }

  /** It holds memory, and only the client can set it free: by reading, or by finishing a payload. */
  get isHoldingUp(): boolean {
    const session = this.session;
    if (session === null || session.arenaBytes === 0) return false;
    return this.sendOp.inFlight || session.payloadWanted > 0;
  }

  private ops(): readonly RingOp[] {
    // eslint-disable-next-line no-restricted-syntax -- at the beginning and the end of a stream
    return [this.recvOp, this.sendOp, this.cancelRecv, this.cancelSend];
  }

  // --- receiving

  intakeResumed(): void {
    // Called from inside session methods too: the loop in `intake` sees it by itself.
    if (!this.taking) this.intake();
  }

  /** A new turn. */
  goOn(): void {
    this.isWaiting = false;
    this.turnBytes = TURN_BYTES;
    if (!this.taking) this.intake();
  }

  private intake(): void {
    this.taking = true;
    this.consume();
    while (this.canReceiveNow() && this.receiveNow()) this.consume();
    this.taking = false;
    if (this.dying) this.finishDying();
    else this.receive();
  }

  private consume(): void {
    const session = this.session!;
    const bytes = this.host.memory.bytes;
    const base = this.gulpAt;
    while (this.start < this.end) {
      const wanted = session.payloadWanted;
      if (wanted > 0) {
        const have = this.end - this.start;
        const count = have < wanted ? have : wanted;
        bytes.copyWithin(session.payloadAt, base + this.start, base + this.start + count);
        this.start += count;
        session.payloadReceived(count);
        continue;
      }
      if (this.host.isFull) {
        this.waitForTurn();
        return;
      }
      // One at a time: each may fill the turn.
      const end = this.end - this.start > SIZE.REQUEST ? this.start + SIZE.REQUEST : this.end;
      const taken = session.consume(bytes, base + this.start, base + end);
      this.start += taken;
      if (taken === 0 && session.payloadWanted === 0) break;
      // One header at a time while they announce much; many when they do not.
      if (session.payloadWanted === 0) this.headersOnly = false;
    }
    if (this.start !== this.end) return;
    this.start = 0;
    this.end = 0;
  }

  private waitForTurn(): void {
    if (this.isWaiting) return;
    this.isWaiting = true;
    this.host.wantsTurn(this);
  }

  /** A large payload is wanted, and the gulp is empty: more of it is probably there. */
  private canReceiveNow(): boolean {
    return (
      this.fds.isSocket &&
      !this.dying &&
      !this.recvOp.inFlight &&
      !this.isWaiting &&
      this.end === 0 &&
      this.session!.payloadWanted >= DIRECT_BYTES
    );
  }

  /** Payload into its slot and the next header into the gulp, as far as they are there. True: go on. */
  private receiveNow(): boolean {
    if (this.turnBytes <= 0) {
      this.waitForTurn();
      return false;
    }
    this.headersOnly = true;
    const session = this.session!;
    const { memory } = this.host;
    const base = memory.addressOf(memory.bytes);
    const wanted = session.payloadWanted;
    const { outbox } = this;
    outbox.setInput(base + session.payloadAt, wanted, base + this.gulpAt, SIZE.REQUEST);
    const result = recvmsg(this.fds.input, outbox.input, MSG_DONTWAIT);
    if (result <= 0) return false; // nothing yet, or the end: the ring will say which
    this.activity += 1;
    this.turnBytes -= result;
    const payload = result < wanted ? result : wanted;
    this.end = result - payload;
    session.payloadReceived(payload);
    return true;
  }

  private receive(): void {
    if (this.recvOp.inFlight || this.isWaiting || this.dying || this.closed) return;
    const session = this.session!;
    if (session.isBlocked) return;
    const { memory } = this.host;
    const address = memory.addressOf(memory.bytes);
    const wanted = session.payloadWanted;
    if (this.end === 0 && wanted >= DIRECT_BYTES) {
      this.recvIsPayload = true;
      this.prepareReceive(address + session.payloadAt, wanted, MSG_WAITALL);
      return;
    }
    if (this.end === GULP_BYTES) {
      if (this.start === 0) return;
      const from = this.gulpAt + this.start;
      memory.bytes.copyWithin(this.gulpAt, from, this.gulpAt + this.end);
      this.end -= this.start;
      this.start = 0;
    }
    this.recvIsPayload = false;
    const most = this.headersOnly && this.end === 0 ? SIZE.REQUEST : GULP_BYTES - this.end;
    this.prepareReceive(address + this.gulpAt + this.end, most, 0);
  }

  private prepareReceive(address: number, length: number, flags: number): void {
    const { isSocket, input } = this.fds;
    const { ring } = this.host;
    if (isSocket) ring.prepare(this.recvOp, OP.RECV, input, address, length, 0, flags);
    else ring.prepare(this.recvOp, OP.READ, input, address, length, 0, 0);
  }

  received(result: number): void {
    const session = this.session!;
    if (this.dying) {
      this.finishDying();
      return;
    }
    if (result === -EINTR || result === -EAGAIN) {
      this.receive();
      return;
    }
    if (result < 0) {
      this.drop(`receive failed with errno ${-result}`);
      return;
    }
    if (result === 0) {
      session.endInput();
      this.finishDying();
      return;
    }
    this.activity += 1;
    this.turnBytes = TURN_BYTES;
    this.company.came();
    if (this.recvIsPayload) session.payloadReceived(result);
    else this.end += result;
    this.intake();
  }

  // --- sending

  repliesReady(): void {
    this.askFlush();
  }

  private askFlush(): void {
    if (this.needsFlush || this.sendOp.inFlight || this.closed || this.holding) return;
    this.needsFlush = true;
    this.host.wantsFlush(this);
  }

  /** The replies that are ready had better leave with those of the next turn. */
  get awaitsCompany(): boolean {
    return this.company.isAwaited(this.session!.replies);
  }

  /** Sends all replies that are ready, a message at a time. */
  flushReplies(): void {
    this.needsFlush = false;
    const { replies } = this.session!;
    while (!this.sendOp.inFlight && !this.dying && !this.holding && replies.length > 0) {
      const bytes = this.outbox.gather(replies);
      if (!this.fds.isSocket || !this.sendNow(bytes)) this.prepareSend();
    }
  }

  /** True: the socket took all, or as much as it could, and the rest is gathered anew. */
  private sendNow(bytes: number): boolean {
    const flags = MSG_NOSIGNAL | MSG_DONTWAIT;
    const result = sendmsg(this.fds.output, this.outbox.output, flags);
    // What is wrong with the socket the ring will say, too.
    if (result < 0) return false;
    this.settleSent(result);
    if (result === bytes || this.dying) return true;
    this.outbox.gather(this.session!.replies);
    return false;
  }

  private prepareSend(): void {
    const { isSocket, output } = this.fds;
    const { ring } = this.host;
    const { outputAddress, iovecsAddress, pieces } = this.outbox;
    const flags = MSG_NOSIGNAL | MSG_WAITALL;
    if (isSocket) ring.prepare(this.sendOp, OP.SENDMSG, output, outputAddress, 1, 0, flags);
    else ring.prepare(this.sendOp, OP.WRITEV, output, iovecsAddress, pieces, 0, 0);
  }

  sent(result: number): void {
    if (this.dying) {
      this.finishDying();
      return;
    }
    if (result < 0 && result !== -EINTR && result !== -EAGAIN) {
      this.drop(`send failed with errno ${-result}`);
      return;
    }
    if (result > 0) this.settleSent(result);
    if (this.dying) {
      this.finishDying();
      return;
    }
    if (this.session!.replies.length > 0) this.askFlush();
  }

  private settleSent(bytes: number): void {
    const session = this.session!;
    this.activity += 1;
    const whole = this.outbox.settle(session.replies, bytes);
    this.company.left(whole);
    if (whole > 0) session.repliesSent(whole);
  }

  // --- the end

  sessionEnded(failure: string): void {
    if (this.failure === '') this.failure = failure;
    this.die();
  }

  private die(): void {
    if (this.dying || this.closed) return;
    this.dying = true;
    if (this.fds.isSocket) shutdown(this.fds.input, SHUT_RDWR);
    else {
      const { ring } = this.host;
      if (this.recvOp.inFlight) ring.prepareCancel(this.cancelRecv, this.recvOp);
      if (this.sendOp.inFlight) ring.prepareCancel(this.cancelSend, this.sendOp);
    }
    this.finishDying();
  }

  cancelled(): void {
    this.finishDying();
  }

  private finishDying(): void {
    if (!this.dying || this.closed || this.taking || this.recvOp.inFlight || this.sendOp.inFlight)
      return;
    if (this.cancelRecv.inFlight || this.cancelSend.inFlight) return;
    this.closed = true;
    this.session!.abandon();
    close(this.fds.input);
    if (this.fds.output !== this.fds.input) close(this.fds.output);
    const ops = this.ops();
    for (let i = 0; i < ops.length; i += 1) this.host.ring.unregister(ops[i]!);
    this.host.streamClosed(this);
  }
}
