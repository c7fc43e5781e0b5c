import type { Clock, Timer } from '../../core/base/ports.ts';

interface Alarm {
  readonly atMs: number;
  fire: (() => void) | null;
}

/** Time that stands still until a test moves it. */
export class ManualClock implements Clock {
  private now = 0;
  private alarms: Alarm[] = [];

  nowMs(): number {
    return this.now;
  }

  /** Timers that are armed. */
  get timers(): number {
    return this.alarms.filter(({ fire }) => fire !== null).length;
  }

  after(delayMs: number, fire: () => void): Timer {
    const alarm: Alarm = { atMs: this.now + delayMs, fire };
    this.alarms.push(alarm);
    return {
      cancel: () => {
        alarm.fire = null;
      },
    };
  }

  /** Fires what is due on the way, in order. */
  advance(ms: number): void {
    const endMs = this.now + ms;
    for (;;) {
      const due = this.alarms.filter(({ fire, atMs }) => fire !== null && atMs <= endMs);
      const next = due.sort((a, b) => a.atMs - b.atMs)[0];
      if (next === undefined) break;
      const { fire } = next;
      next.fire = null;
      this.now = Math.max(this.now, next.atMs);
      fire?.();
    }
    this.now = endMs;
    this.alarms = this.alarms.filter(({ fire }) => fire !== null);
  }
}
