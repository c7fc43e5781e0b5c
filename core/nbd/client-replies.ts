import { assert } from '../base/assert.ts';
import {
  ChunkHeader,
  ERROR_BYTES,
  ERROR_OFFSET_BYTES,
  extentBytes,
  OFFSET_DATA_BYTES,
  OFFSET_HOLE_BYTES,
  readChunk,
  readExtentFlags,
  readExtentLength,
  REPLY_STYLE,
  statusHeadBytes,
} from './chunk.ts';
import {
  CHUNK,
  CHUNK_FLAG,
  LIMIT,
  SIMPLE_REPLY_MAGIC,
  SIZE,
  STRUCTURED_REPLY_MAGIC,
} from './proto.ts';
import { readU64 } from './wire.ts';

/**
 * Where the framer of a server's replies stands (proto.md "Transmission", S: replies).
 *
 *   HEADER  collects 16 bytes, 20 of a chunk   -> REPLY, DETAIL, or DEAD when they cannot be
 *   DETAIL  collects a chunk's fixed fields    -> REPLY
 *   REPLY   the fields are decoded             -> accept(n): DATA if n bytes follow, SKIP, HEADER, or
 *                                                 DETAIL when another extent follows
 *   DATA    the caller moves n bytes           -> SKIP or HEADER
 *   SKIP    throws an error's message away     -> HEADER
 *   DEAD    nobody knows where the next reply begins: the connection is over
 *
 * The framer does not know the requests: which cookie is whose, and how long a simple reply's data
 * is, its caller says.
 */
export const REPLY_FRAME = {
  HEADER: 0,
  DETAIL: 1,
  REPLY: 2,
  DATA: 3,
  SKIP: 4,
  DEAD: 5,
} as const;
export type ReplyFrame = (typeof REPLY_FRAME)[keyof typeof REPLY_FRAME];

/** What a reply is, or a part of one. */
export const REPLY_KIND = {
  SIMPLE: 0,
  /** The end of a reply, or nothing at all. */
  NONE: 1,
  /** `lengthBytes` of data for `offset` follow. */
  DATA: 2,
  /** `lengthBytes` from `offset` on are zeros. */
  HOLE: 3,
  ERROR: 4,
  /** Of a BLOCK_STATUS: `lengthBytes` that are what `flags` says; extents follow each other. */
  EXTENT: 5,
} as const;
export type ReplyKind = (typeof REPLY_KIND)[keyof typeof REPLY_KIND];

const STYLE = REPLY_STYLE.STRUCTURED;
const STATUS_HEAD_BYTES = statusHeadBytes(STYLE);
const EXTENT_BYTES = extentBytes(STYLE);
const ERROR_BIT = 0x8000;
/** "NBD_REPLY_TYPE_BLOCK_STATUS": no more than 2^20 extents. */
const MAX_EXTENTS = 2 ** 20;

export class ReplyFramer {
  state: ReplyFrame = REPLY_FRAME.HEADER;
  /** In DEAD: why. */
  failure = '';
  // Valid from REPLY until the next header has begun.
  kind: ReplyKind = REPLY_KIND.SIMPLE;
  cookieHigh = 0;
  cookieLow = 0;
  /** An NBD error; 0 when it is none. Never 0 in an ERROR. */
  error = 0;
  /** Of DATA and HOLE: bytes from the device's beginning, perhaps BEYOND. */
  offset = 0;
  lengthBytes = 0;
  /** Of EXTENT: the context it speaks of, and its flags. */
  contextId = 0;
  flags = 0;
  /** The reply's last part; always so of a simple one. */
  isLast = true;
  /** In DATA: bytes still to come. */
  dataLeft = 0;

  private readonly isStructured: boolean;
  private readonly bytes = new Uint8Array(32);
  private readonly view = new DataView(this.bytes.buffer);
  private have = 0;
  private due: number = SIZE.SIMPLE_REPLY;
  private readonly chunk = new ChunkHeader();
  private extentsLeft = 0;
  private skipLeft = 0;

  constructor(isStructured: boolean) {
    this.isStructured = isStructured;
  }

  /** True between replies: the only place where a stream may end well. */
  get isAtBoundary(): boolean {
    return this.state === REPLY_FRAME.HEADER && this.have === 0;
  }

