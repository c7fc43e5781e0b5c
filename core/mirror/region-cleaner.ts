import { ERRNO } from '../base/errno.ts';
import type { Timer } from '../base/ports.ts';
import { STATES_PER_SECTOR } from './native-layout.ts';
import { STANDING } from './leg.ts';
import { RegionBits } from './region-bits.ts';
import type { RegionLog } from './region-log.ts';
import { MARK } from './region-marks.ts';
import type { MirrorSet } from './set.ts';

const CLEAN_AFTER_MS = 5000;
/** A region is idle after three turns. */
const TURNS = 3;
/** A pass that failed is tried again later and later: legs that cannot flush are not to be hammered. */
const MOST_PATIENCE_MS = 30_000;

/**
 * Takes marks back, long after: regions in whose neighbourhood nothing has been written for a while.
 *
 *   flush the set -> choose what is quiet, flushed, not in doubt -> raise the generation, durably ->
 *   it is the cleared generation, durably -> lack bits of legs that are out -> clean
 *
 * Two superblocks, not one: a leg that missed the first still has a generation at which nothing had
 * been cleared, so it comes back by a delta (D1). Nothing a client waits for stands behind them.
 */
export class RegionCleaner {
  private readonly set: MirrorSet;
  private readonly log: RegionLog;
  private readonly turnMs: number;
  private timer: Timer | null = null;
  private isBusy = false;
  private isStopped = false;
  private isPaused = false;
  /** Passes that failed, one after the other. */
  private failures = 0;
  private whenDone: (() => void) | null = null;

  constructor(set: MirrorSet, log: RegionLog, cleanAfterMs = CLEAN_AFTER_MS) {
    this.set = set;
    this.log = log;
    this.turnMs = cleanAfterMs / TURNS;
  }

  get isArmed(): boolean {
    return this.timer !== null;
  }

  arm(): void {
    if (this.timer !== null || this.isBusy || this.isStopped || this.isPaused) return;
    this.timer = this.set.clock.after(this.nextTurnMs(), () => {
      this.timer = null;
      this.turn();
    });
  }

  private nextTurnMs(): number {
    const later = Math.min(MOST_PATIENCE_MS, this.turnMs * 2 ** this.failures);
    return Math.max(this.turnMs, later);
  }

  /** `done` when the pass under way has ended; no other begins until `resume`. */
  pause(done: () => void): void {
    this.isPaused = true;
    this.timer?.cancel();
    this.timer = null;
    if (this.isBusy) this.whenDone = done;
    else done();
  }

  resume(): void {
    this.isPaused = false;
    this.armIfNeeded();
  }

  /** A last pass over all that is dirty: nobody writes any more. */
  stop(done: () => void): void {
    this.isStopped = true;
    this.timer?.cancel();
    this.timer = null;
    const last = (): void => {
      this.pass(true, () => {
        done();
      });
    };
    if (this.isBusy) this.whenDone = last;
    else last();
  }

  private turn(): void {
    const isWorth = this.growIdle() || this.lacksDue().count > 0;
    // One more flush that fails would spoil what is being written once more, and that without end.
    if (isWorth && !this.set.hasLost()) {
      this.isBusy = true;
      this.pass(false, (errno) => {
        this.isBusy = false;
        this.failures = errno === ERRNO.OK ? 0 : this.failures + 1;
        const { whenDone } = this;
        this.whenDone = null;
        whenDone?.();
        this.armIfNeeded();
      });
    } else {
      this.armIfNeeded();
    }
  }

  private armIfNeeded(): void {
    const isFilling = this.set.legs.some((leg) => leg.standing === STANDING.JOINING);
    if (isFilling || this.log.dirty > 0 || this.lacksDue().count > 0) this.arm();
  }

  /**
   * Every dirty region is one turn closer to idle. True: there is a group where all are, and one of them
   * can be cleaned when it is flushed. Else a region that nobody can settle would be flushed for ever.
   */
  private growIdle(): boolean {
    const { marks } = this.log.marks;
    let isWorth = false;
    for (let first = 0; first < this.set.regions; first += STATES_PER_SECTOR) {
      const end = Math.min(this.set.regions, first + STATES_PER_SECTOR);
      let dirty = 0;
      let idle = 0;
      let cleanable = 0;
      for (let region = first; region < end; region += 1) {
        if ((marks[region] ?? 0) < MARK.DIRTY) continue;
        dirty += 1;
        if (this.log.marks.growsIdle(region)) idle += 1;
        if (this.isSettled(region)) cleanable += 1;
      }
      if (cleanable > 0 && idle === dirty) isWorth = true;
    }
    return isWorth;
  }

  private pass(isLast: boolean, done: (errno: number) => void): void {
    this.set.flush((errno) => {
      if (errno !== ERRNO.OK) {
        done(errno);
        return;
      }
      const chosen = this.choose(isLast);
      if (chosen.count === 0 && this.lacksDue().count === 0) {
        done(ERRNO.OK);
        return;
      }
      this.set.raiseGeneration((raised) => {
        if (raised !== ERRNO.OK) done(raised);
        else this.clearLacks(chosen, isLast, done);
      });
    });
  }

  private clearLacks(chosen: RegionBits, isLast: boolean, done: (errno: number) => void): void {
    this.log.clear(this.lacksDue(), (errno) => {
      if (errno !== ERRNO.OK) done(errno);
      else this.clean(chosen, isLast, done);
    });
  }

  private clean(chosen: RegionBits, isLast: boolean, done: (errno: number) => void): void {
    const { store } = this.log;
    const blocks = new RegionBits(store?.blocks ?? 1);
    for (let region = chosen.next(0); region >= 0; region = chosen.next(region + 1)) {
      if (!this.mayClean(region, isLast)) continue;
      this.log.beginClean(region);
      const block = store?.blockOf(region) ?? 0;
      blocks.setRange(block, block);
    }
    this.log.clear(blocks, done);
  }

  /** Whole groups only: where one region is busy its neighbours will be. */
  private choose(isLast: boolean): RegionBits {
    const chosen = new RegionBits(this.set.regions);
    const { marks } = this.log.marks;
    for (let first = 0; first < this.set.regions; first += STATES_PER_SECTOR) {
      const end = Math.min(this.set.regions, first + STATES_PER_SECTOR);
      let isQuiet = true;
      for (let region = first; region < end && isQuiet; region += 1) {
        const isDirty = (marks[region] ?? 0) >= MARK.DIRTY;
        isQuiet = isLast || !isDirty || this.log.marks.isIdle(region);
      }
      for (let region = first; region < end && isQuiet; region += 1) {
        if (this.mayClean(region, isLast)) chosen.setRange(region, region);
      }
    }
    return chosen;
  }

  /** On every active leg it holds the same, durably, and nobody is writing there. */
  private mayClean(region: number, isLast: boolean): boolean {
    const { set } = this;
    if (!isLast && !this.log.marks.isIdle(region)) return false;
    if (!this.isSettled(region)) return false;
    return !set.unflushed.test(region) && !set.covered.test(region);
  }

  /** But for a flush there is nothing that keeps the region from being clean. */
  private isSettled(region: number): boolean {
    const { set } = this;
    const mark = this.log.marks.marks[region];
    if (mark !== MARK.DIRTY && mark !== MARK.MARKED) return false;
    if (set.recovery.isLost(region)) return false;
    return !set.pending.isDirty(region) && !set.doubt.test(region);
  }

  private lacksDue(): RegionBits {
    const due = new RegionBits(this.log.store?.blocks ?? 1);
    this.log.store?.lackBlocksDue(due);
    return due;
  }
}
