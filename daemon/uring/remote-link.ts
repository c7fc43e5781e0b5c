import { assert } from '../../core/base/assert.ts';
import { errnoName } from '../../core/base/errno.ts';
import type { LinkTransport, PieceSink, RemoteLink } from '../../core/remote/link.ts';
import { MSG_DONTWAIT, MSG_NOSIGNAL, MSG_WAITALL, OP } from './abi.ts';
import type { Memory, Room } from './memory.ts';
import { RingOp, type Ring } from './ring.ts';
import { mapAnonymous, sendmsg, setBlocking } from './syscall.ts';

/** Bytes taken in one gulp: many small replies. */
const GULP_BYTES = 256 * 1024;
/** From this on the data of a READ is received straight into its memory. */
const DIRECT_BYTES = 16 * 1024;
/** After such a READ no more than the next reply's header is taken: most likely it is another. */
const HEADER_BYTES = 28;
/** Pieces of one sendmsg; the kernel's limit is 1024. */
const MAX_IOVECS = 256;
const IOVEC_BYTES = 16;
const MSGHDR_BYTES = 64;
const TWO32 = 4294967296;
const EINTR = 4;
const EAGAIN = 11;
const EPIPE = 32;
const ECONNRESET = 104;

/** What a link asks of the plane it lives on. */
interface LinkHost {
  readonly ring: Ring;
  readonly memory: Memory;
  /** `flushReplies()` will be called before the ring is next entered. */
  wantsFlush(link: { flushReplies(): void }): void;
}

/** Memory of a link; links that come one after the other share it. */
export class LinkPlace {
  readonly gulp: Uint8Array;
  readonly gulpAddress: number;
  readonly room: Room;

  constructor(memory: Memory) {
    const { address, buffer } = mapAnonymous(GULP_BYTES);
    this.gulp = new Uint8Array(buffer);
    this.gulpAddress = address;
    this.room = memory.carve(MSGHDR_BYTES + MAX_IOVECS * IOVEC_BYTES);
  }
}

class LinkOp extends RingOp {
  private readonly tell: (result: number) => void;

  constructor(tell: (result: number) => void) {
    super();
    this.tell = tell;
  }

  ended(result: number): void {
    this.tell(result);
  }
}

/**
 * A link's socket on the ring: at most one receive and one send in flight. The descriptor is the
 * control thread's to close; a link that is over takes its operations back before it lets go of the
 * memory of its requests, and says nothing more on the connection.
 */
export class UringLink implements LinkTransport, PieceSink {
  private readonly host: LinkHost;
  private readonly link: RemoteLink;
  private readonly fd: number;
  private readonly place: LinkPlace;
  private readonly iovecs: Uint32Array;
  private readonly recvOp = new LinkOp((result) => this.received(result));
  private readonly sendOp = new LinkOp((result) => this.sent(result));
  private readonly cancelRecv = new LinkOp(() => this.finish());
  private readonly cancelSend = new LinkOp(() => this.finish());
  private readonly ops = [this.recvOp, this.sendOp, this.cancelRecv, this.cancelSend];
  private pieces = 0;
  private lastEnd = -1;
  private needsFlush = false;
  private isDirect = false;
  private wasDirect = false;
  private isDone = false;

  constructor(host: LinkHost, fd: number, link: RemoteLink, place: LinkPlace) {
    this.host = host;
    this.fd = fd;
    this.link = link;
    this.place = place;
    this.iovecs = place.room.words;
    setBlocking(fd);
    for (const op of this.ops) host.ring.register(op);
    link.attach(this);
    this.receive();
  }

  // --- sending

  sendSoon(): void {
    if (this.needsFlush || this.sendOp.inFlight) return;
    this.needsFlush = true;
    this.host.wantsFlush(this);
  }

  sendNow(): void {
    this.flushReplies();
  }