  /** In HEADER, DETAIL and SKIP: takes what is lacking; returns where it stopped. */
  feed(bytes: Uint8Array, start: number, end: number): number {
    assert(start < end && end <= bytes.length, 'replies: an empty or impossible range');
    if (this.state === REPLY_FRAME.SKIP) return this.skip(start, end);
    assert(
      this.state === REPLY_FRAME.HEADER || this.state === REPLY_FRAME.DETAIL,
      'replies: header bytes out of turn',
    );
    let at = start;
    while (this.have < this.due && at < end) {
      this.bytes[this.have] = bytes[at]!;
      this.have += 1;
      at += 1;
    }
    if (this.have === this.due) {
      if (this.state === REPLY_FRAME.HEADER) this.onHeader();
      else this.onDetail();
    }
    return at;
  }

  /** In REPLY: it has been acted upon; `dataBytes` of payload are the caller's to move. */
  accept(dataBytes: number): void {
    assert(this.state === REPLY_FRAME.REPLY, 'replies: accept without a reply');
    this.dataLeft = dataBytes;
    if (dataBytes > 0) this.state = REPLY_FRAME.DATA;
    else this.endReply();
  }

  /** In DATA: `count` bytes have been taken off the stream. */
  dataTaken(count: number): void {
    assert(this.state === REPLY_FRAME.DATA, 'replies: data out of turn');
    assert(count > 0 && count <= this.dataLeft, 'replies: more data than announced');
    this.dataLeft -= count;
    if (this.dataLeft === 0) this.endReply();
  }

  /** The caller has found something that cannot be. */
  kill(why: string): void {
    this.failure = why;
    this.state = REPLY_FRAME.DEAD;
  }

  private endReply(): void {
    this.have = 0;
    if (this.extentsLeft > 0) {
      this.due = EXTENT_BYTES;
      this.state = REPLY_FRAME.DETAIL;
      return;
    }
    this.due = SIZE.SIMPLE_REPLY;
    this.state = this.skipLeft > 0 ? REPLY_FRAME.SKIP : REPLY_FRAME.HEADER;
  }

  private skip(start: number, end: number): number {
    const count = end - start < this.skipLeft ? end - start : this.skipLeft;
    this.skipLeft -= count;
    if (this.skipLeft === 0) this.state = REPLY_FRAME.HEADER;
    return start + count;
  }

  private onHeader(): void {
    const magic = this.view.getUint32(0);
    if (magic === SIMPLE_REPLY_MAGIC) {
      this.kind = REPLY_KIND.SIMPLE;
      this.error = this.view.getUint32(4);
      this.cookieHigh = this.view.getUint32(8);
      this.cookieLow = this.view.getUint32(12);
      this.isLast = true;
      this.lengthBytes = 0;
      this.state = REPLY_FRAME.REPLY;
    } else if (magic !== STRUCTURED_REPLY_MAGIC) this.kill('a reply without its magic');
    else if (!this.isStructured) this.kill('a structured reply, which was not agreed on');
    else if (this.due < SIZE.STRUCTURED_CHUNK) this.due = SIZE.STRUCTURED_CHUNK;
    else this.onChunk();
  }

  private onChunk(): void {
    const { chunk } = this;
    assert(readChunk(this.view, 0, STYLE, chunk), 'replies: a chunk without its magic');
    this.cookieHigh = chunk.cookieHigh;
    this.cookieLow = chunk.cookieLow;
    this.isLast = (chunk.flags & CHUNK_FLAG.DONE) !== 0;
    this.error = 0;
    this.lengthBytes = 0;
    const problem = this.chunkProblem();
    if (problem !== '') {
      this.kill(problem);
      return;
    }
    if (chunk.type === CHUNK.NONE) {
      this.kind = REPLY_KIND.NONE;
      this.state = REPLY_FRAME.REPLY;
      return;
    }
    this.have = 0;
    this.due = detailBytes(chunk.type);
    this.state = REPLY_FRAME.DETAIL;
  }

