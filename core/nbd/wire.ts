import { assert } from '../base/assert.ts';
import {
  EXTENDED_REQUEST_MAGIC,
  INFO,
  MAGIC,
  OPTION_MAGIC,
  OPTION_REPLY_MAGIC,
  REQUEST_MAGIC,
  SIMPLE_REPLY_MAGIC,
  SIZE,
} from './proto.ts';

/**
 * The fixed part of every message, read and written in place at (view, at), both directions: a
 * server needs one half, a client and the tests the other. All integers are big-endian.
 */

/** proto.md "Newstyle negotiation", S: first message. */
const GREETING = { MAGIC: 0, OPTION_MAGIC: 8, FLAGS: 16, END: 18 } as const;
/** "Newstyle negotiation", C: an option. */
const OPTION = { MAGIC: 0, TYPE: 8, LENGTH: 12, END: 16 } as const;
/** "Fixed newstyle negotiation", S: reply to an option. */
const OPTION_REPLY = { MAGIC: 0, OPTION: 8, TYPE: 12, LENGTH: 16, END: 20 } as const;
/** "Newstyle negotiation", S: reply to EXPORT_NAME; 124 zeroes may follow. */
const EXPORT_NAME_REPLY = { SIZE: 0, FLAGS: 8, END: 10 } as const;
/** "NBD_INFO_EXPORT". */
const INFO_EXPORT = { TYPE: 0, SIZE: 2, FLAGS: 10, END: 12 } as const;
/** "NBD_INFO_BLOCK_SIZE". */
const INFO_BLOCK_SIZE = { TYPE: 0, MINIMUM: 2, PREFERRED: 6, MAXIMUM: 10, END: 14 } as const;
/** "Request message" (compact). */
const REQUEST = {
  MAGIC: 0,
  FLAGS: 4,
  TYPE: 6,
  COOKIE_HIGH: 8,
  COOKIE_LOW: 12,
  OFFSET: 16,
  LENGTH: 24,
  END: 28,
} as const;
/** "Request message" (extended): as compact, with a length of 64 bits. */
const EXTENDED_REQUEST = { LENGTH: 24, END: 32 } as const;
/** "Simple reply message". */
const SIMPLE_REPLY = { MAGIC: 0, ERROR: 4, COOKIE_HIGH: 8, COOKIE_LOW: 12, END: 16 } as const;

assert(GREETING.END === SIZE.GREETING, 'greeting: layout and size differ');
assert(OPTION.END === SIZE.OPTION, 'option: layout and size differ');
assert(OPTION_REPLY.END === SIZE.OPTION_REPLY, 'option reply: layout and size differ');
assert(EXPORT_NAME_REPLY.END === SIZE.EXPORT_NAME_REPLY, 'export name: layout and size differ');
assert(INFO_EXPORT.END === SIZE.INFO_EXPORT, 'info export: layout and size differ');
assert(INFO_BLOCK_SIZE.END === SIZE.INFO_BLOCK_SIZE, 'info block size: layout and size differ');
assert(REQUEST.END === SIZE.REQUEST, 'request: layout and size differ');
assert(EXTENDED_REQUEST.END === SIZE.EXTENDED_REQUEST, 'extended request: layout and size differ');
assert(SIMPLE_REPLY.END === SIZE.SIMPLE_REPLY, 'simple reply: layout and size differ');

const WORD = 2 ** 32;
/** The high word of 2^53 - 1. */
const SAFE_HIGH = 0x1fffff;
/** What a 64-bit number above 2^53 - 1 is read as: past the end of everything, and never equal. */
export const BEYOND = Number.POSITIVE_INFINITY;

export function readU64(view: DataView, at: number): number {
  const high = view.getUint32(at);
  return high > SAFE_HIGH ? BEYOND : high * WORD + view.getUint32(at + 4);
}

export function writeU64(view: DataView, at: number, value: number): void {
  assert(Number.isSafeInteger(value) && value >= 0, 'a 64-bit field outside 0 .. 2^53 - 1');
  view.setUint32(at, Math.floor(value / WORD));
  view.setUint32(at + 4, value % WORD);
}

function hasMagic(view: DataView, at: number, high: number, low: number): boolean {
  return view.getUint32(at) === high && view.getUint32(at + 4) === low;
}

