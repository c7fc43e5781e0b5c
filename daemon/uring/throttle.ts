import { elapsedUs, stopwatchUs } from './stopwatch.ts';

/** Writes in place that take longer together have waited: for a CPU, or because the kernel throttles. */
const SLOW_US = 2000;
/** What a write may cost without waiting: the kernel's walk through a large folio, or splitting one. */
const WORK_US = 300;
/** When it happens again this soon, it is the kernel. */
const AGAIN_US = 100_000;
const PAUSE_US = 50_000;

/**
 * Whether writes to the page cache may be done in place, in the data plane's own thread. The kernel
 * makes writers wait when too much is dirty; then its helpers wait in our place, for a while.
 */
export class Throttle {
  /** Writes of this batch. */
  private writes = 0;
  private beganUs = 0;
  private lastSlowUs = -1;
  private pausedUs = -1;

  private readonly nowUs: () => number;

  constructor(nowUs: () => number = stopwatchUs) {
    this.nowUs = nowUs;
  }

  /** Before a write in place. False: not now. */
  mayWrite(): boolean {
    if (this.writes > 0) {
      this.writes += 1;
      return true;
    }
    const nowUs = this.nowUs();
    if (this.pausedUs >= 0) {
      if (elapsedUs(this.pausedUs, nowUs) < PAUSE_US) return false;
      this.pausedUs = -1;
    }
    this.writes = 1;
    this.beganUs = nowUs;
    return true;
  }

  /** After a batch of them, before anything that may sleep. */
  judge(): void {
    if (this.writes === 0) return;
    const limitUs = SLOW_US + this.writes * WORK_US;
    this.writes = 0;
    const nowUs = this.nowUs();
    if (elapsedUs(this.beganUs, nowUs) < limitUs) return;
    const isAgain = this.lastSlowUs >= 0 && elapsedUs(this.lastSlowUs, nowUs) < AGAIN_US;
    if (isAgain) this.pausedUs = nowUs;
    this.lastSlowUs = nowUs;
  }
}
