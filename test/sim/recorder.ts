import { ERRNO } from '../../core/base/errno.ts';
import type { Prng } from '../../core/base/prng.ts';
import type { MirrorRecord, MirrorRecorder } from '../../core/mirror/record.ts';
import type { SimClock } from './clock.ts';

/** The daemon's state directory: one record, replaced as a whole, slowly, and not always. */
export class SimRecorder implements MirrorRecorder {
  /** What a restart would find. */
  durable: MirrorRecord;
  /** Under way: a restart may find it too. */
  attempt: MirrorRecord | null = null;
  /** Told of each record that becomes durable. */
  onDurable: ((before: MirrorRecord, after: MirrorRecord) => void) | null = null;
  /** Failures so far. */
  failures = 0;
  /** One attempt in so many fails; 0: none. */
  failureRate = 0;
  /** Grows with every change of what a restart would find, or may. */
  touched = 0;
  private readonly clock: SimClock;
  private readonly prng: Prng;
  private readonly latencyUs: number;

  constructor(first: MirrorRecord, clock: SimClock, prng: Prng, latencyUs: number) {
    this.durable = first;
    this.clock = clock;
    this.prng = prng;
    this.latencyUs = latencyUs;
  }

  record(state: MirrorRecord, done: (errno: number) => void): void {
    if (this.attempt !== null) throw new Error('two records at once');
    this.attempt = state;
    this.touched += 1;
    this.clock.in(1 + this.prng.below(this.latencyUs), () => {
      this.attempt = null;
      this.touched += 1;
      const fails = this.failureRate > 0 && this.prng.ratio(1, this.failureRate);
      if (!fails || this.prng.ratio(1, 2)) this.replace(state);
      if (fails) this.failures += 1;
      done(fails ? ERRNO.EIO : 0);
    });
  }

  /** The daemon died: the attempt had become durable, or not. */
  daemonDied(): void {
    if (this.attempt !== null && this.prng.ratio(1, 2)) this.replace(this.attempt);
    this.attempt = null;
  }

  private replace(state: MirrorRecord): void {
    const before = this.durable;
    this.durable = state;
    this.onDurable?.(before, state);
  }
}
