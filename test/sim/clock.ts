import { assert } from '../../core/base/assert.ts';
import type { Clock, Timer } from '../../core/base/ports.ts';
import { at } from './at.ts';

/** Something that will happen; `life` is the daemon's life it belongs to. */
interface SimEvent {
  readonly atUs: number;
  readonly order: number;
  readonly life: number;
  readonly isTimer: boolean;
  fire: (() => void) | null;
}

/**
 * Simulated time in microseconds and a heap of what will happen. Latencies are drawn by the seed, so
 * the order of the heap is the seed's choice. The end of a life (a crash) forgets all its events.
 */
export class SimClock implements Clock {
  private readonly heap: SimEvent[] = [];
  private nowUs = 0;
  private orders = 0;
  private life = 0;
  private liveTimers = 0;
  private liveEvents = 0;
  private worldEvents = 0;

  nowMs(): number {
    return this.nowUs / 1000;
  }

  /** Timers of the core that are armed. */
  get timers(): number {
    return this.liveTimers;
  }

  /** Events of the world that will happen: 0 when only timers are left. */
  get busy(): number {
    return this.liveEvents;
  }

  /** Events of the world so far: timers that fire while all wait for a stuck leg are none. */
  get happened(): number {
    return this.worldEvents;
  }

  after(delayMs: number, fire: () => void): Timer {
    this.liveTimers += 1;
    const event = this.push(delayMs * 1000, true, fire);
    const life = this.life;
    return {
      cancel: () => {
        if (event.fire === null || life !== this.life) return;
        event.fire = null;
        this.liveTimers -= 1;
      },
    };
  }

  /** An event of the simulated world. */
  in(delayUs: number, fire: () => void): void {
    this.liveEvents += 1;
    this.push(delayUs, false, fire);
  }

  /** All that was under way will not happen. */
  endLife(): void {
    this.life += 1;
    this.heap.length = 0;
    this.liveTimers = 0;
    this.liveEvents = 0;
  }

  /** Runs the next event. False: nothing will ever happen, or nothing before `untilMs`. */
  step(untilMs = Infinity): boolean {
    for (;;) {
      const next = this.heap[0];
      if (next === undefined || next.atUs > untilMs * 1000) return false;
      this.pop();
      const { fire } = next;
      if (fire === null) continue;
      assert(next.life === this.life, 'simulator: an event of an earlier life');
      this.nowUs = Math.max(this.nowUs, next.atUs);
      next.fire = null;
      if (next.isTimer) this.liveTimers -= 1;
      else {
        this.liveEvents -= 1;
        this.worldEvents += 1;
      }
      fire();
      return true;
    }
  }

  private push(delayUs: number, isTimer: boolean, fire: () => void): SimEvent {
    this.orders += 1;
    const event: SimEvent = {
      atUs: this.nowUs + delayUs,
      order: this.orders,
      life: this.life,
      isTimer,
      fire,
    };
    const { heap } = this;
    heap.push(event);
    let index = heap.length - 1;
    while (index > 0) {
      const parent = (index - 1) >> 1;
      if (!isBefore(event, at(heap, parent))) break;
      heap[index] = at(heap, parent);
      index = parent;
    }
    heap[index] = event;
    return event;
  }

  private pop(): void {
    const { heap } = this;
    const last = heap.pop();
    if (last === undefined || heap.length === 0) return;
    let index = 0;
    for (;;) {
      let child = index * 2 + 1;
      if (child >= heap.length) break;
      if (child + 1 < heap.length && isBefore(at(heap, child + 1), at(heap, child))) child += 1;
      if (!isBefore(at(heap, child), last)) break;
      heap[index] = at(heap, child);
      index = child;
    }
    heap[index] = last;
  }
}

function isBefore(a: SimEvent, b: SimEvent): boolean {
  return a.atUs < b.atUs || (a.atUs === b.atUs && a.order < b.order);
}
