import { assert } from '../base/assert.ts';
import { Ring } from '../base/ring.ts';

/** Something that has ended and waits for the loop to say so. */
export interface Completion {
  complete(): void;
}

/** The world's side of a loop: the daemon's event loop, the simulator's scheduler. */
export interface LoopDriver {
  /** Completions wait: call `run` soon, not from inside this call. */
  wake(): void;
  /**
   * Blocks the thread until some I/O of this loop has ended, or returns false at once when nothing
   * is under way that could end while the thread is blocked.
   */
  block(): boolean;
}

/**
 * Where endings wait. The one place that keeps the promise "a completion never runs inside the call
 * that started the work": submit defers here, and only `run` calls owners. Owners may submit.
 */
export class Loop {
  private readonly ended = new Ring<Completion>(256);
  private readonly driver: LoopDriver;
  private running = false;

  constructor(driver: LoopDriver) {
    this.driver = driver;
  }

  /** True while completions run: the context in which a target may end its caller's bio directly. */
  get isRunning(): boolean {
    return this.running;
  }

  /** From any context: `completion.complete()` will be called by a later run. */
  defer(completion: Completion): void {
    this.ended.push(completion);
    if (!this.running && this.ended.length === 1) this.driver.wake();
  }

  /**
   * Calls what was waiting when it began; what ended meanwhile waits for the next run, so that a
   * device that is always ready cannot keep the world out. Returns how many were called.
   */
  run(): number {
    if (this.running) return 0;
    const count = this.ended.length;
    this.running = true;
    try {
      for (let i = 0; i < count; i += 1) {
        const completion = this.ended.shift();
        assert(completion !== undefined, 'loop: a completion vanished');
        completion.complete();
      }
    } finally {
      this.running = false;
      if (this.ended.length > 0) this.driver.wake();
    }
    return count;
  }

  /**
   * For callers that block (the sync services): runs what waits, or blocks until something has
   * ended. Returns false when no progress is possible. Not to be called from a completion.
   */
  poll(): boolean {
    assert(!this.running, 'a completion must not wait for another');
    if (this.ended.length === 0 && !this.driver.block()) return false;
    this.run();
    return true;
  }
}
