/**
 * What the world must give the core, beside BlockDevice and the byte streams. Nothing here returns
 * a promise: a daemon fills these with Node, the simulator with its own clock.
 */

/** Time in milliseconds from any fixed start; never goes back. */
export interface Clock {
  nowMs(): number;
  /** Calls `fire` once, `delayMs` from now or later, never from inside `after`. */
  after(delayMs: number, fire: () => void): Timer;
}

export interface Timer {
  cancel(): void;
}

/**
 * Zeroed memory for what goes between devices. Where a transfer begins 1 to 31 bytes further into its page
 * than its source does, some processors copy fifteen times slower (core/mirror/README.md, "Memory"), and O_DIRECT
 * wants its blocks' alignment: a daemon gives memory that begins at a page. `new Uint8Array` begins 16 bytes behind.
 */
export type AllocateBytes = (lengthBytes: number) => Uint8Array;

/** Lines for people and journals; control path only. */
export interface Log {
  info(fields: LogFields, message: string): void;
  warn(fields: LogFields, message: string): void;
  error(fields: LogFields, message: string): void;
}

export type LogFields = Readonly<Record<string, string | number | boolean | null>>;

export const SILENT_LOG: Log = {
  info: () => undefined,
  warn: () => undefined,
  error: () => undefined,
};
