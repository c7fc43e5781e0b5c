import { assert } from '../base/assert.ts';
import { ERRNO } from '../base/errno.ts';
import { Ring } from '../base/ring.ts';
import type { BlockDevice } from '../block/device.ts';
import { STATES_PER_SECTOR } from './native-layout.ts';
import { RegionBits } from './region-bits.ts';
import { REGION_STATE } from './region-map.ts';
import { MARK, RegionMarks } from './region-marks.ts';
import { RegionCleaner } from './region-cleaner.ts';
import type { MirrorSet } from './set.ts';

/** Where dirty marks (and, on the legs, lack bits) are kept: law D3. */
export interface RegionLogStore {
  /** Blocks of the log: what is written at once. */
  readonly blocks: number;
  /** True: it keeps lack bits too, so a leg that is out comes back by a delta. */
  readonly keepsLacks: boolean;
  /** The log's part of the kernel's status line; left out: that of a `core` log. */
  readonly statusWords?: string;
  /** The block that holds the region's mark. */
  blockOf(region: number): number;
  /** Regions first..last whose marks the block holds; null: it holds none. */
  regionsOf(block: number): { readonly first: number; readonly last: number } | null;
  /** Blocks that say something: marks, and lack bits of the legs there are. */
  usedBlocks(used: RegionBits): void;
  /** Blocks whose lack bits on disk are not those of memory. */
  lackBlocksDue(due: RegionBits): void;
  /** Blocks with the lack bits of the leg in this slot. */
  lackBlocksOf(slot: number, due: RegionBits): void;
  /**
   * Writes the blocks as `log` has them now, durably. `done` is called once, never from inside:
   * 0: all legs that stay have them; else nobody does for certain. `mayClear`: lack bits that are
   * gone in memory go on disk too.
   */
  write(
    blocks: readonly number[],
    log: RegionLog,
    mayClear: boolean,
    done: (errno: number) => void,
  ): void;
  /** Why a device has no place for the log, as a sentence; left out: the log is elsewhere. */
  legProblem?(device: BlockDevice, dataSectors: number): string | null;
  /** Told once whose log it keeps, if it wants to know. */
  attach?(set: MirrorSet): void;
}

/** A write that waits until its regions are marked. */
export interface MarkWaiter {
  readonly firstRegion: number;
  readonly lastRegion: number;
  /** 0: data may go out. Else the errno of the log. */
  marked(errno: number): void;
}

/** How the log of an existing set begins. */
export interface RegionLogStart {
  readonly store: RegionLogStore;
  /** REGION_STATE of each region, as found. */
  readonly states: Uint8Array;
  /** Every leg that is, or was, in sync reads zeros in a region that was never written. */
  readonly zeroed?: boolean;
  /** A region is cleaned when it has not been written for so long; left out: 5 s. */
  readonly cleanAfterMs?: number;
}

/** Somebody who waits until certain blocks have been written. */
interface Barrier {
  readonly left: RegionBits;
  /** The number of the write under way when it came: that one does not count. */
  readonly after: number;
  readonly done: (errno: number) => void;
}

/** Most blocks of one write. */
const BATCH = 32;
/** From the n-th mark of a group within a burst on, so many of its regions are marked with it. */
const SPANS = [1, 1, 4, 16, 64, 256, STATES_PER_SECTOR] as const;
/** A burst from here on marks what was never written, too. */
const BURST = 3;

/**
 * Which regions may differ between members after a crash: a region is marked in the log, on all
 * active legs, before data goes to it, and cleaned long after. One write of the log is under way at
 * a time; marks that come meanwhile go together in the next.
 */
