import { assert } from '../base/assert.ts';
import { ERRNO } from '../base/errno.ts';
import { SECTOR_SIZE } from '../base/units.ts';
import type { Bio } from '../block/bio.ts';
import { REPLY_FRAME, REPLY_KIND, ReplyFramer } from '../nbd/client-replies.ts';
import { ALLOCATION, COMMAND, SIZE } from '../nbd/proto.ts';
import { RequestHeader, writeRequest } from '../nbd/wire.ts';
import { copyBytes } from './copy.ts';
import { errnoOfNbd } from './errno.ts';
import type { RemoteRequest } from './request.ts';

/** What carries a link's bytes: a Node socket, a socket on a ring, a test's arrays. */
export interface LinkTransport {
  /** There is something to send: `link.gather` is to be called soon. */
  sendSoon(): void;
  /** The same, at once: somebody's thread waits. */
  sendNow(): void;
  /**
   * Nothing more may be sent, and nothing more is taken. When the memory of the link's requests is no
   * longer touched it says `link.released()`: from inside this call, or later.
   */
  abandon(): void;
}

/** The device's side of a link. */
export interface LinkOwner {
  requestEnded(link: RemoteLink, request: RemoteRequest, errno: number): void;
  /** The link is of no use any more; its requests are still its own. */
  linkLost(link: RemoteLink, why: string): void;
  /** Its requests are nobody's now: `link.takeBack` gives them. */
  linkReleased(link: RemoteLink): void;
}

/** Takes pieces of memory that are to be sent one after the other. */
export interface PieceSink {
  /** False: there is no room for one more. */
  piece(page: Uint8Array, offset: number, length: number): boolean;
}

/** Requests with the server at once, on one link. The cookie is slot and generation. */
const LINK_DEPTH = 128;

/**
 * One connection in transmission: requests go out pipelined, replies come back in any order. It knows
 * no socket: the transport asks it what to send (`gather`, `sent`) and gives it what came (`consume`,
 * or straight into memory: `locate`, `placed`).
 */
export class RemoteLink {
  /** Which of its device's links it is. */
  readonly slot: number;
  /** Of a lost link: the server has ended it, and so has nothing of it left to do. */
  isOver = false;
  /** Requests in the table. */
  inFlight = 0;
  // Set by `locate`: memory where the next bytes of a READ belong.
  page: Uint8Array;
  pageAt = 0;
  pageBytes = 0;

  private readonly owner: LinkOwner;
  private readonly isStructured: boolean;
  private readonly allocationId: number | null;
  private transport: LinkTransport | null = null;
  private lost = false;
  private readonly table: (RemoteRequest | null)[] = new Array<RemoteRequest | null>(
    LINK_DEPTH,
  ).fill(null);
  private readonly generations = new Uint32Array(LINK_DEPTH);
  private readonly freeSlots = new Int32Array(LINK_DEPTH);
  private readonly headers = new Uint8Array(LINK_DEPTH * SIZE.REQUEST);
  private readonly headerView = new DataView(this.headers.buffer);
  private readonly header = new RequestHeader();
  /** Slots whose bytes are to be sent, first come first served. */
  private readonly out = new Int32Array(LINK_DEPTH);
  private outHead = 0;
  private outTail = 0;
  /** Bytes of the first that are with the kernel. */
  private sentOfFirst = 0;
  private readonly framer: ReplyFramer;
  /** The READ whose data is coming, and how far from its beginning the next byte belongs. */
  private reading: RemoteRequest | null = null;
  private readingSlot = 0;
  private dataAt = 0;

  /** `allocationId`: the connection's id of base:allocation, if it has one. */
  constructor(
    slot: number,
    owner: LinkOwner,
    isStructured: boolean,
    allocationId: number | null = null,
  ) {
    this.allocationId = allocationId;
    this.slot = slot;
    this.owner = owner;
    this.isStructured = isStructured;
    this.framer = new ReplyFramer(isStructured);
    this.page = this.headers;
    for (let i = 0; i < LINK_DEPTH; i += 1) this.freeSlots[i] = LINK_DEPTH - 1 - i;
  }

