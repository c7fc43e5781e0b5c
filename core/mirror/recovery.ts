import { assert } from '../base/assert.ts';
import type { Timer } from '../base/ports.ts';
import { ERRNO } from '../base/errno.ts';
import { bytesOfSectors } from '../base/units.ts';
import { STANDING } from './leg.ts';
import { RegionBits } from './region-bits.ts';
import { RegionCopy, type CopyOutcome } from './region-copy.ts';
import type { MirrorRead } from './read.ts';
import type { MirrorSet } from './set.ts';

/** Region copies under way at once. */
const COPIES = 2;
/** Regions that nobody could read are tried again after this. */
const RETRY_MS = 30_000;

export interface ResyncProgress {
  readonly doneBytes: number;
  readonly totalBytes: number;
  /** Average since the resync began; null before the first region. */
  readonly bytesPerSecond: number | null;
  readonly etaSeconds: number | null;
}

/**
 * Heals: copies every region that an active leg lacks from a leg that is good for it, under an
 * exclusive claim on the region, and makes members of joining legs that lack nothing any more.
 */
export class Recovery {
  private readonly set: MirrorSet;
  private readonly copies: RegionCopy[] = [];
  /** Regions given up in this run: no good leg could read them, or a last member not write them. */
  private readonly givenUp: RegionBits;
  /** Reads that wait for regions in doubt: these come first. */
  private readers: MirrorRead[] = [];
  private cursor = 0;
  private active = 0;
  private running = false;
  private admitting = false;
  private stopped: (() => void) | null = null;
  /** Between `pause` and `resume`: nothing new is begun. */
  private paused = false;
  private whenPaused: (() => void) | null = null;
  private retry: Timer | null = null;
  private startedMs = 0;
  private doneBytes = 0;

  constructor(set: MirrorSet) {
    this.set = set;
    this.givenUp = new RegionBits(set.regions);
    for (let i = 0; i < COPIES; i += 1) this.copies.push(new RegionCopy(set, this));
  }

  /** Something may need healing. */
  kick(): void {
    this.answerReaders();
    if (this.stopped !== null || this.paused || this.admitting) return;
    if (!this.running && this.nextToCopy() >= 0) this.begin();
    this.fill();
    this.finishIfDone();
  }

  /**
   * A read of regions in doubt, which holds no claim. `reader.settled` is called from the loop, when
   * they are equal on all members, or when one of them cannot be made so.
   */
  settle(reader: MirrorRead): void {
    this.readers.push(reader);
    if (!this.running) this.begin();
    this.fill();
  }

  /** These regions have become doubtful just now: a copy of them under way settles nothing. */
  spoil(first: number, last: number): void {
    for (const copy of this.copies) {
      if (copy.isBusy && first <= copy.region && copy.region <= last) copy.isSpoiled = true;
    }
  }

  /** A flush has failed on every member: what copies have written may be lost. */
  spoilAll(): void {
    for (const copy of this.copies) copy.isSpoiled = true;
  }

  /** No more copies; `done` when those under way have ended. For good. */
  stop(done: () => void): void {
    assert(this.stopped === null, 'recovery was stopped twice');
    this.stopped = done;
    this.retry?.cancel();
    this.endIfHalted();
  }

  /** As `stop`, until `resume`. No read of a client may be under way: it might need a copy. */
  pause(done: () => void): void {
    assert(!this.paused, 'recovery was paused twice');
    this.paused = true;
    if (this.active === 0) done();
    else this.whenPaused = done;
  }

  resume(): void {
    assert(this.paused && this.whenPaused === null, 'recovery was resumed that was not paused');
    this.paused = false;
    this.kick();
  }

  /** Paused, and never to be resumed. */
  retire(): void {
    assert(this.paused && this.active === 0, 'recovery was retired in mid-work');
    this.retry?.cancel();
  }

  /** null: nothing is being copied. */
  progress(): ResyncProgress | null {
    if (!this.running) return null;
    const left = bytesOfSectors(this.lackingSectors());
    const seconds = (this.set.clock.nowMs() - this.startedMs) / 1000;
    const speed = this.doneBytes > 0 && seconds > 0 ? Math.round(this.doneBytes / seconds) : null;
    return {
      doneBytes: this.doneBytes,
      totalBytes: this.doneBytes + left,
      bytesPerSecond: speed,
      etaSeconds: speed === null || speed === 0 ? null : Math.ceil(left / speed),
    };
  }

  /** A copy has ended. */
  copied(copy: RegionCopy, outcome: CopyOutcome): void {
    this.active -= 1;
    if (outcome === 'healed') {
      this.doneBytes += bytesOfSectors(this.set.sectorsOfRegion(copy.region));
    } else if (outcome === 'failed') {
      this.givenUp.setRange(copy.region, copy.region);
      this.refuseReaders(copy.region);
    }
    this.answerReaders();
    if (this.isHalted) {
      this.endIfHalted();
      return;
    }
    this.fill();
    this.finishIfDone();
  }

