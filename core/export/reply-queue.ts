import { assert } from '../base/assert.ts';
import { ERRNO } from '../base/errno.ts';
import { nbdErrorOf } from '../nbd/errno.ts';
import { COMMAND, SIZE } from '../nbd/proto.ts';
import { writeSimpleReply } from '../nbd/wire.ts';
import type { Request } from './request.ts';

/**
 * Replies that wait for the stream, in the order in which they became ready. Reply n has its header
 * at n * 16 of `headers` (modulo the length), so the headers of neighbours without payload are
 * neighbours too, and leave in one piece; a READ's payload is still in its request's slot.
 *
 * Never longer than `capacity`, a power of two: each reply holds a request record, and there are
 * no more of those.
 */
export class ReplyQueue {
  readonly headers: Uint8Array;
  private readonly view: DataView;
  private readonly requests: (Request | null)[];
  private readonly mask: number;
  private head = 0;
  private tail = 0;

  constructor(capacity: number) {
    this.headers = new Uint8Array(capacity * SIZE.SIMPLE_REPLY);
    this.view = new DataView(this.headers.buffer);
    this.requests = new Array<Request | null>(capacity).fill(null);
    this.mask = capacity - 1;
    assert((capacity & this.mask) === 0, 'reply queue: capacity is not a power of two');
  }

  get length(): number {
    return this.tail - this.head;
  }

  push(request: Request): void {
    assert(this.length <= this.mask, 'reply queue: more replies than requests');
    const error = nbdErrorOf(request.error, request.type, request.flags);
    const place = this.tail & this.mask;
    const at = place * SIZE.SIMPLE_REPLY;
    writeSimpleReply(this.view, at, error, request.cookieHigh, request.cookieLow);
    this.requests[place] = request;
    this.tail += 1;
  }

  /** The request of the n-th oldest reply. */
  requestAt(index: number): Request {
    const request = this.requests[(this.head + index) & this.mask] ?? null;
    assert(index < this.length && request !== null, 'reply queue: no such reply');
    return request;
  }

  /** Where the n-th oldest reply's 16 bytes are in `headers`. */
  headerAt(index: number): number {
    return ((this.head + index) & this.mask) * SIZE.SIMPLE_REPLY;
  }

  /** Takes the oldest reply out. */
  shift(): Request {
    const request = this.requestAt(0);
    this.requests[this.head & this.mask] = null;
    this.head += 1;
    return request;
  }
}

/** Bytes that follow the reply's header: a READ's, if it went well ("Simple reply message"). */
export function replyPayloadBytes(request: Request): number {
  return request.type === COMMAND.READ && request.error === ERRNO.OK ? request.lengthBytes : 0;
}