  /** Once, before anything else. */
  attach(transport: LinkTransport): void {
    assert(this.transport === null, 'a link has two transports');
    this.transport = transport;
  }

  get isLost(): boolean {
    return this.lost;
  }

  get isFull(): boolean {
    return this.inFlight === LINK_DEPTH;
  }

  start(request: RemoteRequest, isUrgent: boolean): void {
    assert(!this.lost && !this.isFull, 'a request for a link that takes none');
    this.inFlight += 1;
    const slot = this.freeSlots[LINK_DEPTH - this.inFlight]!;
    this.generations[slot] = (this.generations[slot]! + 1) >>> 0;
    this.table[slot] = request;
    this.put(slot, request);
    if (isUrgent) this.transport!.sendNow();
    else this.transport!.sendSoon();
  }

  private put(slot: number, request: RemoteRequest): void {
    const { type } = request;
    const { header } = this;
    const range = request.query ?? request.bio;
    const hasRange = range !== null && type !== COMMAND.FLUSH;
    header.type = type;
    header.flags = request.flags;
    header.cookieHigh = this.generations[slot]!;
    header.cookieLow = slot;
    header.offset = hasRange ? range.sector * SECTOR_SIZE : 0;
    header.lengthBytes = hasRange ? range.sectors * SECTOR_SIZE : 0;
    writeRequest(this.headerView, slot * SIZE.REQUEST, header);
    request.isSent = false;
    request.answer = -1;
    request.error = 0;
    request.coverage.clear();
    request.toldBytes = 0;
    if (request.query !== null) request.query.count = 0;
    this.out[this.outTail % LINK_DEPTH] = slot;
    this.outTail += 1;
  }

  // --- sending

  get hasUnsent(): boolean {
    return !this.lost && this.outHead < this.outTail;
  }

  /** Gives what is to be sent, piece by piece, until the sink is full. Returns the bytes given. */
  gather(sink: PieceSink): number {
    let skip = this.sentOfFirst;
    let total = 0;
    for (let i = this.outHead; i < this.outTail && !this.lost; i += 1) {
      const slot = this.out[i % LINK_DEPTH]!;
      const request = this.table[slot]!;
      if (skip < SIZE.REQUEST) {
        const length = SIZE.REQUEST - skip;
        if (!sink.piece(this.headers, slot * SIZE.REQUEST + skip, length)) return total;
        total += length;
        skip = 0;
      } else skip -= SIZE.REQUEST;
      if (request.type !== COMMAND.WRITE) continue;
      const bio = request.bio!;
      let rest = bio.sectors * SECTOR_SIZE - skip;
      for (let v = 0; rest > 0; v += 1) {
        const vec = bio.vecs[v]!;
        if (skip >= vec.length) {
          skip -= vec.length;
          continue;
        }
        const length = rest < vec.length - skip ? rest : vec.length - skip;
        if (!sink.piece(vec.page, vec.offset + skip, length)) return total;
        total += length;
        rest -= length;
        skip = 0;
      }
    }
    return total;
  }

  /** The kernel has taken so many bytes of what was gathered. */
  sent(bytes: number): void {
    if (this.lost) return;
    const first = this.outHead;
    let left = bytes + this.sentOfFirst;
    while (this.outHead < this.outTail) {
      const request = this.table[this.out[this.outHead % LINK_DEPTH]!]!;
      const whole = messageBytes(request);
      if (left < whole) break;
      left -= whole;
      request.isSent = true;
      this.outHead += 1;
    }
    assert(left === 0 || this.outHead < this.outTail, 'more bytes sent than there were');
    this.sentOfFirst = left;
    // Only now: who hears of an end may start the next request, and send it from inside.
    const end = this.outHead;
    for (let i = first; i < end && !this.lost; i += 1) {
      const slot = this.out[i % LINK_DEPTH]!;
      const request = this.table[slot]!;
      if (request.answer >= 0) this.end(slot, request, request.answer);
    }
  }

  // --- receiving

