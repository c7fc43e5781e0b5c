/**
 * Every number of the NBD protocol, grouped and named as doc/proto.md groups and names them
 * (without the NBD_ prefix). Also those of what nobody here offers (RESIZE, an experiment no
 * peer has), so that a log can name what a peer sent. README.md of this folder says what is offered.
 */

// "Conventions", "Newstyle negotiation", "Transmission": 64-bit magics are kept as two u32.

/** "NBDMAGIC" */
export const MAGIC = { HIGH: 0x4e42444d, LOW: 0x41474943 } as const;
/** "IHAVEOPT" */
export const OPTION_MAGIC = { HIGH: 0x49484156, LOW: 0x454f5054 } as const;
export const OPTION_REPLY_MAGIC = { HIGH: 0x0003e889, LOW: 0x045565a9 } as const;
export const REQUEST_MAGIC = 0x25609513;
export const SIMPLE_REPLY_MAGIC = 0x67446698;
export const STRUCTURED_REPLY_MAGIC = 0x668e33ef;
export const EXTENDED_REQUEST_MAGIC = 0x21e41c71;
export const EXTENDED_REPLY_MAGIC = 0x6e8a278c;

/** "Handshake flags" (u16, server). */
export const HANDSHAKE_FLAG = { FIXED_NEWSTYLE: 1 << 0, NO_ZEROES: 1 << 1 } as const;

/** "Client flags" (u32). */
export const CLIENT_FLAG = { FIXED_NEWSTYLE: 1 << 0, NO_ZEROES: 1 << 1 } as const;

/** "Transmission flags" (u16). */
export const TRANSMISSION_FLAG = {
  HAS_FLAGS: 1 << 0,
  READ_ONLY: 1 << 1,
  SEND_FLUSH: 1 << 2,
  SEND_FUA: 1 << 3,
  ROTATIONAL: 1 << 4,
  SEND_TRIM: 1 << 5,
  SEND_WRITE_ZEROES: 1 << 6,
  SEND_DF: 1 << 7,
  CAN_MULTI_CONN: 1 << 8,
  SEND_RESIZE: 1 << 9,
  SEND_CACHE: 1 << 10,
  SEND_FAST_ZERO: 1 << 11,
  BLOCK_STATUS_PAYLOAD: 1 << 12,
} as const;

/** "Option types" (u32). */
export const OPTION = {
  EXPORT_NAME: 1,
  ABORT: 2,
  LIST: 3,
  PEEK_EXPORT: 4,
  STARTTLS: 5,
  INFO: 6,
  GO: 7,
  STRUCTURED_REPLY: 8,
  LIST_META_CONTEXT: 9,
  SET_META_CONTEXT: 10,
  EXTENDED_HEADERS: 11,
} as const;

const REPLY_ERROR = 0x80000000;

/** "Option reply types" (u32); errors have the top bit set. */
export const REPLY = {
  ACK: 1,
  SERVER: 2,
  INFO: 3,
  META_CONTEXT: 4,
  ERR_UNSUP: REPLY_ERROR + 1,
  ERR_POLICY: REPLY_ERROR + 2,
  ERR_INVALID: REPLY_ERROR + 3,
  ERR_PLATFORM: REPLY_ERROR + 4,
  ERR_TLS_REQD: REPLY_ERROR + 5,
  ERR_UNKNOWN: REPLY_ERROR + 6,
  ERR_SHUTDOWN: REPLY_ERROR + 7,
  ERR_BLOCK_SIZE_REQD: REPLY_ERROR + 8,
  ERR_TOO_BIG: REPLY_ERROR + 9,
  ERR_EXT_HEADER_REQD: REPLY_ERROR + 10,
} as const;
export type ReplyType = (typeof REPLY)[keyof typeof REPLY];

/** "NBD_REP_INFO" information types (u16). */
export const INFO = { EXPORT: 0, NAME: 1, DESCRIPTION: 2, BLOCK_SIZE: 3 } as const;
export type InfoType = (typeof INFO)[keyof typeof INFO];

/** "Request types" (u16). */
export const COMMAND = {
  READ: 0,
  WRITE: 1,
  DISC: 2,
  FLUSH: 3,
  TRIM: 4,
  CACHE: 5,
  WRITE_ZEROES: 6,
  BLOCK_STATUS: 7,
  RESIZE: 8,
} as const;

