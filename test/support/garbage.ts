// Bytes of garbage a piece of code leaves behind, measured on the heap between two collections.
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';

setFlagsFromString('--expose-gc');
const collectGarbage = runInNewContext('gc') as () => void;

const ROUNDS = 7;
const WARM_UP_STEPS = 2000;
const WARM_UP_MS = 200;
const SHORT = 500;
const LONG = 2000;
/** What a round may leave whatever its length: the measurement's own, code compiled meanwhile. */
const ONCE_BYTES = 16384;

const ATTEMPTS = 3;
/** Low enough to stop measuring. */
const CLEAN_BYTES = 0.5;

/**
 * Bytes per call of `step` after a warm-up: what the longer of two rounds leaves beyond the shorter.
 * The young generation begins at about 1 MiB, and when it fills up in the middle of a round the
 * garbage is gone before it is counted; so rounds are short, and a short one that leaves much is
 * believed whatever the long one says. Others (the compiler's threads) can only add, so the lowest
 * of three attempts counts.
 */
export function garbagePerStep(step: () => void): number {
  const end = Date.now() + WARM_UP_MS;
  do {
    for (let i = 0; i < WARM_UP_STEPS; i += 1) step();
  } while (Date.now() < end);
  let lowest = Infinity;
  for (let attempt = 0; attempt < ATTEMPTS && lowest > CLEAN_BYTES; attempt += 1) {
    const short = medianGarbage(step, SHORT);
    const long = medianGarbage(step, LONG);
    const perStep = Math.max((long - short) / (LONG - SHORT), (short - ONCE_BYTES) / SHORT);
    lowest = Math.min(lowest, Math.max(perStep, 0));
  }
  return lowest;
}

function medianGarbage(step: () => void, steps: number): number {
  const bytes: number[] = [];
  for (let round = 0; round < ROUNDS; round += 1) {
    collectGarbage();
    const before = process.memoryUsage().heapUsed;
    for (let i = 0; i < steps; i += 1) step();
    bytes.push(process.memoryUsage().heapUsed - before);
  }
  bytes.sort((a, b) => a - b);
  return bytes[ROUNDS >> 1] ?? NaN;
}
