import type { Clock, Timer } from '../../core/base/ports.ts';

interface Entry {
  readonly dueMs: number;
  readonly fire: () => void;
  cancelled: boolean;
}

/** Timers of a data plane: few, coarse, control path only. The plane looks at them when it wakes. */
export class PlaneTimers implements Clock {
  private entries: Entry[] = [];

  nowMs(): number {
    return performance.now();
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
