// The pace against a clock and clients that the test plays.
import type { Clock } from '../../../core/base/ports.ts';
import { REQ_OP } from '../../../core/block/op.ts';
import { ResyncPace } from '../../../core/mirror/resync-pace.ts';
import { RecentSpeed } from '../../../core/mirror/resync-speed.ts';
import { IoStats } from '../../../core/stats/io-stats.ts';

const MIB = 2 ** 20;
const REGION = MIB / 2;

/** Copies as fast as it may for `ms`, with `perMs` requests of clients that take what `tookMs` says. */
class Play {
  nowMs = 0;
  readonly clients = new IoStats();
  readonly pace: ResyncPace;
  private readonly clock: Clock = {
    nowMs: () => this.nowMs,
    after: () => ({ cancel: () => undefined }),
  };

  constructor(limits?: { readonly min: number; readonly max: number }) {
    this.pace = new ResyncPace(this.clock, this.clients, limits);
  }

  /** Returns bytes a second. At most a region a millisecond is moved. */
  run(ms: number, perMs: number, tookMs: (regions: number) => number): number {
    let regions = 0;
    let waitUntil = 0;
    for (const end = this.nowMs + ms; this.nowMs < end; this.nowMs += 1) {
      let moved = 0;
      if (this.nowMs >= waitUntil) {
        const wait = this.pace.book(REGION);
        if (wait > 0) waitUntil = this.nowMs + wait;
        else moved = 1;
      }
      regions += moved;
      for (let i = 0; i < perMs; i += 1) this.clients.note(REQ_OP.READ, 8, tookMs(moved), 0);
    }
    return (regions * REGION * 1000) / ms;
  }
}

describe('the pace of a resync', () => {
  it('knows no limit while nobody is there', () => {
    expect(new Play().run(2000, 0, () => 0)).toBe(REGION * 1000);
  });

  it('goes down to the floor while clients suffer, never below, and up again when they are gone', () => {
    const play = new Play({ min: 4 * MIB, max: Infinity });
    play.run(1000, 2, () => 0.2);
    // Whatever is moved makes the clients of that millisecond wait ten times as long.
    const speed = play.run(20_000, 2, (moved) => (moved > 0 ? 2 : 0.2));
    expect(speed).toBeGreaterThanOrEqual(3.9 * MIB);
    expect(speed).toBeLessThan(30 * MIB);
    play.run(3000, 0, () => 0);
    expect(play.run(2000, 0, () => 0)).toBe(REGION * 1000);
  });

  it('grows while clients do not notice', () => {
    const play = new Play();
    play.run(10_000, 2, () => 0.2);
    expect(play.run(5000, 2, () => 0.2)).toBeGreaterThan(60 * MIB);
  });

  it('keeps the limits it was given', () => {
    const capped = new Play({ min: MIB, max: 8 * MIB });
    const speed = capped.run(10_000, 0, () => 0);
    expect(speed).toBeGreaterThan(7 * MIB);
    expect(speed).toBeLessThan(8.5 * MIB);
    capped.pace.setLimits({ min: MIB, max: Infinity });
    capped.run(1000, 0, () => 0);
    expect(capped.run(1000, 0, () => 0)).toBe(REGION * 1000);
  });

  it('moves fewer regions at once while clients are there', () => {
    const play = new Play();
    expect(play.pace.depth).toBe(8);
    play.run(1000, 2, () => 0.2);
    expect(play.pace.depth).toBe(2);
  });
});

describe('the speed of a resync', () => {
  it('is that of the last seconds, not of all its life', () => {
    const speed = new RecentSpeed();
    speed.begin(0, 0);
    expect(speed.bytesPerSecond(0, 0)).toBeNull();
    let done = 0;
    for (let ms = 0; ms < 60_000; ms += 100) speed.note(ms, (done += 100));
    const slow = speed.bytesPerSecond(60_000, done);
    expect(slow).toBeGreaterThan(950);
    expect(slow).toBeLessThan(1050);
    for (let ms = 60_000; ms < 75_000; ms += 100) speed.note(ms, (done += 1000));
    const now = speed.bytesPerSecond(75_000, done);
    expect(now).toBeGreaterThan(9500);
    expect(now).toBeLessThan(10_500);
  });
});
