import { assert } from '../../core/base/assert.ts';
import type { Session, SessionStream } from '../../core/export/session.ts';
import { MSG_NOSIGNAL, MSG_WAITALL, OP } from './abi.ts';
import type { Memory, Room } from './memory.ts';
import { RingOp, type Ring } from './ring.ts';
import { close, setBlocking, shutdown } from './syscall.ts';

/** Bytes taken from a socket in one gulp: many small requests, or a large payload's beginning. */
export const GULP_BYTES = 256 * 1024;
/** From this on the rest of a payload is received straight into its slot. */
const DIRECT_BYTES = 16 * 1024;
/** Pieces of one sendmsg; the kernel's limit is 1024. */
const MAX_IOVECS = 256;
const IOVEC_BYTES = 16;
const MSGHDR_BYTES = 64;
const TWO32 = 4294967296;
const SHUT_RDWR = 2;

/** What a stream asks of the plane it lives on. */
export interface StreamHost {
  readonly ring: Ring;
  readonly memory: Memory;
  /** `stream.flushReplies()` will be called before the ring is next entered. */
  wantsFlush(stream: UringStream): void;
  /** The socket is closed and nothing of the stream is in flight. */
  streamClosed(stream: UringStream, failure: string): void;
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

/**
 * One client's socket on the ring: at most one receive and one send in flight. All replies that are
 * ready leave in one sendmsg; small requests arrive many at a time in the gulp and are parsed in
 * place; the rest of a large payload is received into its arena slot.
 *
 * Memory the kernel may still touch is never given back: a stream that ends first shuts the socket
 * down, waits for both operations, and only then lets its session go.
 */
export class UringStream implements SessionStream {
  readonly fd: number;
  session: Session | null = null;
  needsFlush = false;
  private readonly host: StreamHost;
  private readonly recvOp = new RecvOp(this);
  private readonly sendOp = new SendOp(this);
  /** Where in `memory.bytes` the gulp lies; [start, end) of it holds bytes not yet consumed. */
  readonly gulpAt: number;
  private start = 0;
  private end = 0;
  private recvIsPayload = false;
  readonly room: Room;
  private readonly iovecs: Uint32Array;
  private readonly iovecsAt: number;
  /** Bytes of the oldest reply that are already with the kernel. */
  private sentOfFirst = 0;
  private dying = false;
  private closed = false;
  private failure = '';

  constructor(host: StreamHost, fd: number, gulpAt: number, message: Room) {
    this.host = host;
    this.fd = fd;
    this.gulpAt = gulpAt;
    this.room = message;
    this.iovecs = message.words;
    this.iovecsAt = MSGHDR_BYTES / 4;
    setBlocking(fd);
    host.ring.register(this.recvOp);
    host.ring.register(this.sendOp);
  }

  /** Bytes of mapped memory for a stream's message header and iovecs. */
  static get messageBytes(): number {
    return MSGHDR_BYTES + MAX_IOVECS * IOVEC_BYTES;
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

  /** Ends the connection: requests under way end silently. */
  drop(failure: string): void {
    if (this.failure === '') this.failure = failure;
    this.die();
  }

  // --- receiving

  intakeResumed(): void {
    // Called from inside session methods too: the loop in `intake` sees it by itself.
    if (!this.taking) this.intake();
  }

  private taking = false;

  private intake(): void {
    const session = this.session!;
    const bytes = this.host.memory.bytes;
    const base = this.gulpAt;
    this.taking = true;
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
      const taken = session.consume(bytes, base + this.start, base + this.end);
      this.start += taken;
      if (taken === 0 && session.payloadWanted === 0) break;
    }
    this.taking = false;
    if (this.dying) this.finishDying();
    else this.receive();
  }

  private receive(): void {
    if (this.recvOp.inFlight || this.dying || this.closed) return;
    const session = this.session!;
    if (session.isBlocked) return;
    const memory = this.host.memory;
    const address = memory.addressOf(memory.bytes);
    if (this.start === this.end) {
      this.start = 0;
      this.end = 0;
      const wanted = session.payloadWanted;
      if (wanted >= DIRECT_BYTES) {
        this.recvIsPayload = true;
        const at = address + session.payloadAt;
        this.host.ring.prepare(this.recvOp, OP.RECV, this.fd, at, wanted, 0, MSG_WAITALL);
        return;
      }
    } else if (this.end === GULP_BYTES) {
      if (this.start === 0) return;
      const from = this.gulpAt + this.start;
      memory.bytes.copyWithin(this.gulpAt, from, this.gulpAt + this.end);
      this.end -= this.start;
      this.start = 0;
    }
    this.recvIsPayload = false;
    const at = address + this.gulpAt + this.end;
    this.host.ring.prepare(this.recvOp, OP.RECV, this.fd, at, GULP_BYTES - this.end, 0, 0);
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
    if (this.recvIsPayload) session.payloadReceived(result);
    else this.end += result;
    this.intake();
  }

