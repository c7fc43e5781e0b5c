import type { Clock } from '../base/ports.ts';
import type { IoStats } from '../stats/io-stats.ts';
import { StatsWindow } from '../stats/window.ts';

/** Bytes a second; `max` may be Infinity. */
export interface PaceLimits {
  readonly min: number;
  readonly max: number;
}

/** The floor: a copy always ends, 1 TiB in three days at worst; few enough to cost clients little. */
export const DEFAULT_PACE: PaceLimits = { min: 4 * 2 ** 20, max: Infinity };

/** A window is judged when it has so many requests of clients, or is so old. */
const WINDOW_REQUESTS = 64;
const WINDOW_MIN_MS = 100;
const WINDOW_MAX_MS = 1000;
/** Fewer requests than this in an old window: nobody is there to be disturbed. */
const IDLE_REQUESTS = 4;
/** Clients may wait this much longer than without us, with a little on top for what clocks resolve. */
const TOLERANCE = 1.5;
const SLACK_US = 50;
const QUANTILE = 0.99;
/** Every so many windows one without us is looked at: what clients' requests take has its own tides. */
const PROBE_EVERY = 24;
const MIN_STEP = 4 * 2 ** 20;
/** What may be used at once after a pause: this many milliseconds' worth. */
const BURST_MS = 20;
/** Regions under way at once, while clients are there and while not. */
const DEPTH_BUSY = 2;
export const DEPTH_IDLE = 8;

/**
 * How fast background work may go: as fast as it can while clients are away, and while they are
 * there as fast as their requests bear. Additive increase, multiplicative decrease, on the 99th
 * percentile of what clients' reads and writes take, against what they take while we are (nearly)
 * quiet. Never below the floor, so that the work always ends.
 *
 * | clients' p99 in the window        | then                                                 |
 * |-----------------------------------|------------------------------------------------------|
 * | (hardly any requests)             | no limit but the highest                             |
 * | not known without us, or long ago | the floor for a window: that is the base             |
 * | above base x 1.5                  | half the rate                                        |
 * | else                              | the rate grows by an eighth, 4 MiB/s at least        |
 *
 * It is asked before each region and evaluates itself then; it has no timer.
 */
export class ResyncPace {
  private readonly clock: Clock;
  private readonly window: StatsWindow | null;
  private bounds: PaceLimits;
  /** Bytes a second just now. */
  private rate = Infinity;
  /** Where the rate goes on when a probe is over. */
  private rateAfterProbe: number;
  private isBusy = false;
  private isProbing = false;
  private baseUs = 0;
  private windowsToProbe = 0;
  private windowMs: number;
  /** Bytes that may go out; negative: debts of a large region. */
  private credit = 0;
  private creditMs: number;

  constructor(clock: Clock, clients: IoStats | null, limits: PaceLimits = DEFAULT_PACE) {
    this.clock = clock;
    this.window = clients === null ? null : new StatsWindow(clients);
    this.bounds = limits;
    this.rateAfterProbe = limits.min;
    this.windowMs = clock.nowMs();
    this.creditMs = this.windowMs;
  }

  get limits(): PaceLimits {
    return this.bounds;
  }

  /** Bytes a second; Infinity: no limit. */
  get bytesPerSecond(): number {
    return this.clamp(this.rate);
  }

  /** Regions that may be under way at once. */
  get depth(): number {
    return this.isBusy ? DEPTH_BUSY : DEPTH_IDLE;
  }

  setLimits(limits: PaceLimits): void {
    this.bounds = limits;
  }

  /** After a rest: what clients' requests took meanwhile says nothing about us. */
  begin(): void {
    this.window?.restart();
    this.windowMs = this.clock.nowMs();
    this.creditMs = this.windowMs;
    this.credit = 0;
  }

  /** 0: go, the bytes are booked. Else: ask again after so many milliseconds. */
  book(bytes: number): number {
    const now = this.clock.nowMs();
    this.judge(now);
    const rate = this.bytesPerSecond;
    if (rate === Infinity) {
      this.credit = 0;
      this.creditMs = now;
      return 0;
    }
    const earned = ((now - this.creditMs) * rate) / 1000;
    this.credit = Math.min(this.credit + earned, (rate * BURST_MS) / 1000);
    this.creditMs = now;
    if (this.credit < 0) return Math.max(1, (-this.credit * 1000) / rate);
    this.credit -= bytes;
    return 0;
  }

  private judge(now: number): void {
    const { window } = this;
    if (window === null) return;
    const age = now - this.windowMs;
    const isFull = age >= WINDOW_MIN_MS && window.requests >= WINDOW_REQUESTS;
    if (!isFull && age < WINDOW_MAX_MS) {
      // Nobody was there, now somebody is: hold back at once, not after a second.
      if (!this.isBusy && window.requests >= IDLE_REQUESTS) this.probe(now);
      return;
    }
    if (window.requests < IDLE_REQUESTS) {
      this.isBusy = false;
      this.isProbing = false;
      this.rate = Infinity;
    } else this.adapt(window.quantileUs(QUANTILE));
    window.restart();
    this.windowMs = now;
  }

  /** The first requests after a quiet time: a window at the floor says what they take without us. */
  private probe(now: number): void {
    this.isBusy = true;
    this.isProbing = true;
    this.rate = 0;
    this.window?.restart();
    this.windowMs = now;
  }

  private adapt(p99Us: number): void {
    this.isBusy = true;
    if (this.isProbing) {
      this.isProbing = false;
      this.baseUs = p99Us;
      this.windowsToProbe = PROBE_EVERY;
      this.rate = this.rateAfterProbe;
      return;
    }
    if (p99Us > this.baseUs * TOLERANCE + SLACK_US) this.rate = this.bytesPerSecond / 2;
    else this.rate = this.bytesPerSecond + Math.max(MIN_STEP, this.bytesPerSecond / 8);
    this.windowsToProbe -= 1;
    if (this.windowsToProbe > 0) return;
    this.rateAfterProbe = this.clamp(this.rate);
    this.isProbing = true;
    this.rate = 0;
  }

  private clamp(rate: number): number {
    return Math.min(this.bounds.max, Math.max(this.bounds.min, rate));
  }
}
