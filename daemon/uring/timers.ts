import type { Clock, Timer } from '../../core/base/ports.ts';
import { monotonicInto } from './stopwatch.ts';

interface Entry {
  readonly dueMs: number;
  readonly fire: () => void;
  cancelled: boolean;
}

/**
 * The time of a data plane, and its timers: few, coarse, control path only. The plane looks at them
 * when it wakes.
 *
 * The time is that of the last `tick`, twice a turn: when the kernel has answered, and before what
 * has ended is told. A request asks for it twice, a leg of a mirror twice more, and what a request
 * waits for lies between two ticks. In a typed array: a field would be a boxed number for each.
 */
export class PlaneTimers implements Clock {
  private entries: Entry[] = [];
  private readonly time = new Float64Array(1);
  /** From the kernel's clock to performance.now()'s. */
  private readonly shift = new Float64Array(1);

  constructor() {
    monotonicInto(this.time);
    this.shift[0] = performance.now() - (this.time[0] ?? 0);
    this.tick();
  }

  tick(): void {
    monotonicInto(this.time);
    this.time[0] = (this.time[0] ?? 0) + (this.shift[0] ?? 0);
  }

  nowMs(): number {
    return this.time[0] ?? 0;
  }

  after(delayMs: number, fire: () => void): Timer {
    const entry: Entry = { dueMs: this.nowMs() + delayMs, fire, cancelled: false };
    this.entries.push(entry);
    this.entries.sort((a, b) => a.dueMs - b.dueMs);
    const cancel = (): void => {
      entry.cancelled = true;
      this.entries = this.entries.filter((each) => each !== entry);
    };
    return { cancel };
  }

  get isEmpty(): boolean {
    return this.entries.length === 0;
  }

  /** Milliseconds until the next is due, 0 or more. */
  untilNextMs(): number {
    const next = this.entries[0];
    return next === undefined ? Infinity : Math.max(0, next.dueMs - this.nowMs());
  }

  /** Fires what is due. */
  run(): void {
    const now = this.nowMs();
    for (;;) {
      const next = this.entries[0];
      if (next === undefined || next.dueMs > now) return;
      this.entries.shift();
      if (!next.cancelled) next.fire();
    }
  }
}
