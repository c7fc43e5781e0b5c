import { assert } from '../base/assert.ts';
import { ERRNO } from '../base/errno.ts';
import {
  chunkHeaderBytes,
  ChunkHeader,
  ERROR_OFFSET_BYTES,
  OFFSET_DATA_BYTES,
  OFFSET_HOLE_BYTES,
  REPLY_STYLE,
  writeChunk,
  writeError,
  writeHole,
  type ReplyStyle,
} from '../nbd/chunk.ts';
import { nbdErrorOf } from '../nbd/errno.ts';
import { CHUNK, CHUNK_FLAG, COMMAND, SIZE } from '../nbd/proto.ts';
import { writeSimpleReply, writeU64 } from '../nbd/wire.ts';
import type { Request } from './request.ts';
import { MAX_STRETCHES } from './stretches.ts';
import { errorText } from './faults.ts';

/** Room of a chunk's header, and of the longest error text behind it. */
const CHUNK_ROOM = 160;

/**
 * Replies that wait for the stream, in the order in which they became ready, as pieces: a head of
 * some bytes, and perhaps payload that is still in its request's slot. A simple reply is one piece,
 * and its head of 16 bytes lies beside its neighbours', so that many leave in one go; a structured
 * one has a piece for each chunk.
 *
 * Never longer than its capacity: each piece holds a request record, a request has a bounded number
 * of pieces, and there are only so many records.
 */
export class ReplyQueue {
  readonly headers: Uint8Array;
  private readonly view: DataView;
  private readonly style: ReplyStyle;
  private readonly room: number;
  private readonly requests: (Request | null)[];
  private readonly headLengths: Uint8Array;
  private readonly payloadStarts: Float64Array;
  private readonly payloadLengths: Uint32Array;
  private readonly mask: number;
  private readonly chunk = new ChunkHeader();
  private head = 0;
  private tail = 0;

  /** `requests`, a power of two: how many may wait. */
  constructor(requests: number, style: ReplyStyle = REPLY_STYLE.SIMPLE) {
    const capacity = style === REPLY_STYLE.SIMPLE ? requests : requests * MAX_STRETCHES;
    this.style = style;
    this.room = style === REPLY_STYLE.SIMPLE ? SIZE.SIMPLE_REPLY : CHUNK_ROOM;
    this.headers = new Uint8Array(capacity * this.room);
    this.view = new DataView(this.headers.buffer);
    this.requests = new Array<Request | null>(capacity).fill(null);
    this.headLengths = new Uint8Array(capacity);
    this.payloadStarts = new Float64Array(capacity);
    this.payloadLengths = new Uint32Array(capacity);
    this.mask = capacity - 1;
    assert((capacity & this.mask) === 0, 'reply queue: capacity is not a power of two');
  }

  /** Pieces that wait. */
  get length(): number {
    return this.tail - this.head;
  }

  push(request: Request): void {
    if (this.style === REPLY_STYLE.SIMPLE) {
      this.pushSimple(request);
    } else if (request.error !== ERRNO.OK) {
      this.pushError(request);
    } else if (request.lengthBytes > 0 && request.type === COMMAND.READ) {
      this.pushRead(request);
    } else if (request.type === COMMAND.BLOCK_STATUS) {
      this.pushStatus(request);
    } else if (this.style === REPLY_STYLE.EXTENDED || request.type === COMMAND.READ) {
      this.begin(CHUNK.NONE, request, 0);
      this.end(request, 0, 0, 0);
    } else {
      // "Structured replies": only READ needs chunks; what went well says so in 16 bytes.
      this.pushSimple(request);
    }
  }

  /** The n-th oldest piece: where its head is in `headers`, and how long. */
  headAt(index: number): number {
    return ((this.head + index) & this.mask) * this.room;
  }

  headBytes(index: number): number {
    return this.headLengths[(this.head + index) & this.mask]!;
  }

  /** Where in the arena its payload is, and how long; 0: it has none. */
  payloadAt(index: number): number {
    return this.payloadStarts[(this.head + index) & this.mask]!;
  }

  payloadBytes(index: number): number {
    return this.payloadLengths[(this.head + index) & this.mask]!;
  }

  /** Takes the oldest piece out. Null: its request has more of them. */
  shift(): Request | null {
    assert(this.length > 0, 'reply queue: no reply to take');
    const place = this.head & this.mask;
    const request = this.requests[place]!;
    this.requests[place] = null;
    this.head += 1;
    return request;
  }