export class RegionLog {
  readonly marks: RegionMarks;
  readonly store: RegionLogStore | null;
  /** Writes of the log so far: for the one who counts what it costs. */
  writes = 0;
  private readonly set: MirrorSet;
  private readonly zeroed: boolean;
  private readonly cleaner: RegionCleaner | null;
  private readonly waiters = new Ring<MarkWaiter>(64);
  /** Blocks to be written. */
  private readonly due: RegionBits;
  /**
   * Marked on all active legs, while it is not durable that some member has left: that one may be
   * believed again and started alone, and its map says nothing of them. They stay WRITING till then.
   */
  private readonly held: RegionBits;
  private isHolding = false;
  /** Regions marked ahead of any write, which were never written before. */
  private readonly ahead: RegionBits;
  /** Marks a group of regions has asked for since it was last clean. */
  private readonly bursts: Uint8Array;
  private barriers: Barrier[] = [];
  private writing: readonly number[] = [];
  private isWriting = false;
  private mayClear = false;
  private cursor = 0;
  private whenIdle: (() => void) | null = null;

  constructor(set: MirrorSet, start: RegionLogStart | null) {
    this.set = set;
    this.store = start?.store ?? null;
    this.zeroed = start?.zeroed ?? false;
    const regions = start === null ? 0 : set.regions;
    this.marks = new RegionMarks(regions);
    this.ahead = new RegionBits(Math.max(1, regions));
    this.held = new RegionBits(Math.max(1, regions));
    this.bursts = new Uint8Array(Math.ceil(regions / STATES_PER_SECTOR));
    this.due = new RegionBits(this.store?.blocks ?? 1);
    this.cleaner = start === null ? null : new RegionCleaner(set, this, start.cleanAfterMs);
    if (start === null) return;
    assert(start.states.length === set.regions, 'the map of another set');
    for (let region = 0; region < regions; region += 1) {
      const state = start.states[region];
      // What is dirty on some leg need not be so on all: it is marked anew.
      this.marks.marks[region] = state === REGION_STATE.DIRTY ? MARK.MARKED : (state ?? MARK.NEVER);
    }
  }

  /** Regions that would be in doubt after a crash now. */
  get dirty(): number {
    let count = 0;
    for (const mark of this.marks.marks) if (mark >= MARK.DIRTY) count += 1;
    return count;
  }

  /** Nothing is on its way to the log. */
  get isIdle(): boolean {
    return !this.isWriting && this.barriers.length === 0 && this.waiters.length === 0;
  }

  /** The cleaner will come by itself. */
  get isArmed(): boolean {
    return this.cleaner?.isArmed ?? false;
  }

  /** The set begins its life: all legs get the whole log as it is now. */
  start(): void {
    if (this.store === null) return;
    this.store.usedBlocks(this.due);
    this.cleaner?.arm();
    this.writeNext();
  }

  /** Cleans what can be, and no more for good. */
  stop(done: () => void): void {
    if (this.cleaner === null) done();
    else this.cleaner.stop(done);
  }

  /** Suspended: nothing is cleaned any more. `done` when nothing is on its way to the log. */
  pause(done: () => void): void {
    if (this.cleaner === null) {
      done();
      return;
    }
    this.cleaner.pause(() => {
      if (this.isIdle) done();
      else this.whenIdle = done;
    });
  }

  resume(): void {
    this.cleaner?.resume();
  }

  /** Somebody has left, come, or been filled: lack bits may be due. */
  legChanged(): void {
    this.cleaner?.arm();
  }

  /** `waiter.marked` is called when its regions are, never from inside this call. */
  mark(waiter: MarkWaiter): void {
    this.markRange(waiter.firstRegion, waiter.lastRegion, false);
    this.markBurst(waiter.firstRegion);
    this.waiters.push(waiter);
    this.cleaner?.arm();
    this.writeNext();
  }

  /** The whole log goes to all active legs; `done` when they have it. */
  rewrite(done: (errno: number) => void): void {
    if (this.store === null) {
      done(ERRNO.OK);
      return;
    }
    const used = new RegionBits(this.due.total);
    this.store.usedBlocks(used);
    this.due.addAll(used);
    this.await(used, done);
  }