  private begin(): void {
    this.running = true;
    this.startedMs = this.set.clock.nowMs();
    this.doneBytes = 0;
    this.cursor = 0;
    this.set.emit('resync-started', null, 'resync started');
  }

  private fill(): void {
    if (!this.running || this.paused) return;
    for (const copy of this.copies) {
      if (copy.isBusy) continue;
      let region = this.nextDemanded();
      if (region < 0) {
        region = this.nextToCopy();
        this.cursor = region + 1;
      }
      if (region < 0) return;
      this.active += 1;
      copy.start(region);
    }
  }

  /** Reads whose regions are settled go on. */
  private answerReaders(): void {
    if (this.readers.length === 0) return;
    const waiting = this.readers;
    this.readers = [];
    for (const reader of waiting) {
      if (this.set.doubt.anyIn(reader.firstRegion, reader.lastRegion)) this.readers.push(reader);
      else reader.settled(ERRNO.OK);
    }
  }

  /** The region cannot be settled: no member can read all of it, so nobody is told what it holds. */
  private refuseReaders(region: number): void {
    const waiting = this.readers;
    this.readers = [];
    for (const reader of waiting) {
      const isOfRegion = reader.firstRegion <= region && region <= reader.lastRegion;
      if (isOfRegion && this.set.doubt.test(region)) reader.settled(ERRNO.EIO);
      else this.readers.push(reader);
    }
  }

  /** A region in doubt for which a read waits, even one that was given up; -1: none. */
  private nextDemanded(): number {
    for (const { firstRegion, lastRegion } of this.readers) {
      let region = this.set.doubt.next(firstRegion);
      while (region >= 0 && region <= lastRegion && this.isBusy(region)) {
        region = this.set.doubt.next(region + 1);
      }
      if (region >= 0 && region <= lastRegion) return region;
    }
    return -1;
  }

  private isBusy(region: number): boolean {
    return this.copies.some((copy) => copy.isBusy && copy.region === region);
  }

  /** From the cursor on, then from the start; not what is being copied or was given up. */
  private nextToCopy(): number {
    for (const from of [this.cursor, 0]) {
      let region = this.nextRegion(from);
      while (region >= 0) {
        if (!this.isBusy(region) && !this.givenUp.test(region)) return region;
        region = this.nextRegion(region + 1);
      }
    }
    return -1;
  }

  /** The first region at `from` or above that is in doubt or lacking somewhere; -1: none. */
  private nextRegion(from: number): number {
    let best = this.set.doubt.next(from);
    for (const leg of this.set.legs) {
      if (!leg.isActive) continue;
      const region = leg.outOfSync.next(from);
      if (region >= 0 && (best < 0 || region < best)) best = region;
    }
    return best;
  }

  private finishIfDone(): void {
    if (this.active > 0) return;
    const joined = this.set.legs.some(
      (leg) => leg.standing === STANDING.JOINING && leg.outOfSync.count === 0,
    );
    if (joined) {
      this.admitJoined();
      return;
    }
    if (!this.running) return;
    this.running = false;
    for (const leg of this.set.legs) {
      const healed = leg.standing === STANDING.MEMBER && leg.outOfSync.count === 0;
      if (healed && leg.reason !== null) this.set.noteHealed(leg);
    }
    const left = this.givenUp.count;
    const message = left === 0 ? 'resync ended' : `resync ended, ${String(left)} regions left out`;
    this.set.emit('resync-ended', null, message);
    if (left > 0) this.retryLater();
  }

  /** Durable before believed: the joining legs are flushed first. */
  private admitJoined(): void {
    this.admitting = true;
    this.active += 1;
    this.set.prepareAdmission((errno) => {
      this.admitting = false;
      this.active -= 1;
      for (const leg of this.set.legs) {
        const complete = leg.standing === STANDING.JOINING && leg.outOfSync.count === 0;
        if (errno === 0 && complete) this.set.admit(leg);
      }
      if (this.isHalted) this.endIfHalted();
      else if (errno === 0) this.kick();
      else this.retryLater();
    });
  }

  private retryLater(): void {
    this.retry ??= this.set.clock.after(RETRY_MS, () => {
      this.retry = null;
      this.givenUp.clearAll();
      this.kick();
    });
  }

  private get isHalted(): boolean {
    return this.stopped !== null || this.paused;
  }

  private endIfHalted(): void {
    if (this.active > 0) return;
    const { whenPaused } = this;
    this.whenPaused = null;
    whenPaused?.();
    this.stopped?.();
  }

  private lackingSectors(): number {
    let sectors = 0;
    for (let region = this.nextRegion(0); region >= 0; region = this.nextRegion(region + 1)) {
      sectors += this.set.sectorsOfRegion(region);
    }
    return sectors;
  }
}