  private pushSimple(request: Request): void {
    const error = nbdErrorOf(request.error, request.type, request.flags);
    const at = this.openPiece();
    writeSimpleReply(this.view, at, error, request.cookieHigh, request.cookieLow);
    const payload = replyPayloadBytes(request);
    this.closePiece(request, SIZE.SIMPLE_REPLY, payload === 0 ? 0 : request.payloadAt, payload);
  }

  /** "ERROR", with a text; "ERROR_OFFSET" where the place of the failure is known. */
  private pushError(request: Request): void {
    const error = nbdErrorOf(request.error, request.type, request.flags);
    const text = errorText(request.fault, request.error);
    const hasPlace = request.failedAt >= 0;
    const type = hasPlace ? CHUNK.ERROR_OFFSET : CHUNK.ERROR;
    const at = this.openPiece() + chunkHeaderBytes(this.style);
    let length = writeError(this.view, at, error, text);
    if (hasPlace) {
      writeU64(this.view, at + length, request.failedAt);
      length += ERROR_OFFSET_BYTES;
    }
    this.begin(type, request, length);
    this.end(request, length, 0, 0);
  }

  /** A chunk for each stretch: data from the slot, or a hole. */
  private pushRead(request: Request): void {
    const { stretches } = request;
    const count = stretches.count;
    const end = request.offset + request.lengthBytes;
    for (let i = 0; i < count; i += 1) {
      const from = i === 0 ? request.offset : stretches.startAt(i);
      const to = i + 1 === count ? end : stretches.startAt(i + 1);
      const isLast = i + 1 === count;
      const at = this.openPiece() + chunkHeaderBytes(this.style);
      if (stretches.isHole(i)) {
        writeHole(this.view, at, from, to - from);
        this.begin(CHUNK.OFFSET_HOLE, request, OFFSET_HOLE_BYTES, isLast);
        this.end(isLast ? request : null, OFFSET_HOLE_BYTES, 0, 0);
      } else {
        writeU64(this.view, at, from);
        this.begin(CHUNK.OFFSET_DATA, request, OFFSET_DATA_BYTES + to - from, isLast);
        const payloadAt = request.payloadAt + (from - request.offset);
        this.end(isLast ? request : null, OFFSET_DATA_BYTES, payloadAt, to - from);
      }
    }
  }

  /** The chunks are in the slot as they will leave; the first one's header becomes the head. */
  private pushStatus(request: Request): void {
    const length = chunkHeaderBytes(this.style);
    const at = this.openPiece();
    const from = request.slot;
    for (let i = 0; i < length; i += 1) this.headers[at + i] = request.arenaBytes[from + i]!;
    this.closePiece(request, length, from + length, request.statusBytes - length);
  }

  private begin(type: number, request: Request, lengthBytes: number, isLast = true): void {
    const chunk = this.chunk;
    chunk.type = type;
    chunk.flags = isLast ? CHUNK_FLAG.DONE : 0;
    chunk.cookieHigh = request.cookieHigh;
    chunk.cookieLow = request.cookieLow;
    chunk.offsetHigh = request.offsetHigh;
    chunk.offsetLow = request.offsetLow;
    chunk.lengthBytes = lengthBytes;
    writeChunk(this.view, this.openPiece(), this.style, chunk);
  }

  private end(request: Request | null, bytes: number, payloadAt: number, payload: number): void {
    this.closePiece(request, chunkHeaderBytes(this.style) + bytes, payloadAt, payload);
  }

  /** Where the head of the next piece goes. */
  private openPiece(): number {
    assert(this.length <= this.mask, 'reply queue: more replies than requests');
    return (this.tail & this.mask) * this.room;
  }

  private closePiece(
    request: Request | null,
    headBytes: number,
    payloadAt: number,
    payload: number,
  ): void {
    const place = this.tail & this.mask;
    this.requests[place] = request;
    this.headLengths[place] = headBytes;
    this.payloadStarts[place] = payloadAt;
    this.payloadLengths[place] = payload;
    this.tail += 1;
  }
}

/** Bytes of the slot that a reply still needs: a READ's or a status's, if it went well. */
export function replyPayloadBytes(request: Request): number {
  if (request.error !== ERRNO.OK) return 0;
  if (request.type === COMMAND.READ) return request.isAllHole ? 0 : request.lengthBytes;
  return request.type === COMMAND.BLOCK_STATUS ? request.statusBytes : 0;
}