export function writeGreeting(view: DataView, at: number, handshakeFlags: number): void {
  view.setUint32(at + GREETING.MAGIC, MAGIC.HIGH);
  view.setUint32(at + GREETING.MAGIC + 4, MAGIC.LOW);
  view.setUint32(at + GREETING.OPTION_MAGIC, OPTION_MAGIC.HIGH);
  view.setUint32(at + GREETING.OPTION_MAGIC + 4, OPTION_MAGIC.LOW);
  view.setUint16(at + GREETING.FLAGS, handshakeFlags);
}

/** The handshake flags; undefined: not a newstyle greeting. */
export function readGreeting(view: DataView, at: number): number | undefined {
  if (!hasMagic(view, at + GREETING.MAGIC, MAGIC.HIGH, MAGIC.LOW)) return undefined;
  if (!hasMagic(view, at + GREETING.OPTION_MAGIC, OPTION_MAGIC.HIGH, OPTION_MAGIC.LOW)) {
    return undefined;
  }
  return view.getUint16(at + GREETING.FLAGS);
}

export function writeOption(view: DataView, at: number, type: number, lengthBytes: number): void {
  view.setUint32(at + OPTION.MAGIC, OPTION_MAGIC.HIGH);
  view.setUint32(at + OPTION.MAGIC + 4, OPTION_MAGIC.LOW);
  view.setUint32(at + OPTION.TYPE, type);
  view.setUint32(at + OPTION.LENGTH, lengthBytes);
}

export function isOption(view: DataView, at: number): boolean {
  return hasMagic(view, at + OPTION.MAGIC, OPTION_MAGIC.HIGH, OPTION_MAGIC.LOW);
}

export function readOptionType(view: DataView, at: number): number {
  return view.getUint32(at + OPTION.TYPE);
}

export function readOptionLength(view: DataView, at: number): number {
  return view.getUint32(at + OPTION.LENGTH);
}

export function writeOptionReply(
  view: DataView,
  at: number,
  option: number,
  type: number,
  lengthBytes: number,
): void {
  view.setUint32(at + OPTION_REPLY.MAGIC, OPTION_REPLY_MAGIC.HIGH);
  view.setUint32(at + OPTION_REPLY.MAGIC + 4, OPTION_REPLY_MAGIC.LOW);
  view.setUint32(at + OPTION_REPLY.OPTION, option);
  view.setUint32(at + OPTION_REPLY.TYPE, type);
  view.setUint32(at + OPTION_REPLY.LENGTH, lengthBytes);
}

export function isOptionReply(view: DataView, at: number): boolean {
  return hasMagic(view, at, OPTION_REPLY_MAGIC.HIGH, OPTION_REPLY_MAGIC.LOW);
}

export function readOptionReplyOption(view: DataView, at: number): number {
  return view.getUint32(at + OPTION_REPLY.OPTION);
}

export function readOptionReplyType(view: DataView, at: number): number {
  return view.getUint32(at + OPTION_REPLY.TYPE);
}

export function readOptionReplyLength(view: DataView, at: number): number {
  return view.getUint32(at + OPTION_REPLY.LENGTH);
}

export function writeExportNameReply(
  view: DataView,
  at: number,
  sizeBytes: number,
  transmissionFlags: number,
): void {
  writeU64(view, at + EXPORT_NAME_REPLY.SIZE, sizeBytes);
  view.setUint16(at + EXPORT_NAME_REPLY.FLAGS, transmissionFlags);
}

export function writeInfoExport(
  view: DataView,
  at: number,
  sizeBytes: number,
  transmissionFlags: number,
): void {
  view.setUint16(at + INFO_EXPORT.TYPE, INFO.EXPORT);
  writeU64(view, at + INFO_EXPORT.SIZE, sizeBytes);
  view.setUint16(at + INFO_EXPORT.FLAGS, transmissionFlags);
}

export function writeInfoBlockSize(
  view: DataView,
  at: number,
  minimumBytes: number,
  preferredBytes: number,
  maximumBytes: number,
): void {
  view.setUint16(at + INFO_BLOCK_SIZE.TYPE, INFO.BLOCK_SIZE);
  view.setUint32(at + INFO_BLOCK_SIZE.MINIMUM, minimumBytes);
  view.setUint32(at + INFO_BLOCK_SIZE.PREFERRED, preferredBytes);
  view.setUint32(at + INFO_BLOCK_SIZE.MAXIMUM, maximumBytes);
}

