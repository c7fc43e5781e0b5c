import { assert } from '../base/assert.ts';
import { COMMAND, COMMAND_FLAG, SIZE } from './proto.ts';
import { REPLY_STYLE, type ReplyStyle } from './chunk.ts';
import { readExtendedRequest, readRequest, RequestHeader } from './wire.ts';

/**
 * Where the framer of a connection stands (proto.md "Transmission", C: request).
 *
 *   HEADER   collects 28 bytes, 32 of extended headers -> REQUEST, or DEAD when the magic is wrong
 *   REQUEST  header is decoded   -> accept(): PAYLOAD if some bytes follow it, else HEADER
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

  private readonly bytes = new Uint8Array(SIZE.EXTENDED_REQUEST);
  private readonly view = new DataView(this.bytes.buffer);
  private readonly isExtended: boolean;
  private readonly headerBytes: number;
  private have = 0;

  constructor(style: ReplyStyle = REPLY_STYLE.SIMPLE) {
    this.isExtended = style === REPLY_STYLE.EXTENDED;
    this.headerBytes = this.isExtended ? SIZE.EXTENDED_REQUEST : SIZE.REQUEST;
  }

  /** In state REQUEST: bytes that will follow its header. Of extended headers perhaps BEYOND. */
  get payloadBytes(): number {
    const { type, flags, lengthBytes } = this.header;
    // "Request message": extended, a flag says that the length is that of a payload; compact, only
    // WRITE has one ("NBD_CMD_WRITE").
    const has = this.isExtended ? (flags & COMMAND_FLAG.PAYLOAD_LEN) !== 0 : type === COMMAND.WRITE;
    return has ? lengthBytes : 0;
  }

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
    while (this.have < this.headerBytes && at < end) {
      this.bytes[this.have] = bytes[at]!;
      this.have += 1;
      at += 1;
    }
    if (this.have === this.headerBytes) {
      this.have = 0;
      const isRequest = this.isExtended
        ? readExtendedRequest(this.view, 0, this.header)
        : readRequest(this.view, 0, this.header);
      this.state = isRequest ? FRAME.REQUEST : FRAME.DEAD;
    }
    return at;
  }

  /** In state REQUEST: its header has been acted upon, what follows may come. */
  accept(): void {
    assert(this.state === FRAME.REQUEST, 'framer: accept without a request');
    this.payloadLeft = this.payloadBytes;
    assert(Number.isSafeInteger(this.payloadLeft), 'framer: a payload nobody can count');
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

const NOT_OFFERED = -1;

/**
 * The flags a command may carry, or -1 when we do not offer the command. FUA goes with every one
 * ("Command flags": a server that sends SEND_FUA accepts it on all, also where it means nothing).
 */
export function flagsOf(type: number, style: ReplyStyle): number {
  switch (type) {
    case COMMAND.READ:
      // "SEND_DF": MUST be 0 unless chunks were negotiated.
      return style === REPLY_STYLE.SIMPLE ? COMMAND_FLAG.FUA : COMMAND_FLAG.FUA | COMMAND_FLAG.DF;
    case COMMAND.WRITE:
      return style === REPLY_STYLE.EXTENDED
        ? COMMAND_FLAG.FUA | COMMAND_FLAG.PAYLOAD_LEN
        : COMMAND_FLAG.FUA;
    case COMMAND.FLUSH:
    case COMMAND.TRIM:
    case COMMAND.CACHE:
      return COMMAND_FLAG.FUA;
    case COMMAND.WRITE_ZEROES:
      return COMMAND_FLAG.FUA | COMMAND_FLAG.NO_HOLE | COMMAND_FLAG.FAST_ZERO;
    case COMMAND.BLOCK_STATUS:
      return style === REPLY_STYLE.EXTENDED
        ? COMMAND_FLAG.FUA | COMMAND_FLAG.REQ_ONE | COMMAND_FLAG.PAYLOAD_LEN
        : COMMAND_FLAG.FUA | COMMAND_FLAG.REQ_ONE;
    default:
      return NOT_OFFERED;
  }
}
