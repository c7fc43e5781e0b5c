import { assert } from '../base/assert.ts';
import type { Timer } from '../base/ports.ts';
import { ERRNO } from '../base/errno.ts';
import { bytesOfSectors } from '../base/units.ts';
import { STANDING, type Leg } from './leg.ts';
import { RegionBits } from './region-bits.ts';
import { RegionCopy, type CopyOutcome } from './region-copy.ts';
import { DEPTH_IDLE, type ResyncPace } from './resync-pace.ts';
import { RecentSpeed } from './resync-speed.ts';
import type { MirrorSet } from './set.ts';

/** Longest piece of a region that is copied at once, without clients and with them. */
const PIECE_BYTES = 2 ** 20;
const PIECE_BYTES_BUSY = 2 ** 17;
/** Memory of all comparisons together, as far as pieces of 64 KiB allow. */
const COMPARE_BYTES = 2 ** 25;
const MIN_PIECE_BYTES = 2 ** 16;
/** Regions that nobody could read are tried again after this. */
const RETRY_MS = 30_000;

export interface ResyncProgress {
  readonly doneBytes: number;
  readonly totalBytes: number;
  /** Of the last seconds; null before the first region. */
  readonly bytesPerSecond: number | null;
  readonly etaSeconds: number | null;
  /** Told to wait; only what a read waits for is copied. */
  readonly paused: boolean;
}

/** A request that needs regions settled first; it holds no claim meanwhile. */
export interface SettleWaiter {
  readonly firstRegion: number;
  readonly lastRegion: number;
  /** From the loop: no region is in doubt any more, or (errno) one of them cannot be settled. */
  settled(errno: number): void;
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
  /** In doubt since a write or flush failed: what legs show there proves nothing about their platters. */
  private readonly distrusted: RegionBits;
  private readonly pace: ResyncPace;
  private readonly speed = new RecentSpeed();
  /** Reads that wait for regions in doubt: these come first. */
  private readers: SettleWaiter[] = [];
  private cursor = 0;
  private active = 0;
  private running = false;
  private admitting = false;
  private stopped: (() => void) | null = null;
  /** Between `pause` and `resume`: nothing new is begun. */
  private paused = false;
  private whenPaused: (() => void) | null = null;
  private retry: Timer | null = null;
  /** The pace has told us to come back. */
  private later: Timer | null = null;
  /** The operator's word: nothing is copied but what a read waits for. */
  private held = false;
  private doneBytes = 0;

  constructor(set: MirrorSet, pace: ResyncPace) {
    this.set = set;
    this.pace = pace;
    this.givenUp = new RegionBits(set.regions);
    this.distrusted = new RegionBits(set.regions);
    for (let i = 0; i < DEPTH_IDLE; i += 1) this.copies.push(new RegionCopy(set, this));
  }

  /** Something was left out, and is tried again when its time has come. */
  get waitsToRetry(): boolean {
    return this.retry !== null;
  }

  get isRunning(): boolean {
    return this.running;
  }

  /** Something may need healing. */
  kick(): void {
    this.answerReaders();
    if (this.stopped !== null || this.paused || this.admitting) return;
    if (!this.running && this.nextToCopy() >= 0) this.begin();
    this.fill();
    this.finishIfDone();
  }

  /** The operator's word: what was given up is tried now, and a hold is over. */
  hurry(): void {
    this.held = false;
    this.retry?.cancel();
    this.retry = null;
    this.givenUp.clearAll();
    this.kick();
  }

  hold(): void {
    this.held = true;
  }

  /** When no region of the waiter's is in doubt any more, or one of them cannot be settled, it is told. */
  settle(reader: SettleWaiter): void {
    this.readers.push(reader);
    if (!this.running) this.begin();
    this.fill();
  }

  /** In doubt for nothing worse than an unclean stop: where members show the same, they are the same. */
  mayCompare(region: number): boolean {
    return !this.distrusted.test(region) && !this.isLost(region);
  }

  /** Some member shows what it may not keep: it is written once more, the source too. */
  isLost(region: number): boolean {
    return this.set.legs.some(({ lost }) => lost.test(region));
  }

  /** How much of a region is moved at once: memory, and how long clients wait for a device, are bounded. */
  pieceBytes(compares: boolean): number {
    const region = bytesOfSectors(this.set.regionSectors);
    const wanted = this.pace.depth === DEPTH_IDLE ? PIECE_BYTES : PIECE_BYTES_BUSY;
    const piece = Math.min(wanted, region);
    if (!compares) return piece;
    let most = COMPARE_BYTES / DEPTH_IDLE;
    while (most * this.set.legs.length > COMPARE_BYTES / DEPTH_IDLE) most /= 2;
    return Math.min(piece, Math.max(most, MIN_PIECE_BYTES));
  }

