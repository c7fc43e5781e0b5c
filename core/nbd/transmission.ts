import { assert } from '../base/assert.ts';
import { COMMAND, COMMAND_FLAG, SIZE } from './proto.ts';
import { readRequest, RequestHeader } from './wire.ts';

/**
 * Where the framer of a connection stands (proto.md "Transmission", C: request).
 *
 *   HEADER   collects 28 bytes   -> REQUEST, or DEAD when the magic is wrong
 *   REQUEST  header is decoded   -> accept(): PAYLOAD if it is a WRITE of some bytes, else HEADER
 *   PAYLOAD  counts bytes down   -> HEADER at the last one
 *   DEAD     nobody knows where the next request begins: the connection must be dropped
 *
 * HEADER and PAYLOAD are "need more", REQUEST is "done". Any split of the stream gives the same.
 */
export const FRAME = { HEADER: 0, REQUEST: 1, PAYLOAD: 2, DEAD: 3 } as const;
export type Frame = (typeof FRAME)[keyof typeof FRAME];

/** Cuts a connection's bytes into requests. It keeps no payload: it says where payload is due. */
export class RequestFramer {
  /** Valid from REQUEST until the next header has begun. */
  readonly header = new RequestHeader();
  state: Frame = FRAME.HEADER;
  /** In state PAYLOAD: bytes still to come. */
  payloadLeft = 0;

  private readonly bytes = new Uint8Array(SIZE.REQUEST);
  private readonly view = new DataView(this.bytes.buffer);
  private have = 0;

  /** True between requests: the only place where a stream may end well. */
  get isAtBoundary(): boolean {
    return this.state === FRAME.HEADER && this.have === 0;
  }

  /** In state HEADER: takes what the header lacks; returns where it stopped. */
  feed(bytes: Uint8Array, start: number, end: number): number {
    assert(this.state === FRAME.HEADER, 'framer: header bytes out of turn');
    assert(start < end && end <= bytes.length, 'framer: an empty or impossible range');
    let at = start;
    // Copied byte by byte: 28 of them cost less than a view of the chunk would.
    while (this.have < SIZE.REQUEST && at < end) {
      this.bytes[this.have] = bytes[at]!;
      this.have += 1;
      at += 1;
    }
    if (this.have === SIZE.REQUEST) {
      this.have = 0;
      this.state = readRequest(this.view, 0, this.header) ? FRAME.REQUEST : FRAME.DEAD;
    }
    return at;
  }

  /** In state REQUEST: its header has been acted upon, what follows may come. */
  accept(): void {
    assert(this.state === FRAME.REQUEST, 'framer: accept without a request');
    this.payloadLeft = payloadBytes(this.header.type, this.header.lengthBytes);
    this.state = this.payloadLeft > 0 ? FRAME.PAYLOAD : FRAME.HEADER;
  }

  /** In state PAYLOAD: `count` bytes of it have been taken off the stream. */
  payloadTaken(count: number): void {
    assert(this.state === FRAME.PAYLOAD, 'framer: payload out of turn');
    assert(count > 0 && count <= this.payloadLeft, 'framer: more payload than announced');
    this.payloadLeft -= count;
    if (this.payloadLeft === 0) this.state = FRAME.HEADER;
  }

  kill(): void {
    this.state = FRAME.DEAD;
  }
}

/** Bytes that follow a request's header: only WRITE has any ("NBD_CMD_WRITE"). */
function payloadBytes(type: number, lengthBytes: number): number {
  return type === COMMAND.WRITE ? lengthBytes : 0;
}

const NOT_OFFERED = -1;

/**
 * The flags a command may carry, or -1 when we do not offer the command. FUA goes with every one
 * ("Command flags": a server that sends SEND_FUA accepts it on all, also where it means nothing).
 * DF, REQ_ONE, FAST_ZERO, PAYLOAD_LEN belong to features that are not negotiated yet.
 */
export function flagsOf(type: number): number {
  switch (type) {
    case COMMAND.READ:
    case COMMAND.WRITE:
    case COMMAND.FLUSH:
    case COMMAND.TRIM:
      return COMMAND_FLAG.FUA;
    case COMMAND.WRITE_ZEROES:
      return COMMAND_FLAG.FUA | COMMAND_FLAG.NO_HOLE;
    default:
      return NOT_OFFERED;
  }
}
