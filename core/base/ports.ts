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