  /** These regions have become doubtful just now: a copy of them under way settles nothing. */
  spoil(first: number, last: number): void {
    this.distrusted.setRange(first, last);
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
    this.later?.cancel();
    this.endIfHalted();
  }

  /** As `stop`, until `resume`. No read of a client may be under way: it might need a copy. */
  pause(done: () => void): void {
    assert(!this.paused, 'recovery was paused twice');
    this.paused = true;
    this.later?.cancel();
    this.later = null;
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
    const speed = this.speed.bytesPerSecond(this.set.clock.nowMs(), this.doneBytes);
    return {
      doneBytes: this.doneBytes,
      totalBytes: this.doneBytes + left,
      bytesPerSecond: speed,
      etaSeconds: speed === null || speed === 0 ? null : Math.ceil(left / speed),
      paused: this.held,
    };
  }

  /** A copy has ended. */
  copied(copy: RegionCopy, outcome: CopyOutcome): void {
    this.active -= 1;
    if (outcome === 'healed') {
      if (!this.set.doubt.test(copy.region)) this.distrusted.clear(copy.region);
      this.doneBytes += bytesOfSectors(this.set.sectorsOfRegion(copy.region));
      this.speed.note(this.set.clock.nowMs(), this.doneBytes);
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
    this.pace.begin();
    this.speed.begin(this.set.clock.nowMs(), 0);
    this.doneBytes = 0;
    this.cursor = 0;
    this.set.emit('resync-started', null, 'resync started');
  }

  private fill(): void {
    if (!this.running || this.paused || this.stopped !== null) return;
    for (const copy of this.copies) {
      if (copy.isBusy) continue;
      // What a read waits for is foreground: no pace holds it.
      const region = this.demanded() ?? this.paced();
      if (region === null) return;
      this.active += 1;
      copy.start(region);
    }
  }

  /** A region in doubt for which a read waits; null: none. */
  private demanded(): number | null {
    const region = this.nextDemanded();
    return region < 0 ? null : region;
  }

  /** The next region to heal, if it is time; null: none, or not now. */
  private paced(): number | null {
    if (this.held || this.later !== null || this.active >= this.pace.depth) return null;
    const region = this.nextToCopy();
    if (region < 0) return null;
    const waitMs = this.pace.book(this.costOf(region));
    if (waitMs > 0) {
      this.later = this.set.clock.after(waitMs, () => {
        this.later = null;
        this.fill();
        this.finishIfDone();
      });
      return null;
    }
    this.cursor = region + 1;
    return region;
  }

  /** A hole that is only asked for costs next to nothing: a set of many is filled at once. */
  private costOf(region: number): number {
    const isHole =
      this.set.regionLog.readsZeros(region) &&
      this.set.legs.every(
        ({ isActive, outOfSync, device }) =>
          !isActive || !outOfSync.test(region) || (device?.limits.maxWriteZeroesSectors ?? 0) > 0,
      );
    return isHole ? 1 : bytesOfSectors(this.set.sectorsOfRegion(region));
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
      best = firstOf(best, leg.outOfSync.next(from));
      best = firstOf(best, leg.lost.next(from));
    }
    return best;
  }

  private finishIfDone(): void {
    if (this.active > 0 || this.later !== null || this.isWorkLeft()) return;
    if (this.set.legs.some(isComplete)) {
      this.admitJoined();
      return;
    }
    if (!this.running) return;
    this.running = false;
    for (const copy of this.copies) copy.drop();
    for (const leg of this.set.legs) {
      if (leg.state === 'in-sync' && leg.reason !== null) this.set.noteHealed(leg);
    }
    const left = this.givenUp.count;
    const message = left === 0 ? 'resync ended' : `resync ended, ${String(left)} regions left out`;
    this.set.emit('resync-ended', null, message);
    if (left > 0) this.retryLater();
  }

  /** Regions that are only waiting for the end of a hold. */
  private isWorkLeft(): boolean {
    return this.running && this.held && this.nextToCopy() >= 0;
  }

  /** Durable before believed: the joining legs are flushed first. */
  private admitJoined(): void {
    this.admitting = true;
    this.active += 1;
    // Not a leg that joins while this is under way: neither the log nor the flush was sent to it.
    const prepared = this.set.legs.filter(isComplete).map((leg) => ({ leg, joins: leg.joins }));
    this.set.prepareAdmission((errno) => {
      this.admitting = false;
      this.active -= 1;
      for (const { leg, joins } of prepared) {
        if (errno === 0 && isComplete(leg) && leg.joins === joins) this.set.admit(leg);
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

/** The smaller of two regions; -1 is none. */
function firstOf(a: number, b: number): number {
  if (a < 0 || b < 0) return Math.max(a, b);
  return Math.min(a, b);
}

/** A joining leg that lacks nothing any more; a flush makes it a member. */
function isComplete(leg: Leg): boolean {
  return leg.standing === STANDING.JOINING && leg.outOfSync.count === 0;
}
