import { assert } from '../base/assert.ts';
import {
  CHUNK,
  EXTENDED_REPLY_MAGIC,
  SIZE,
  STRUCTURED_REPLY_MAGIC,
  type NbdError,
} from './proto.ts';
import { readU64, writeU64 } from './wire.ts';

/**
 * The chunks of structured and extended replies, read and written in place at (view, at), both
 * directions. An extended chunk differs in its header only, and in BLOCK_STATUS_EXT.
 */

/** "Structured reply chunk message". */
const STRUCTURED = {
  MAGIC: 0,
  FLAGS: 4,
  TYPE: 6,
  COOKIE_HIGH: 8,
  COOKIE_LOW: 12,
  LENGTH: 16,
  END: 20,
} as const;
/** "Extended reply chunk message". */
const EXTENDED = {
  MAGIC: 0,
  FLAGS: 4,
  TYPE: 6,
  COOKIE_HIGH: 8,
  COOKIE_LOW: 12,
  OFFSET: 16,
  LENGTH: 24,
  END: 32,
} as const;

assert(STRUCTURED.END === SIZE.STRUCTURED_CHUNK, 'structured chunk: layout and size differ');
assert(EXTENDED.END === SIZE.EXTENDED_CHUNK, 'extended chunk: layout and size differ');

/** How a connection's replies look: what was negotiated last and furthest. */
export const REPLY_STYLE = { SIMPLE: 0, STRUCTURED: 1, EXTENDED: 2 } as const;
export type ReplyStyle = (typeof REPLY_STYLE)[keyof typeof REPLY_STYLE];

/** A chunk's header, decoded; used again for every chunk. */
export class ChunkHeader {
  flags = 0;
  type = 0;
  cookieHigh = 0;
  cookieLow = 0;
  /** The request's offset, in two words: an extended reply copies it back. */
  offsetHigh = 0;
  offsetLow = 0;
  lengthBytes = 0;
}

export function chunkHeaderBytes(style: ReplyStyle): number {
  return style === REPLY_STYLE.EXTENDED ? EXTENDED.END : STRUCTURED.END;
}

export function writeChunk(
  view: DataView,
  at: number,
  style: ReplyStyle,
  chunk: ChunkHeader,
): void {
  const isExtended = style === REPLY_STYLE.EXTENDED;
  view.setUint32(at, isExtended ? EXTENDED_REPLY_MAGIC : STRUCTURED_REPLY_MAGIC);
  view.setUint16(at + STRUCTURED.FLAGS, chunk.flags);
  view.setUint16(at + STRUCTURED.TYPE, chunk.type);
  view.setUint32(at + STRUCTURED.COOKIE_HIGH, chunk.cookieHigh);
  view.setUint32(at + STRUCTURED.COOKIE_LOW, chunk.cookieLow);
  if (isExtended) {
    view.setUint32(at + EXTENDED.OFFSET, chunk.offsetHigh);
    view.setUint32(at + EXTENDED.OFFSET + 4, chunk.offsetLow);
    writeU64(view, at + EXTENDED.LENGTH, chunk.lengthBytes);
  } else {
    view.setUint32(at + STRUCTURED.LENGTH, chunk.lengthBytes);
  }
}

/** False: the magic is wrong, and `into` is unchanged. */
export function readChunk(
  view: DataView,
  at: number,
  style: ReplyStyle,
  into: ChunkHeader,
): boolean {
  const isExtended = style === REPLY_STYLE.EXTENDED;
  const magic = isExtended ? EXTENDED_REPLY_MAGIC : STRUCTURED_REPLY_MAGIC;
  if (view.getUint32(at) !== magic) return false;
  into.flags = view.getUint16(at + STRUCTURED.FLAGS);
  into.type = view.getUint16(at + STRUCTURED.TYPE);
  into.cookieHigh = view.getUint32(at + STRUCTURED.COOKIE_HIGH);
  into.cookieLow = view.getUint32(at + STRUCTURED.COOKIE_LOW);
  into.offsetHigh = isExtended ? view.getUint32(at + EXTENDED.OFFSET) : 0;
  into.offsetLow = isExtended ? view.getUint32(at + EXTENDED.OFFSET + 4) : 0;
  into.lengthBytes = isExtended
    ? readU64(view, at + EXTENDED.LENGTH)
    : view.getUint32(at + STRUCTURED.LENGTH);
  return true;
}

/** "OFFSET_DATA": the data follows these 8 bytes. */
export const OFFSET_DATA_BYTES = 8;
/** "OFFSET_HOLE": u64 offset, u32 length. */
export const OFFSET_HOLE_BYTES = 12;
/** "ERROR": u32 error, u16 length, message; "ERROR_OFFSET": u64 offset behind the message. */
export const ERROR_BYTES = 6;
export const ERROR_OFFSET_BYTES = 8;

export function writeHole(view: DataView, at: number, offset: number, lengthBytes: number): void {
  writeU64(view, at, offset);
  view.setUint32(at + 8, lengthBytes);
}

/** `message` is written as it is: ASCII. Returns the bytes of the payload. */
export function writeError(
  view: DataView,
  at: number,
  error: NbdError,
  message: Uint8Array,
): number {
  view.setUint32(at, error);
  view.setUint16(at + 4, message.length);
  for (let i = 0; i < message.length; i += 1) view.setUint8(at + ERROR_BYTES + i, message[i]!);
  return ERROR_BYTES + message.length;
}

/** "BLOCK_STATUS": u32 id before the extents; "BLOCK_STATUS_EXT" has their number too. */
export function statusHeadBytes(style: ReplyStyle): number {
  return style === REPLY_STYLE.EXTENDED ? 8 : 4;
}

/** u32 length and u32 flags of an extent, or two u64. */
export function extentBytes(style: ReplyStyle): number {
  return style === REPLY_STYLE.EXTENDED ? 16 : 8;
}

/** The longest extent a compact descriptor can say, in whole sectors. */
export const MAX_COMPACT_EXTENT = 2 ** 32 - 512;

export function writeExtent(
  view: DataView,
  at: number,
  style: ReplyStyle,
  lengthBytes: number,
  flags: number,
): void {
  if (style === REPLY_STYLE.EXTENDED) {
    writeU64(view, at, lengthBytes);
    writeU64(view, at + 8, flags);
  } else {
    view.setUint32(at, lengthBytes);
    view.setUint32(at + 4, flags);
  }
}

export function readExtentLength(view: DataView, at: number, style: ReplyStyle): number {
  return style === REPLY_STYLE.EXTENDED ? readU64(view, at) : view.getUint32(at);
}

export function readExtentFlags(view: DataView, at: number, style: ReplyStyle): number {
  return style === REPLY_STYLE.EXTENDED ? readU64(view, at + 8) : view.getUint32(at + 4);
}

export function statusChunkType(style: ReplyStyle): number {
  return style === REPLY_STYLE.EXTENDED ? CHUNK.BLOCK_STATUS_EXT : CHUNK.BLOCK_STATUS;
}