  private chunkProblem(): string {
    const length = this.chunk.lengthBytes;
    switch (this.chunk.type) {
      case CHUNK.NONE:
        if (length !== 0) return 'a NONE chunk with data';
        return this.isLast ? '' : 'a NONE chunk that is not the last';
      case CHUNK.OFFSET_DATA:
        return length > OFFSET_DATA_BYTES ? '' : 'an OFFSET_DATA chunk without data';
      case CHUNK.OFFSET_HOLE:
        return length === OFFSET_HOLE_BYTES ? '' : 'an OFFSET_HOLE chunk of a wrong length';
      case CHUNK.BLOCK_STATUS: {
        const extents = (length - STATUS_HEAD_BYTES) / EXTENT_BYTES;
        const isWhole = Number.isInteger(extents) && extents >= 1 && extents <= MAX_EXTENTS;
        return isWhole ? '' : 'a BLOCK_STATUS chunk of a wrong length';
      }
      case CHUNK.ERROR_OFFSET:
        if (length < ERROR_BYTES + ERROR_OFFSET_BYTES) return 'an error chunk too short';
        return length > LIMIT.STRING_BYTES + 64 ? 'an error chunk too long' : '';
      default:
        // "Structured reply types": an unknown error is an error, anything else unknown is none of ours.
        if ((this.chunk.type & ERROR_BIT) === 0) return 'a chunk of a type nobody asked for';
        if (length < ERROR_BYTES) return 'an error chunk too short';
        return length > LIMIT.STRING_BYTES + 64 ? 'an error chunk too long' : '';
    }
  }

  private onDetail(): void {
    const { view, chunk } = this;
    switch (chunk.type) {
      case CHUNK.OFFSET_DATA:
        this.kind = REPLY_KIND.DATA;
        this.offset = readU64(view, 0);
        this.lengthBytes = chunk.lengthBytes - OFFSET_DATA_BYTES;
        break;
      case CHUNK.OFFSET_HOLE:
        this.kind = REPLY_KIND.HOLE;
        this.offset = readU64(view, 0);
        this.lengthBytes = view.getUint32(8);
        break;
      case CHUNK.BLOCK_STATUS:
        this.onExtent();
        break;
      default:
        this.onError();
        return;
    }
    if (this.lengthBytes === 0) this.kill('a chunk about no bytes');
    else this.state = REPLY_FRAME.REPLY;
  }

  /** The first comes with the context it speaks of. */
  private onExtent(): void {
    const { view } = this;
    const isFirst = this.extentsLeft === 0;
    const at = isFirst ? STATUS_HEAD_BYTES : 0;
    if (isFirst) {
      this.contextId = view.getUint32(0);
      this.extentsLeft = (this.chunk.lengthBytes - STATUS_HEAD_BYTES) / EXTENT_BYTES;
    }
    this.extentsLeft -= 1;
    this.kind = REPLY_KIND.EXTENT;
    this.lengthBytes = readExtentLength(view, at, STYLE);
    this.flags = readExtentFlags(view, at, STYLE);
    this.isLast = this.extentsLeft === 0 && (this.chunk.flags & CHUNK_FLAG.DONE) !== 0;
  }

  private onError(): void {
    const { view, chunk } = this;
    this.kind = REPLY_KIND.ERROR;
    this.error = view.getUint32(0);
    this.skipLeft = chunk.lengthBytes - ERROR_BYTES;
    const fixed = chunk.type === CHUNK.ERROR_OFFSET ? ERROR_OFFSET_BYTES : 0;
    const messageBytes = view.getUint16(4);
    const fits =
      chunk.type === CHUNK.ERROR || chunk.type === CHUNK.ERROR_OFFSET
        ? messageBytes + fixed === this.skipLeft
        : messageBytes <= this.skipLeft;
    if (!fits) this.kill('an error chunk whose message does not fit');
    else if (this.error === 0) this.kill('an error chunk with error 0');
    else this.state = REPLY_FRAME.REPLY;
  }
}

function detailBytes(type: number): number {
  switch (type) {
    case CHUNK.OFFSET_DATA:
      return OFFSET_DATA_BYTES;
    case CHUNK.OFFSET_HOLE:
      return OFFSET_HOLE_BYTES;
    case CHUNK.BLOCK_STATUS:
      return STATUS_HEAD_BYTES + EXTENT_BYTES;
    default:
      return ERROR_BYTES;
  }
}