  /** Bytes of the server, split anywhere. */
  consume(bytes: Uint8Array, start: number, end: number): void {
    const { framer } = this;
    let at = start;
    while (at < end && !this.lost) {
      if (framer.state === REPLY_FRAME.DATA) {
        this.locate();
        const count = end - at < this.pageBytes ? end - at : this.pageBytes;
        copyBytes(bytes, at, this.page, this.pageAt, count);
        at += count;
        this.placed(count);
        continue;
      }
      at = framer.feed(bytes, at, end);
      if (framer.state === REPLY_FRAME.REPLY) this.onReply();
      else if (framer.state === REPLY_FRAME.DEAD) this.lose(framer.failure, false);
    }
  }

  /** Bytes of data that come next and belong to one READ; 0: what comes next is a header. */
  get dataWanted(): number {
    return !this.lost && this.framer.state === REPLY_FRAME.DATA ? this.framer.dataLeft : 0;
  }

  /** Sets `page`, `pageAt`, `pageBytes` to the memory of the next bytes of data. */
  locate(): void {
    const bio = this.reading!.bio!;
    let skip = this.dataAt;
    let v = 0;
    while (skip >= bio.vecs[v]!.length) {
      skip -= bio.vecs[v]!.length;
      v += 1;
    }
    const vec = bio.vecs[v]!;
    const left = this.framer.dataLeft;
    this.page = vec.page;
    this.pageAt = vec.offset + skip;
    this.pageBytes = left < vec.length - skip ? left : vec.length - skip;
  }

  /** `count` bytes are where `locate` said. */
  placed(count: number): void {
    const { framer } = this;
    this.dataAt += count;
    framer.dataTaken(count);
    if (framer.state === REPLY_FRAME.DATA) return;
    const request = this.reading!;
    this.reading = null;
    if (framer.kind === REPLY_KIND.SIMPLE) this.end(this.readingSlot, request, 0);
    else if (framer.isLast) this.endChunks(this.readingSlot, request);
  }

  /** The server has closed its end: what it was asked is not answered. */
  closed(why: string): void {
    this.lose(why, true);
  }

  /** The link cannot be used any more: bytes that cannot be, an error of the socket. */
  lose(why: string, isOver: boolean): void {
    if (this.lost) return;
    this.lost = true;
    this.isOver = isOver;
    this.reading = null;
    this.owner.linkLost(this, why);
    this.transport!.abandon();
  }

  /** By the transport: nobody touches the requests' memory any more. */
  released(): void {
    assert(this.lost, 'a link was released that is in use');
    this.owner.linkReleased(this);
  }

  /** One request of a link that is over; null: there is none left. */
  takeBack(): RemoteRequest | null {
    for (let slot = 0; slot < LINK_DEPTH; slot += 1) {
      const request = this.table[slot] ?? null;
      if (request === null) continue;
      this.drop(slot);
      return request;
    }
    return null;
  }

  private onReply(): void {
    const { framer } = this;
    const slot = framer.cookieLow;
    const request = slot < LINK_DEPTH ? this.table[slot]! : null;
    if (request === null || framer.cookieHigh !== this.generations[slot]) {
      this.lose('a reply to nothing that was asked', false);
    } else if (request.answer >= 0) {
      this.lose('a second reply to one request', false);
    } else if (framer.kind === REPLY_KIND.SIMPLE) this.onSimple(slot, request);
    else this.onChunk(slot, request);
  }

  private onSimple(slot: number, request: RemoteRequest): void {
    const { framer } = this;
    if (request.type !== COMMAND.READ) {
      framer.accept(0);
      this.end(slot, request, errnoOfNbd(framer.error));
    } else if (this.isStructured) {
      this.lose('a simple reply to a READ, where structured ones were agreed on', false);
    } else if (framer.error !== 0) {
      framer.accept(0);
      this.end(slot, request, errnoOfNbd(framer.error));
    } else {
      this.expectData(slot, request, 0, request.bio!.sectors * SECTOR_SIZE);
    }
  }

