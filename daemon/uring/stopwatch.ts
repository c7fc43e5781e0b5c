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

/** Milliseconds of the same clock, since the machine's start, into `time[0]`. */
export function monotonicInto(time: Float64Array): void {
  clockGettime(CLOCK_MONOTONIC, now);
  time[0] = (now[0]! + now[1]! * 4294967296) * 1000 + now[2]! / 1_000_000;
}
