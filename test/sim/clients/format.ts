// The NBD protocol as a client needs it, typed from proto.md, without the core's own readers and writers.

/** "Handshake": magics of eight bytes, as two words. */
export const GREETING_BYTES = 18;
const NBDMAGIC = [0x4e42444d, 0x41474943] as const;
const IHAVEOPT = [0x49484156, 0x454f5054] as const;
const OPTION_REPLY = [0x0003e889, 0x045565a9] as const;
export const OPTION_REPLY_BYTES = 20;

export const OPT = { EXPORT_NAME: 1, GO: 7, STRUCTURED: 8, SET_META: 10, EXTENDED: 11 } as const;
export const REP = { ACK: 1, INFO: 3, META: 4, UNSUP: 0x80000001, SHUTDOWN: 0x80000007 } as const;

export const CMD = {
  READ: 0,
  WRITE: 1,
  DISC: 2,
  FLUSH: 3,
  TRIM: 4,
  CACHE: 5,
  ZEROES: 6,
  STATUS: 7,
} as const;
export const FLAG = {
  FUA: 1 << 0,
  NO_HOLE: 1 << 1,
  DF: 1 << 2,
  REQ_ONE: 1 << 3,
  FAST_ZERO: 1 << 4,
  PAYLOAD_LEN: 1 << 5,
} as const;
/** "Transmission flags". */
export const OFFERS = { FLUSH: 1 << 2, FUA: 1 << 3, DF: 1 << 7, MULTI_CONN: 1 << 8 } as const;

export const CHUNK_TYPE = {
  NONE: 0,
  DATA: 1,
  HOLE: 2,
  STATUS: 5,
  STATUS_EXT: 6,
  ERROR: 0x8001,
  ERROR_OFFSET: 0x8002,
} as const;

export const REPLY_MAGIC = {
  SIMPLE: 0x67446698,
  STRUCTURED: 0x668e33ef,
  EXTENDED: 0x6e8a278c,
} as const;

export type Style = 'simple' | 'structured' | 'extended';

function u16(value: number): Uint8Array {
  return Uint8Array.of(value >>> 8, value);
}

export function u32(value: number): Uint8Array {
  return Uint8Array.of(value >>> 24, value >>> 16, value >>> 8, value);
}

export function u64(value: number): Uint8Array {
  return joined(u32(Math.floor(value / 2 ** 32)), u32(value % 2 ** 32));
}

export function joined(...parts: readonly Uint8Array[]): Uint8Array {
  const all = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    all.set(part, at);
    at += part.length;
  }
  return all;
}

export function textOf(words: string): Uint8Array {
  return Uint8Array.from(words, (letter) => letter.charCodeAt(0));
}

export function u64At(view: DataView, at: number): number {
  return view.getUint32(at) * 2 ** 32 + view.getUint32(at + 4);
}

export function isGreeting(view: DataView): boolean {
  return hasWords(view, 0, NBDMAGIC) && hasWords(view, 8, IHAVEOPT);
}

export function isOptionReply(view: DataView, at: number): boolean {
  return hasWords(view, at, OPTION_REPLY);
}

function hasWords(view: DataView, at: number, [high, low]: readonly [number, number]): boolean {
  return view.getUint32(at) === high && view.getUint32(at + 4) === low;
}

export function option(type: number, data: Uint8Array): Uint8Array {
  return joined(u32(IHAVEOPT[0]), u32(IHAVEOPT[1]), u32(type), u32(data.length), data);
}

/** GO's data: the name, and what it wants to be told. */
export function goData(name: string, infos: readonly number[]): Uint8Array {
  const text = textOf(name);
  return joined(u32(text.length), text, u16(infos.length), ...infos.map(u16));
}

export function contextData(name: string, queries: readonly string[]): Uint8Array {
  const text = textOf(name);
  const each = queries.map((query) => joined(u32(query.length), textOf(query)));
  return joined(u32(text.length), text, u32(queries.length), ...each);
}

/** What a request says, without its payload. */
export interface Head {
  readonly type: number;
  readonly flags: number;
  readonly cookieHigh: number;
  readonly cookieLow: number;
  readonly offset: number;
  readonly bytes: number;
}

/** "Request message", in 28 bytes or in the 32 of extended headers. */
export function requestHead(head: Head, style: Style): Uint8Array {
  const isExtended = style === 'extended';
  return joined(
    u32(isExtended ? 0x21e41c71 : 0x25609513),
    u16(head.flags),
    u16(head.type),
    u32(head.cookieHigh),
    u32(head.cookieLow),
    u64(head.offset),
    isExtended ? u64(head.bytes) : u32(head.bytes),
  );
}