  flushReplies(): void {
    this.needsFlush = false;
    while (!this.sendOp.inFlight && !this.isDone && this.link.hasUnsent) {
      this.pieces = 0;
      this.lastEnd = -1;
      this.link.gather(this);
      this.setMessage();
      const { address, words } = this.place.room;
      // At once as far as the socket takes it; what it does not take is the ring's to send.
      const result = sendmsg(this.fd, words, MSG_NOSIGNAL | MSG_DONTWAIT);
      if (result > 0) this.link.sent(result);
      else {
        const flags = MSG_NOSIGNAL | MSG_WAITALL;
        this.host.ring.prepare(this.sendOp, OP.SENDMSG, this.fd, address, 1, 0, flags);
      }
    }
  }

  piece(page: Uint8Array, offset: number, length: number): boolean {
    const address = this.host.memory.addressOf(page) + offset;
    const words = this.iovecs;
    if (address === this.lastEnd) {
      const at = MSGHDR_BYTES / 4 + (this.pieces - 1) * 4 + 2;
      words[at] = words[at]! + length;
    } else {
      if (this.pieces === MAX_IOVECS) return false;
      const at = MSGHDR_BYTES / 4 + this.pieces * 4;
      const high = Math.floor(address / TWO32);
      words[at] = address - high * TWO32;
      words[at + 1] = high;
      words[at + 2] = length;
      words[at + 3] = 0;
      this.pieces += 1;
    }
    this.lastEnd = address + length;
    return true;
  }

  /** struct msghdr: name, namelen, iov, iovlen, control, controllen, flags. */
  private setMessage(): void {
    assert(this.pieces > 0, 'a message of no pieces');
    const words = this.iovecs;
    const address = this.place.room.address + MSGHDR_BYTES;
    const high = Math.floor(address / TWO32);
    words.fill(0, 0, MSGHDR_BYTES / 4);
    words[4] = address - high * TWO32;
    words[5] = high;
    words[6] = this.pieces;
  }

  private sent(result: number): void {
    if (this.link.isLost) {
      this.finish();
      return;
    }
    if (result < 0 && result !== -EINTR && result !== -EAGAIN) {
      this.lose(-result);
      return;
    }
    if (result > 0) this.link.sent(result);
    if (this.link.hasUnsent) this.sendSoon();
  }

  // --- receiving

  private receive(): void {
    if (this.recvOp.inFlight || this.link.isLost) return;
    const { ring, memory } = this.host;
    const wanted = this.link.dataWanted;
    if (wanted >= DIRECT_BYTES) {
      this.link.locate();
      const { page, pageAt, pageBytes } = this.link;
      if (pageBytes >= DIRECT_BYTES) {
        this.isDirect = true;
        this.wasDirect = true;
        const address = memory.addressOf(page) + pageAt;
        ring.prepare(this.recvOp, OP.RECV, this.fd, address, pageBytes, 0, MSG_WAITALL);
        return;
      }
    }
    this.isDirect = false;
    const bytes = this.wasDirect && wanted === 0 ? HEADER_BYTES : GULP_BYTES;
    this.wasDirect = false;
    ring.prepare(this.recvOp, OP.RECV, this.fd, this.place.gulpAddress, bytes, 0, 0);
  }

  private received(result: number): void {
    if (this.link.isLost) {
      this.finish();
      return;
    }
    if (result > 0) {
      if (this.isDirect) this.link.placed(result);
      else this.link.consume(this.place.gulp, 0, result);
    } else if (result === 0) this.link.closed('the server has closed the connection');
    else if (result !== -EINTR && result !== -EAGAIN) {
      this.lose(-result);
    }
    this.receive();
  }

  // --- the end

  private lose(errno: number): void {
    const isOver = errno === ECONNRESET || errno === EPIPE;
    this.link.lose(isOver ? 'the server has closed the connection' : errnoName(errno), isOver);
  }

  abandon(): void {
    const { ring } = this.host;
    if (this.recvOp.inFlight) ring.prepareCancel(this.cancelRecv, this.recvOp);
    if (this.sendOp.inFlight) ring.prepareCancel(this.cancelSend, this.sendOp);
    this.finish();
  }

  private finish(): void {
    if (!this.link.isLost || this.isDone) return;
    for (let i = 0; i < this.ops.length; i += 1) if (this.ops[i]!.inFlight) return;
    this.isDone = true;
    for (let i = 0; i < this.ops.length; i += 1) this.host.ring.unregister(this.ops[i]!);
    this.link.released();
  }
}