  private onChunk(slot: number, request: RemoteRequest): void {
    const { framer } = this;
    const { kind } = framer;
    if (kind === REPLY_KIND.DATA || kind === REPLY_KIND.HOLE) {
      this.onContent(slot, request);
      return;
    }
    if (kind === REPLY_KIND.EXTENT && !this.onExtent(request)) return;
    if (kind === REPLY_KIND.ERROR && request.error === 0) request.error = errnoOfNbd(framer.error);
    framer.accept(0);
    if (framer.isLast) this.endChunks(slot, request);
  }

  /** "NBD_REPLY_TYPE_BLOCK_STATUS": in order from the request's offset; the last may go beyond its end. */
  private onExtent(request: RemoteRequest): boolean {
    const { framer } = this;
    const { query } = request;
    if (query === null || framer.contextId !== this.allocationId) {
      this.lose('a block status that was not asked for', false);
      return false;
    }
    const from = request.toldBytes;
    const wanted = query.sectors * SECTOR_SIZE;
    if (from >= wanted) {
      this.lose('a block status beyond what was asked for', false);
      return false;
    }
    const beyond = from + framer.lengthBytes;
    const to = beyond < wanted ? beyond : wanted;
    request.toldBytes = to;
    if ((framer.flags & ALLOCATION.ZERO) === 0) return true;
    const start = Math.ceil(from / SECTOR_SIZE);
    const end = Math.floor(to / SECTOR_SIZE);
    if (start < end) query.add(query.sector + start, query.sector + end);
    return true;
  }

  private onContent(slot: number, request: RemoteRequest): void {
    const { framer } = this;
    if (request.type !== COMMAND.READ) {
      this.lose('data for a request that is no READ', false);
      return;
    }
    const bio = request.bio!;
    const start = framer.offset - bio.sector * SECTOR_SIZE;
    const end = start + framer.lengthBytes;
    if (start < 0 || end > bio.sectors * SECTOR_SIZE) {
      this.lose('data outside the range that was asked for', false);
    } else if (!request.coverage.add(start, end)) {
      this.lose('data for a range twice, or in too many pieces', false);
    } else if (framer.kind === REPLY_KIND.DATA) {
      this.expectData(slot, request, start, framer.lengthBytes);
    } else {
      zeroBytes(bio, start, end);
      framer.accept(0);
      if (framer.isLast) this.endChunks(slot, request);
    }
  }

  private expectData(slot: number, request: RemoteRequest, at: number, bytes: number): void {
    this.reading = request;
    this.readingSlot = slot;
    this.dataAt = at;
    this.framer.accept(bytes);
  }

  private endChunks(slot: number, request: RemoteRequest): void {
    const isRead = request.type === COMMAND.READ && request.error === 0;
    if (isRead && !request.coverage.isWhole(request.bio!.sectors * SECTOR_SIZE)) {
      this.lose('a READ was answered with less than was asked for', false);
    } else this.end(slot, request, request.error);
  }

  private end(slot: number, request: RemoteRequest, errno: number): void {
    if (errno === ERRNO.ESHUTDOWN) {
      // It goes away: what it did not do is done when it is back, or fails with the rest.
      this.lose('the server is shutting down', false);
      return;
    }
    if (!request.isSent) {
      request.answer = errno;
      return;
    }
    this.drop(slot);
    this.owner.requestEnded(this, request, errno);
  }

  private drop(slot: number): void {
    this.table[slot] = null;
    this.freeSlots[LINK_DEPTH - this.inFlight] = slot;
    this.inFlight -= 1;
  }
}

function messageBytes(request: RemoteRequest): number {
  if (request.type !== COMMAND.WRITE) return SIZE.REQUEST;
  return SIZE.REQUEST + request.bio!.sectors * SECTOR_SIZE;
}

function zeroBytes(bio: Bio, start: number, end: number): void {
  let skip = start;
  let rest = end - start;
  for (let v = 0; rest > 0; v += 1) {
    const vec = bio.vecs[v]!;
    if (skip >= vec.length) {
      skip -= vec.length;
      continue;
    }
    const length = rest < vec.length - skip ? rest : vec.length - skip;
    vec.page.fill(0, vec.offset + skip, vec.offset + skip + length);
    rest -= length;
    skip = 0;
  }
}