/** "Command flags" (u16). */
export const COMMAND_FLAG = {
  FUA: 1 << 0,
  NO_HOLE: 1 << 1,
  DF: 1 << 2,
  REQ_ONE: 1 << 3,
  FAST_ZERO: 1 << 4,
  PAYLOAD_LEN: 1 << 5,
} as const;

/** "Structured reply flags" (u16). */
export const CHUNK_FLAG = { DONE: 1 << 0 } as const;

/** "Structured reply types" (u16); errors have the top bit set. */
export const CHUNK = {
  NONE: 0,
  OFFSET_DATA: 1,
  OFFSET_HOLE: 2,
  BLOCK_STATUS: 5,
  BLOCK_STATUS_EXT: 6,
  ERROR: 0x8001,
  ERROR_OFFSET: 0x8002,
} as const;

/** "base:allocation" metadata context (u32 flags of an extent). */
export const ALLOCATION = { HOLE: 1 << 0, ZERO: 1 << 1 } as const;

/** Metadata contexts a server of ours may offer. */
export const CONTEXT = { ALLOCATION: 'base:allocation', MIRROR: 'x-dmiod:mirror' } as const;

/** "Error values" (u32). */
export const NBD_ERROR = {
  OK: 0,
  EPERM: 1,
  EIO: 5,
  ENOMEM: 12,
  EINVAL: 22,
  ENOSPC: 28,
  EOVERFLOW: 75,
  ENOTSUP: 95,
  ESHUTDOWN: 108,
} as const;
export type NbdError = (typeof NBD_ERROR)[keyof typeof NBD_ERROR];

/** Sizes of the fixed parts of messages, in bytes. wire.ts asserts its layouts against them. */
export const SIZE = {
  GREETING: 18,
  CLIENT_FLAGS: 4,
  OPTION: 16,
  OPTION_REPLY: 20,
  EXPORT_NAME_REPLY: 10,
  EXPORT_NAME_ZEROES: 124,
  INFO_EXPORT: 12,
  INFO_BLOCK_SIZE: 14,
  REQUEST: 28,
  SIMPLE_REPLY: 16,
  STRUCTURED_CHUNK: 20,
  EXTENDED_REQUEST: 32,
  EXTENDED_CHUNK: 32,
} as const;

/** What a client may rely on, and where we stop. */
export const LIMIT = {
  /** "Conventions": no string is longer. */
  STRING_BYTES: 4096,
  /** "Size constraints": payloads up to here are served to everyone. */
  PAYLOAD_BYTES: 32 * 2 ** 20,
  /**
   * A WRITE too long to serve is read to its end and answered EINVAL up to this length; beyond it
   * the connection is dropped ("Size constraints" allows that from 32 MiB on).
   */
  REFUSED_PAYLOAD_BYTES: 128 * 2 ** 20,
  /** Option data we understand fits: a name, and some thousand information requests. */
  OPTION_BYTES: 16 * 2 ** 10,
  /** Option data we do not want is skipped up to this length; a longer one is an attack. */
  SKIPPED_OPTION_BYTES: 32 * 2 ** 20,
  /** Options per handshake. `nbdinfo --list` asks twice per export. */
  OPTIONS: 1024,
} as const;

type Table = Readonly<Record<string, number>>;

/** number -> name for one table: `nameIn(OPTION, 7)` is `GO`; a number it lacks stays a number. */
export function nameIn(table: Table, value: number): string {
  for (const [name, number] of Object.entries(table)) if (number === value) return name;
  return `0x${value.toString(16)}`;
}

/** `nameFlags(COMMAND_FLAG, 3)` is `FUA|NO_HOLE`; unknown bits stay a number. */
export function nameFlags(table: Table, bits: number): string {
  const names: string[] = [];
  let rest = bits;
  for (const [name, bit] of Object.entries(table)) {
    if ((rest & bit) === 0) continue;
    names.push(name);
    rest &= ~bit;
  }
  if (rest !== 0) names.push(`0x${(rest >>> 0).toString(16)}`);
  return names.length === 0 ? '0' : names.join('|');
}
