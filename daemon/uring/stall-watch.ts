import type { Clock, Timer } from '../../core/base/ports.ts';
import type { Arena } from '../../core/block/arena.ts';
import type { UringStream } from './stream.ts';

/** Looks per time-out at who holds others up. */
const LOOKS = 4;

interface Watched {
  readonly arena: Arena;
  readonly clock: Clock;
  readonly streams: ReadonlySet<UringStream>;
}

/**
 * Drops clients that hold memory others wait for, and neither read nor send: one after the other,
 * until nobody waits. While nobody waits a client may stand still for ever, and nothing is watched.
 */
export class StallWatch {
  private readonly plane: Watched;
  private pauseMs: number;
  private readonly seen = new Map<UringStream, { activity: number; looks: number }>();
  /** While somebody waits. */
  private timer: Timer | null = null;

  constructor(plane: Watched, timeoutMs: number) {
    this.plane = plane;
    this.pauseMs = timeoutMs / LOOKS;
  }

  setTimeout(timeoutMs: number): void {
    this.pauseMs = timeoutMs / LOOKS;
    this.timer?.cancel();
    this.timer = null;
  }

  /** Once a turn: begins to watch when somebody waits for memory. */
  look(): void {
    if (this.timer !== null || this.plane.arena.waiters === 0) return;
    this.timer = this.plane.clock.after(this.pauseMs, () => this.judge());
  }

  private judge(): void {
    this.timer = null;
    const { arena, streams } = this.plane;
    for (const stream of this.seen.keys()) if (!streams.has(stream)) this.seen.delete(stream);
    for (const stream of streams) {
      const before = this.seen.get(stream);
      const { activity } = stream;
      if (arena.waiters === 0 || !stream.isHoldingUp || before?.activity !== activity) {
        this.seen.set(stream, { activity, looks: 0 });
      } else if (before.looks + 1 < LOOKS) {
        before.looks += 1;
      } else {
        stream.drop('it holds memory others wait for, and does not move');
      }
    }
    if (arena.waiters === 0) this.seen.clear();
    this.look();
  }
}
