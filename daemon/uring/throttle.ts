import { elapsedUs, stopwatchUs } from './stopwatch.ts';

/** Writes in place that take longer together have waited: for a CPU, or because the kernel throttles. */
const SLOW_US = 2000;
/** When it happens again this soon, it is the kernel. */
const AGAIN_US = 100_000;
const PAUSE_US = 50_000;

/**
 * Whether writes to the page cache may be done in place, in the data plane's own thread. The kernel
 * makes writers wait when too much is dirty; then its helpers wait in our place, for a while.
 */
export class Throttle {
  private hasWritten = false;
  private beganUs = 0;
  private lastSlowUs = -1;
  private pausedUs = -1;

  /** Before a write in place. False: not now. */
  mayWrite(): boolean {
    if (this.hasWritten) return true;
    const nowUs = stopwatchUs();
    if (this.pausedUs >= 0) {
      if (elapsedUs(this.pausedUs, nowUs) < PAUSE_US) return false;
      this.pausedUs = -1;
    }
    this.hasWritten = true;
    this.beganUs = nowUs;
    return true;
  }

  /** After a batch of them, before anything that may sleep. */
  judge(): void {
    if (!this.hasWritten) return;
    this.hasWritten = false;
    const nowUs = stopwatchUs();
    if (elapsedUs(this.beganUs, nowUs) < SLOW_US) return;
    const isAgain = this.lastSlowUs >= 0 && elapsedUs(this.lastSlowUs, nowUs) < AGAIN_US;
    if (isAgain) this.pausedUs = nowUs;
    this.lastSlowUs = nowUs;
  }
}
