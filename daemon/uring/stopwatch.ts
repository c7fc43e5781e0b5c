import { clockGettime } from './syscall.ts';

const CLOCK_MONOTONIC = 1;
/** Microseconds until it begins again: 1000 s, so that every value is a small integer. */
const ROUND_US = 1e9;

/** struct timespec, two 64-bit words. */
const now = new Uint32Array(64);

/** A clock for short times that allocates nothing: performance.now() returns a boxed number. */
export function stopwatchUs(): number {
  clockGettime(CLOCK_MONOTONIC, now);
  return (now[0]! % 1000) * 1_000_000 + ((now[2]! / 1000) | 0);
}

/** Microseconds from one to the other; both within the last 1000 s. */
export function elapsedUs(from: number, to: number): number {
  return to >= from ? to - from : to - from + ROUND_US;
}