/** A request's header, decoded. Used again for every request of a connection. */
export class RequestHeader {
  flags = 0;
  type = 0;
  /** The cookie is the client's: copied back, never looked at. */
  cookieHigh = 0;
  cookieLow = 0;
  /** Bytes; BEYOND when the client's number is above 2^53 - 1. */
  offset = 0;
  /** BEYOND when the client's number is above 2^53 - 1, which extended requests can say. */
  lengthBytes = 0;
  /** Extended requests only: the offset as it came, for their replies. */
  offsetHigh = 0;
  offsetLow = 0;
}

/** False: the magic is wrong, and `into` is unchanged. */
export function readRequest(view: DataView, at: number, into: RequestHeader): boolean {
  if (view.getUint32(at + REQUEST.MAGIC) !== REQUEST_MAGIC) return false;
  into.flags = view.getUint16(at + REQUEST.FLAGS);
  into.type = view.getUint16(at + REQUEST.TYPE);
  into.cookieHigh = view.getUint32(at + REQUEST.COOKIE_HIGH);
  into.cookieLow = view.getUint32(at + REQUEST.COOKIE_LOW);
  into.offset = readU64(view, at + REQUEST.OFFSET);
  into.lengthBytes = view.getUint32(at + REQUEST.LENGTH);
  return true;
}

/** The same of an extended request. */
export function readExtendedRequest(view: DataView, at: number, into: RequestHeader): boolean {
  if (view.getUint32(at + REQUEST.MAGIC) !== EXTENDED_REQUEST_MAGIC) return false;
  into.flags = view.getUint16(at + REQUEST.FLAGS);
  into.type = view.getUint16(at + REQUEST.TYPE);
  into.cookieHigh = view.getUint32(at + REQUEST.COOKIE_HIGH);
  into.cookieLow = view.getUint32(at + REQUEST.COOKIE_LOW);
  into.offset = readU64(view, at + REQUEST.OFFSET);
  into.offsetHigh = view.getUint32(at + REQUEST.OFFSET);
  into.offsetLow = view.getUint32(at + REQUEST.OFFSET + 4);
  into.lengthBytes = readU64(view, at + EXTENDED_REQUEST.LENGTH);
  return true;
}

export function writeExtendedRequest(view: DataView, at: number, header: RequestHeader): void {
  writeRequest(view, at, header);
  view.setUint32(at + REQUEST.MAGIC, EXTENDED_REQUEST_MAGIC);
  writeU64(view, at + EXTENDED_REQUEST.LENGTH, header.lengthBytes);
}

export function writeRequest(view: DataView, at: number, header: RequestHeader): void {
  view.setUint32(at + REQUEST.MAGIC, REQUEST_MAGIC);
  view.setUint16(at + REQUEST.FLAGS, header.flags);
  view.setUint16(at + REQUEST.TYPE, header.type);
  view.setUint32(at + REQUEST.COOKIE_HIGH, header.cookieHigh);
  view.setUint32(at + REQUEST.COOKIE_LOW, header.cookieLow);
  writeU64(view, at + REQUEST.OFFSET, header.offset);
  view.setUint32(at + REQUEST.LENGTH, header.lengthBytes % WORD);
}

export function writeSimpleReply(
  view: DataView,
  at: number,
  error: number,
  cookieHigh: number,
  cookieLow: number,
): void {
  view.setUint32(at + SIMPLE_REPLY.MAGIC, SIMPLE_REPLY_MAGIC);
  view.setUint32(at + SIMPLE_REPLY.ERROR, error);
  view.setUint32(at + SIMPLE_REPLY.COOKIE_HIGH, cookieHigh);
  view.setUint32(at + SIMPLE_REPLY.COOKIE_LOW, cookieLow);
}

/** A simple reply's header, decoded: the client's half. */
export class SimpleReplyHeader {
  error = 0;
  cookieHigh = 0;
  cookieLow = 0;
}

/** False: the magic is wrong, and `into` is unchanged. */
export function readSimpleReply(view: DataView, at: number, into: SimpleReplyHeader): boolean {
  if (view.getUint32(at + SIMPLE_REPLY.MAGIC) !== SIMPLE_REPLY_MAGIC) return false;
  into.error = view.getUint32(at + SIMPLE_REPLY.ERROR);
  into.cookieHigh = view.getUint32(at + SIMPLE_REPLY.COOKIE_HIGH);
  into.cookieLow = view.getUint32(at + SIMPLE_REPLY.COOKIE_LOW);
  return true;
}