  /** The lack bits of these legs go to disk: a superblock will say that they count. */
  writeLacks(slots: readonly number[], done: (errno: number) => void): void {
    const blocks = new RegionBits(this.due.total);
    for (const slot of slots) this.store?.lackBlocksOf(slot, blocks);
    this.due.addAll(blocks);
    this.await(blocks, done);
  }

  /** The cleaner's: blocks are written, with lack bits that are gone cleared. */
  clear(blocks: RegionBits, done: (errno: number) => void): void {
    this.due.addAll(blocks);
    this.mayClear = true;
    this.await(blocks, (errno) => {
      this.mayClear = false;
      done(errno);
    });
  }

  /** The cleaner's: the region goes clean in the log with the next `clear` of its block. */
  beginClean(region: number): void {
    const { marks } = this.marks;
    const isUntouched = this.ahead.test(region) && !this.marks.wasWritten(region);
    marks[region] = isUntouched ? MARK.UNMARKING : MARK.CLEANING;
  }

  /** Every member is known to read zeros all over the region: a leg that lacks it needs no source. */
  readsZeros(region: number): boolean {
    return this.zeroed && this.marks.marks[region] === MARK.NEVER;
  }

  /** What the log says of a region when it is written now. */
  stateOf(region: number): number {
    const mark = this.marks.marks[region];
    if (mark === MARK.NEVER || mark === MARK.UNMARKING) return REGION_STATE.NEVER;
    const isClean = mark === MARK.CLEAN || mark === MARK.CLEANING;
    return isClean ? REGION_STATE.CLEAN : REGION_STATE.DIRTY;
  }

  private markRange(first: number, last: number, isAhead: boolean): void {
    const { marks } = this.marks;
    for (let region = first; region <= last; region += 1) {
      const mark = marks[region];
      if (mark === MARK.DIRTY || mark === MARK.WRITING) continue;
      const wasNever = mark === MARK.NEVER || mark === MARK.UNMARKING;
      if (isAhead && wasNever) this.ahead.setRange(region, region);
      marks[region] = MARK.MARKED;
      this.dueBlockOf(region);
    }
  }

  /** One region today is many tomorrow: a burst marks its surroundings, the more the longer it lasts. */
  private markBurst(region: number): void {
    const group = Math.floor(region / STATES_PER_SECTOR);
    const burst = Math.min((this.bursts[group] ?? 0) + 1, SPANS.length - 1);
    this.bursts[group] = burst;
    const span = SPANS[burst] ?? 1;
    const start = group * STATES_PER_SECTOR;
    const first = start + Math.floor((region - start) / span) * span;
    const last = Math.min(first + span, start + STATES_PER_SECTOR, this.set.regions) - 1;
    const { marks } = this.marks;
    for (let each = first; each <= last; each += 1) {
      const isNever = marks[each] === MARK.NEVER;
      if (marks[each] === MARK.CLEAN || (isNever && burst >= BURST))
        this.markRange(each, each, true);
    }
  }

  private dueBlockOf(region: number): void {
    const block = this.store?.blockOf(region) ?? 0;
    this.due.setRange(block, block);
  }

  private await(blocks: RegionBits, done: (errno: number) => void): void {
    const left = new RegionBits(blocks.total);
    left.addAll(blocks);
    if (left.count === 0) {
      this.set.loop.defer({ complete: () => done(ERRNO.OK) });
      return;
    }
    this.barriers.push({ left, after: this.writes, done });
    this.writeNext();
  }

  /** Takes the next blocks that are due, round and round, so that each has its turn. */
  private writeNext(): void {
    if (this.isWriting || this.store === null || this.due.count === 0) return;
    const blocks: number[] = [];
    while (blocks.length < BATCH && this.due.count > 0) {
      let block = this.due.next(this.cursor);
      if (block < 0) block = this.due.next(0);
      this.due.clear(block);
      this.cursor = (block + 1) % this.due.total;
      blocks.push(block);
    }
    blocks.sort((a, b) => a - b);
    this.eachRegion(blocks, (region) => {
      if (this.marks.marks[region] === MARK.MARKED) this.marks.marks[region] = MARK.WRITING;
    });
    this.writing = blocks;
    this.isWriting = true;
    this.writes += 1;
    this.store.write(blocks, this, this.mayClear, (errno) => {
      this.written(errno);
    });
  }

