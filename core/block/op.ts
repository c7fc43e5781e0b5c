/** Operations of a bio; the kernel's REQ_OP_* numbers (blk_types.h). */
export const REQ_OP = {
  READ: 0,
  WRITE: 1,
  /** Makes every write that has ended durable. No data, no range. */
  FLUSH: 2,
  /** The range's content is no longer needed. No data. */
  DISCARD: 3,
  /** The range reads back as zeros. No data. */
  WRITE_ZEROES: 9,
} as const;

export type ReqOp = (typeof REQ_OP)[keyof typeof REQ_OP];

/** Modifiers of a bio, or-ed together. */
export const REQ_FLAG = {
  NONE: 0,
  /** WRITE, WRITE_ZEROES, DISCARD: ends only when this very range is durable. */
  FUA: 1,
  /** A flush comes first. Seen by dm-io only: it issues the flush itself, devices get FLUSH. */
  PREFLUSH: 2,
  /** Somebody's thread waits for this bio (dm-io rule 12). */
  SYNC: 4,
  /** WRITE_ZEROES: keep the range allocated, do not punch a hole. */
  NOUNMAP: 8,
} as const;

const OP_NAMES: ReadonlyMap<number, string> = new Map(
  Object.entries(REQ_OP).map(([name, op]) => [op, name]),
);

/** `9` -> `WRITE_ZEROES`; for logs and messages. */
export function opName(op: ReqOp): string {
  return OP_NAMES.get(op) ?? `op ${String(op)}`;
}

/** True for operations that change data, and so need a device that is not read-only. */
export function isWriteOp(op: ReqOp): boolean {
  return op === REQ_OP.WRITE || op === REQ_OP.WRITE_ZEROES || op === REQ_OP.DISCARD;
}

/** True for operations that carry bytes in memory. */
export function hasData(op: ReqOp): boolean {
  return op === REQ_OP.READ || op === REQ_OP.WRITE;
}
