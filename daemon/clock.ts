import type { Clock } from '../core/base/ports.ts';

/** Node's monotonic clock and timers. */
export const NODE_CLOCK: Clock = {
  nowMs: () => performance.now(),
  after(delayMs, fire) {
    const timer = setTimeout(fire, delayMs);
    return { cancel: () => clearTimeout(timer) };
  },
};