  private written(errno: number): void {
    const blocks = this.writing;
    this.isWriting = false;
    this.writing = [];
    this.eachRegion(blocks, (region) => {
      this.settleMark(region, errno);
    });
    if (this.held.count > 0) this.awaitDeparture();
    this.answerBarriers(blocks, errno);
    this.answerWaiters(errno);
    this.writeNext();
    if (!this.isIdle) return;
    const { whenIdle } = this;
    this.whenIdle = null;
    whenIdle?.();
  }

  private settleMark(region: number, errno: number): void {
    const { marks } = this.marks;
    const mark = marks[region];
    if (mark === MARK.WRITING) {
      this.held.clear(region);
      if (errno !== ERRNO.OK) marks[region] = MARK.MARKED;
      else if (this.mustHold()) this.held.setRange(region, region);
      else marks[region] = MARK.DIRTY;
    } else if (mark === MARK.CLEANING || mark === MARK.UNMARKING) {
      // Not known how it is in the log after an error: it must be marked again before it is written.
      const isClean = errno === 0;
      if (!isClean) marks[region] = MARK.MARKED;
      else marks[region] = mark === MARK.CLEANING ? MARK.CLEAN : MARK.NEVER;
      if (!isClean) return;
      this.marks.forget(region);
      this.ahead.clear(region);
      this.bursts[Math.floor(region / STATES_PER_SECTOR)] = 0;
    }
  }

  /** D3: a mark counts when every leg that a restart would believe has it. */
  private mustHold(): boolean {
    return this.store?.keepsLacks === true && this.set.journal.isGuardBehind;
  }

  private awaitDeparture(): void {
    if (this.isHolding) return;
    this.isHolding = true;
    const recorded = (errno: number): void => {
      this.isHolding = false;
      const mark = errno === ERRNO.OK ? MARK.DIRTY : MARK.MARKED;
      for (let region = this.held.next(0); region >= 0; region = this.held.next(region + 1)) {
        this.marks.marks[region] = mark;
      }
      this.held.clearAll();
      this.answerWaiters(errno);
    };
    this.set.journal.wait({ needVersion: 0, recorded });
  }

  private answerBarriers(blocks: readonly number[], errno: number): void {
    if (this.barriers.length === 0) return;
    const barriers = this.barriers;
    this.barriers = [];
    const ended: Barrier[] = [];
    for (const barrier of barriers) {
      const counts = this.writes > barrier.after;
      const concerned = counts ? blocks.filter((block) => barrier.left.test(block)) : [];
      for (const block of concerned) barrier.left.clear(block);
      const isEnded = errno === 0 ? barrier.left.count === 0 : concerned.length > 0;
      if (isEnded) ended.push(barrier);
      else this.barriers.push(barrier);
    }
    for (const { done } of ended) done(errno);
  }

  private answerWaiters(errno: number): void {
    const count = this.waiters.length;
    for (let i = 0; i < count; i += 1) {
      const waiter = this.waiters.shift();
      assert(waiter !== undefined, 'a mark waiter vanished');
      if (errno !== 0) waiter.marked(errno);
      else if (this.isMarked(waiter)) waiter.marked(ERRNO.OK);
      else this.waiters.push(waiter);
    }
  }

  private isMarked({ firstRegion, lastRegion }: MarkWaiter): boolean {
    for (let region = firstRegion; region <= lastRegion; region += 1) {
      if (this.marks.marks[region] !== MARK.DIRTY) return false;
    }
    return true;
  }

  private eachRegion(blocks: readonly number[], visit: (region: number) => void): void {
    for (const block of blocks) {
      const range = this.store?.regionsOf(block) ?? null;
      if (range === null) continue;
      for (let region = range.first; region <= range.last; region += 1) visit(region);
    }
  }
}