  // --- sending

  repliesReady(): void {
    this.askFlush();
  }

  private askFlush(): void {
    if (this.needsFlush || this.sendOp.inFlight || this.closed) return;
    this.needsFlush = true;
    this.host.wantsFlush(this);
  }

  /** Sends all replies that are ready in one message. */
  flushReplies(): void {
    this.needsFlush = false;
    const session = this.session!;
    const replies = session.replies;
    if (this.sendOp.inFlight || this.dying || replies.length === 0) return;
    const memory = this.host.memory;
    const headersAddress = memory.addressOf(replies.headers);
    const arenaAddress = memory.addressOf(memory.bytes);
    const count = replies.length;
    let skip = this.sentOfFirst;
    let pieces = 0;
    let lastEnd = -1;
    for (let i = 0; i < count && pieces + 2 <= MAX_IOVECS; i += 1) {
      const payload = replies.payloadBytes(i);
      const header = headersAddress + replies.headAt(i);
      const headBytes = replies.headBytes(i);
      if (skip < headBytes) {
        const length = headBytes - skip;
        if (header === lastEnd) this.growPiece(pieces - 1, length);
        else {
          this.setPiece(pieces, header + skip, length);
          pieces += 1;
        }
        lastEnd = header + headBytes;
        skip = 0;
      } else skip -= headBytes;
      if (payload > 0) {
        this.setPiece(pieces, arenaAddress + replies.payloadAt(i) + skip, payload - skip);
        pieces += 1;
        skip = 0;
        lastEnd = -1;
      }
    }
    this.setMessage(pieces);
    const flags = MSG_NOSIGNAL | MSG_WAITALL;
    this.host.ring.prepare(this.sendOp, OP.SENDMSG, this.fd, this.room.address, 1, 0, flags);
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
    const session = this.session!;
    if (result > 0) this.settleSent(result);
    if (this.dying) {
      this.finishDying();
      return;
    }
    if (session.replies.length > 0) this.askFlush();
  }

  private settleSent(result: number): void {
    const session = this.session!;
    const replies = session.replies;
    let left = result + this.sentOfFirst;
    let whole = 0;
    while (whole < replies.length) {
      const bytes = replies.headBytes(whole) + replies.payloadBytes(whole);
      if (left < bytes) break;
      left -= bytes;
      whole += 1;
    }
    this.sentOfFirst = left;
    if (whole > 0) session.repliesSent(whole);
  }

  private setPiece(index: number, address: number, length: number): void {
    const at = this.iovecsAt + index * 4;
    const high = Math.floor(address / TWO32);
    this.iovecs[at] = address - high * TWO32;
    this.iovecs[at + 1] = high;
    this.iovecs[at + 2] = length;
    this.iovecs[at + 3] = 0;
  }

  private growPiece(index: number, length: number): void {
    this.iovecs[this.iovecsAt + index * 4 + 2]! += length;
  }

  /** struct msghdr: name, namelen, iov, iovlen, control, controllen, flags. */
  private setMessage(pieces: number): void {
    const words = this.iovecs;
    const address = this.room.address + MSGHDR_BYTES;
    const high = Math.floor(address / TWO32);
    words.fill(0, 0, this.iovecsAt);
    words[4] = address - high * TWO32;
    words[5] = high;
    words[6] = pieces;
  }

  // --- the end

  sessionEnded(failure: string): void {
    if (this.failure === '') this.failure = failure;
    this.die();
  }

  private die(): void {
    if (this.dying || this.closed) return;
    this.dying = true;
    shutdown(this.fd, SHUT_RDWR);
    this.finishDying();
  }

  private finishDying(): void {
    if (!this.dying || this.closed || this.recvOp.inFlight || this.sendOp.inFlight || this.taking)
      return;
    this.closed = true;
    this.session!.abandon();
    close(this.fd);
    this.host.ring.unregister(this.recvOp);
    this.host.ring.unregister(this.sendOp);
    this.host.streamClosed(this, this.failure);
  }
}

const EINTR = 4;
const EAGAIN = 11;
