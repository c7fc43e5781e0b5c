import { Loop } from '../../core/block/loop.ts';

/** A loop that runs only when a test says so: no timers, no surprises, the same order every time. */
export function createManualLoop(): Loop {
  return new Loop({ wake: () => undefined, block: () => false });
}

/** Runs the loop until nothing waits in it; throws when that takes more than `limit` runs. */
export function runUntilIdle(loop: Loop, limit = 1_000_000): void {
  for (let runs = 0; runs < limit; runs += 1) {
    if (loop.run() === 0) return;
  }
  throw new Error(`the loop was still busy after ${String(limit)} runs`);
}
