/* eslint-disable max-lines -- the merge of legs, scrub and the native log met here; to be cut along the transitions */
import { assert } from '../base/assert.ts';
import { ERRNO, errnoName } from '../base/errno.ts';
import { Pool } from '../base/pool.ts';
import type { AllocateBytes, Clock, Log } from '../base/ports.ts';
import { isPowerOfTwo, SECTOR_SIZE } from '../base/units.ts';
import type { Bio } from '../block/bio.ts';
import type { BlockDevice } from '../block/device.ts';
import type { QueueLimits } from '../block/limits.ts';
import type { Loop } from '../block/loop.ts';
import { REQ_OP } from '../block/op.ts';
import { RangeLock } from '../block/range-lock.ts';
import { DmIoClient } from '../dm-io/client.ts';
import type { LegMetadata } from './assemble-native.ts';
import { chooseLeg, ReadCursor } from './choose-leg.ts';
import { FailedSyncs } from './failed-syncs.ts';
import { FlushQueue } from './flush.ts';
import { Journal } from './journal.ts';
import { isLastCopyOfSome } from './last-copy.ts';
import { endReplacements } from './leg-changes.ts';
import { LegWatch } from './leg-watch.ts';
import { lose, Losses } from './losses.ts';
import type { Leg } from './leg.ts';
import {
  DEFAULT_LEG_TIMEOUT_MS,
  isOfAnEmptied,
  MAX_LEGS,
  STANDING,
  type LegErrorKind,
} from './leg.ts';
import type { MirrorEventKind, MirrorOptions } from './options.ts';
import { PendingWrites } from './pending.ts';
import { MirrorRead } from './read.ts';
import type { MirrorRecord } from './record.ts';
import { Recovery } from './recovery.ts';
import { RegionBits } from './region-bits.ts';
import { RegionLog } from './region-log.ts';
import { MARK } from './region-marks.ts';
import { ResyncPace } from './resync-pace.ts';
import { Scrub } from './scrub.ts';
import { makeLeg, markLacking, mirrorLimits, recordOf, settleRecord } from './set-parts.ts';
import { UnsettledLegs } from './unsettled.ts';
import { MirrorWrite } from './write.ts';

/** As md: more read errors than this within an hour fail the leg. */
const READ_ERRORS_PER_HOUR = 20;
const HOUR_MS = 3_600_000;

/**
 * A mirror: up to 64 legs, one truth. This class is the state and its transitions; the ways of a
 * request are MirrorRead, MirrorWrite and FlushQueue, healing is Recovery, legs come and go in
 * leg-changes.ts. README.md states the laws.
 */
export class MirrorSet {
  readonly name: string;
  readonly loop: Loop;
  readonly clock: Clock;
  readonly memory: AllocateBytes;
  readonly log: Log;
  readonly sectors: number;
  readonly regionSectors: number;
  readonly regions: number;
  /** In the order of the table. Only leg-changes.ts adds and removes, between requests. */
  readonly legs: Leg[];
  /** Off the list, but not durably: their slots are not free yet. */
  readonly leaving: Leg[] = [];
  /** Off the list durably; their devices have not ended all they were given. */
  readonly departing: Leg[] = [];
  readonly client: DmIoClient;
  readonly lock = new RangeLock();
  readonly pending: PendingWrites;
  readonly journal: Journal;
  /** How fast resync and scrub may go. */
  readonly pace: ResyncPace;
  readonly recovery: Recovery;
  /** Dirty regions that outlive a crash; of a `core` set none. */
  readonly regionLog: RegionLog;
  readonly scrub: Scrub;
  readonly reads: Pool<MirrorRead>;
  readonly writes: Pool<MirrorWrite>;
  /** Logical block of the set, in sectors: the shortest piece of a read. */
  readonly blockSectors: number;
  /**
   * Regions where members may differ, each holding a valid state that nobody was told of: a write
   * was under way when an earlier run ended, or its client saw an error. Such a region is made equal
   * before it is read. Where it is not in doubt, any member's bytes are the truth.
   */
  readonly doubt: RegionBits;
  /** Regions written since the flush under way, or the last one, was sent. */
  unflushed: RegionBits;
  /** Regions the flush under way covers. */
  covered: RegionBits;
  /** What clients are owed: also by a set that takes the place of another. */
  losses = new Losses();
  /** Failed flushes and writes with FUA that the set has not acted on yet. */
  readonly failedSyncs: FailedSyncs;
  /** And the legs where they failed. */
  readonly unsettled: UnsettledLegs;
  private currentLimits: QueueLimits;
  private readonly options: MirrorOptions;
  private readonly watch: LegWatch;
  private readonly flushes: FlushQueue;
  private readonly cursor: ReadCursor;
  /** No bit of the region log was cleared since this generation (D1). */
  clearedGeneration: number;
  private generation: number;
  private events = 0;
  private stopping = false;
  /** False from the first write on, until the set is stopped. */
  private clean: boolean;
  private durable: MirrorRecord | null = null;
  /** The durable record says that writes may be under way. */
  private dirtyDurably = false;
  /** The last member failed the latest write or flush. */
  private broken = false;

  constructor(options: MirrorOptions) {
    assert(options.legs.length >= 1 && options.legs.length <= MAX_LEGS, 'a mirror has 1..64 legs');
    assert(isPowerOfTwo(options.regionSectors), 'the region size is not a power of two');
    assert(options.sectors > 0, 'a mirror without sectors');
    this.options = options;
    this.name = options.name;
    this.loop = options.loop;
    this.clock = options.clock;
    this.memory = options.memory ?? ((bytes) => new Uint8Array(bytes));
    this.log = options.log;
    this.sectors = options.sectors;
    this.regionSectors = options.regionSectors;
    this.regions = Math.ceil(options.sectors / options.regionSectors);
    this.generation = options.generation;
    this.clearedGeneration = options.clearedGeneration ?? options.generation;
    this.clean = options.membersEqual;
    this.events = options.eventNr ?? 0;
    this.legs = options.legs.map((leg, index) => makeLeg(leg, index, this.regions));
    for (const leg of this.legs) leg.timeoutMs = this.timeoutOf(leg.name);
    this.currentLimits = mirrorLimits(this.legs);
    this.blockSectors = this.limits.logicalBlockSize / SECTOR_SIZE;
    this.doubt = new RegionBits(this.regions);
    this.client = new DmIoClient(options.loop, 64, 4096);
    this.unsettled = new UnsettledLegs(options.loop);
    this.failedSyncs = new FailedSyncs(options.loop, this.unsettled);
    this.watch = new LegWatch(this);
    this.client.watch = this.watch;
    this.pending = new PendingWrites(this.regions);
    this.unflushed = new RegionBits(this.regions);
    this.covered = new RegionBits(this.regions);
    this.cursor = new ReadCursor();
    this.journal = new Journal(
      options.recorder,
      () => {
        const record = this.record();
        // Should the attempt fail, it may be durable all the same: from here on nobody relies on "dirty".
        if (record.clean) this.dirtyDurably = false;
        return record;
      },
      (record) => {
        this.dirtyDurably = !record.clean;
        this.durable = record;
        this.endReplacements();
      },
    );
    this.regionLog = new RegionLog(this, options.regionLog ?? null);
    this.flushes = new FlushQueue(this);
    this.pace = new ResyncPace(options.clock, options.clients ?? null, options.pace);
    this.recovery = new Recovery(this, this.pace);
    this.scrub = new Scrub(this, this.pace, options.scrubPlace ?? null);
    this.reads = new Pool(16, 65536, () => new MirrorRead(this));
    this.writes = new Pool(16, 65536, () => new MirrorWrite(this));
    this.markInitialRegions();
    options.recorder.attach?.(this);
    options.regionLog?.store.attach?.(this);
  }

  /** Records who is in sync as of now, and begins to heal who is not. */
  start(): void {
    this.generation += 1;
    // A leg that is out may have been in by what it says itself: after a crash it must not be believed.
    const isOut = this.legs.some((leg) => leg.standing === STANDING.MISSING);
    if (isOut || this.regionLog.store !== null) this.journal.memberLeft();
    else this.journal.changed();
    this.regionLog.start();
    this.recovery.kick();
  }

  /** DISCARD and its like follow the legs; the block size is what clients were told. */
  get limits(): QueueLimits {
    return this.currentLimits;
  }

  get eventNr(): number {
    return this.events;
  }

  get isBroken(): boolean {
    return this.broken || this.firstMember() === null;
  }

  map(bio: Bio): void {
    if (bio.op === REQ_OP.FLUSH) {
      this.flushes.add(bio);
    } else if (bio.sectors === 0 || this.isIdleDiscard(bio)) {
      bio.error = 0;
      this.loop.defer(bio);
    } else if (bio.op === REQ_OP.READ) {
      const read = this.reads.get();
      assert(read !== undefined, 'more than 65536 reads under way');
      read.start(bio);
    } else {
      const write = this.writes.get();
      assert(write !== undefined, 'more than 65536 writes under way');
      write.start(bio);
    }
  }

  regionOf(sector: number): number {
    return Math.floor(sector / this.regionSectors);
  }

  sectorsToRegionEnd(sector: number): number {
    return this.regionSectors - (sector % this.regionSectors);
  }

  /** Sectors of a region: all have `regionSectors` but the last, which may be short. */
  sectorsOfRegion(region: number): number {
    return Math.min(this.regionSectors, this.sectors - region * this.regionSectors);
  }

  /** Half of a piece that no leg could read, in whole blocks. */
  halfOf(sectors: number): number {
    const blocks = Math.floor(sectors / this.blockSectors / 2);
    return Math.max(1, blocks) * this.blockSectors;
  }

  firstMember(): Leg | null {
    for (const leg of this.legs) {
      if (leg.standing === STANDING.MEMBER && leg.device !== null) return leg;
    }
    return null;
  }

  chooseLeg(first: number, last: number, tried: Uint8Array): Leg | null {
    return chooseLeg(this.legs, this.options.readPolicy, this.cursor, first, last, tried);
  }

  /** Outside of regions in doubt every member holds the truth, where it can be read at all. */
  lastResort(tried: Uint8Array): Leg | null {
    for (const leg of this.legs) {
      if (leg.standing === STANDING.MEMBER && tried[leg.slot] === 0) return leg;
    }
    return null;
  }

  /** True: the record says that writes may be under way, so data may go out. */
  isDirtyDurably(): boolean {
    if (this.clean) {
      this.clean = false;
      this.journal.changed();
    }
    if (this.dirtyDurably) return true;
    if (!this.journal.isBehind) this.journal.changed();
    return false;
  }

  noteSuccess(): void {
    this.broken = false;
  }

  noteBroken(): void {
    if (!this.broken) this.log.error({ device: this.name }, 'no leg takes writes any more');
    this.broken = true;
  }

  swapUnflushed(): void {
    const swap = this.covered;
    this.covered = this.unflushed;
    this.unflushed = swap;
  }

  /** Every leg there is has been given all of the region with FUA. */
  forgetUnflushed(region: number): void {
    this.unflushed.clear(region);
    this.covered.clear(region);
  }

  flush(done: (errno: number) => void): void {
    this.flushes.flush(done);
  }

  /** A joining leg that lacks nothing gets the log too, and all of it is made durable. */
  prepareAdmission(done: (errno: number) => void): void {
    this.regionLog.rewrite((errno) => {
      if (errno === 0) this.flush(done);
      else done(errno);
    });
  }

  /**
   * Bits of the log are about to be cleared: first every leg gets a new generation, then that is the
   * cleared one. A leg without it comes from before, and may lack what was cleared (D1).
   */
  raiseGeneration(done: (errno: number) => void): void {
    if (this.regionLog.store?.keepsLacks !== true) {
      // No leg comes back by what the log says, so no leg has to be told apart.
      this.loop.defer({ complete: () => done(ERRNO.OK) });
      return;
    }
    this.generation += 1;
    const raised = this.generation;
    const whenRaised = (errno: number): void => {
      if (errno !== 0) {
        done(errno);
        return;
      }
      this.clearedGeneration = raised;
      this.journal.changedQuietly({ needVersion: 0, recorded: done });
    };
    this.journal.changedQuietly({ needVersion: 0, recorded: whenRaised });
  }

  /**
   * Counts an error and puts the leg out of the set, unless it is the last member: then it may have
   * lost what it was given since its last good flush, as these are errors of writes with FUA.
   */
  failLeg(leg: Leg, kind: LegErrorKind, errno: number): boolean {
    leg.noteError(kind, errno);
    const reason = `${kind} error: ${errnoName(errno)}`;
    if (this.expel(leg, reason)) return true;
    lose(this, errno);
    return false;
  }

  /** Of a quiet set: some leg may still carry out what it was given up on for. */
  hasLate(): boolean {
    return this.legs.some(({ inFlight }) => inFlight > 0) || this.departing.length > 0;
  }

  timeoutOf(leg: string): number {
    return this.options.legTimeoutMs?.(leg) ?? DEFAULT_LEG_TIMEOUT_MS;
  }

  /** It does not answer. False: it is the last member, which is waited for. */
  timeOut(leg: Leg): boolean {
    if (!this.expel(leg, `no answer within ${leg.timeoutMs / 1000} s`)) return false;
    leg.noteError('timeout', ERRNO.ETIMEDOUT);
    return true;
  }

  /** The leg of a device, also one that is leaving; null: it is of no leg. */
  legOf(device: BlockDevice): Leg | null {
    for (const leg of this.legs) if (leg.device === device) return leg;
    for (const leg of this.leaving) if (leg.device === device) return leg;
    return this.departing.find((leg) => leg.device === device) ?? null;
  }

  /** An operator's wish. False: without it data would be lost, so it stays. */
  failLegByHand(leg: Leg, reason = 'failed by hand'): boolean {
    if (isLastCopyOfSome(this.legs, leg)) return false;
    // Before the record of it begins: a crash must not make it one that comes back by itself.
    leg.failedByHand = true;
    if (this.expel(leg, reason)) return true;
    leg.failedByHand = false;
    return false;
  }

  /** Legs have come, gone, or changed their place: what follows from that, and the record. */
  legsChanged(): void {
    for (const [i, leg] of this.legs.entries()) leg.index = i;
    const { logicalBlockSize } = this.currentLimits;
    this.currentLimits = { ...mirrorLimits(this.legs), logicalBlockSize };
    this.generation += 1;
    this.journal.changed();
    this.regionLog.legChanged();
  }

  /** Why a leg that is out may hold anything but what it held; null: it is as it left. */
  strangenessOf(leg: Leg, found: LegMetadata): string | null {
    return this.options.recorder.strangeness?.(leg, found) ?? null;
  }

  /** Legs do not agree on what a DISCARD leaves: it is a hint, and done by doing nothing (I17). */
  private isIdleDiscard(bio: Bio): boolean {
    return bio.op === REQ_OP.DISCARD && this.currentLimits.maxDiscardSectors === 0;
  }

  /**
   * A leg could not read. With another leg good for the range it is healed by rewriting; too many
   * such errors put it out, and so does one that says the leg ends before the range: rewriting would
   * only make holes of what it lost besides. The last copy of a range is never marked (I10).
   */
  noteReadError(leg: Leg, sector: number, sectors: number, errno: number): void {
    // Given up on: that was counted when it was.
    if (errno === ERRNO.ETIMEDOUT && !leg.isActive) return;
    leg.noteError('read', errno);
    if (!leg.isActive) return;
    const first = this.regionOf(sector);
    const last = this.regionOf(sector + sectors - 1);
    const other = this.legs.some((each) => each !== leg && each.canRead(first, last));
    this.log.warn(
      { device: this.name, leg: leg.name, sector, sectors, errno: errnoName(errno) },
      other ? 'read error: answered by another leg' : 'read error on the only good leg',
    );
    if (!other) return;
    const now = this.clock.nowMs();
    if (now - leg.recentSinceMs > HOUR_MS) {
      leg.recentSinceMs = now;
      leg.recentReadErrors = 0;
    }
    leg.recentReadErrors += 1;
    const hasChanged = isOfAnEmptied(errno);
    // Its server is out of reach: the leg holds what it held.
    const isGone = errno === ERRNO.ENOTCONN;
    const tooMany = leg.recentReadErrors > READ_ERRORS_PER_HOUR;
    if ((hasChanged || isGone || tooMany) && this.hasOtherWholeMember(leg)) {
      const isTold = hasChanged || isGone;
      this.expel(leg, isTold ? `read error: ${errnoName(errno)}` : 'too many read errors');
      return;
    }
    leg.outOfSync.setRange(first, last);
    this.recovery.kick();
  }

  /** A joining leg has everything now, and it is flushed. */
  admit(leg: Leg): void {
    assert(leg.standing === STANDING.JOINING, 'only a joining leg becomes a member');
    assert(leg.outOfSync.count === 0, 'a leg that lacks regions is no member');
    leg.standing = STANDING.MEMBER;
    this.generation += 1;
    this.journal.changed();
    this.regionLog.legChanged();
    this.noteHealed(leg);
  }

  noteHealed(leg: Leg): void {
    leg.reason = null;
    leg.lastError = null;
    leg.lastErrno = 0;
    this.emit('leg-in-sync', leg, `leg ${leg.name} is in sync`);
    this.endReplacements();
  }

  private endReplacements(): void {
    if (this.durable !== null && !this.stopping) endReplacements(this, this.durable);
  }

  emit(kind: MirrorEventKind, leg: Leg | null, message: string): void {
    this.events += 1;
    this.log.info({ device: this.name, event: kind, eventNr: this.events }, message);
    this.options.onEvent?.({ eventNr: this.events, kind, leg: leg?.name ?? null, message });
  }

  /**
   * Ends the life of the set: no request of a client may be under way or come. Stops healing,
   * flushes, and records the set as clean if its members are equal. `done` gets 0, or the errno
   * because of which the next start will treat the stop as unclean.
   */
  stop(done: (errno: number) => void): void {
    this.stopping = true;
    this.scrub.quit(() => {
      this.recovery.stop(() => {
        assert(this.lock.length === 0, 'a mirror was stopped with requests under way');
        this.regionLog.stop(() => {
          this.flush((errno) => {
            this.recordStop(errno, (result) => {
              this.watch.stop();
              done(result);
            });
          });
        });
      });
    });
  }

  /** Suspended: nothing is copied any more. No request of a client may be under way until `resume`. */
  quiesce(done: () => void): void {
    this.scrub.pause(() => {
      this.recovery.pause(() => {
        this.regionLog.pause(done);
      });
    });
  }

  /** Quiet and flushed: records the set as clean, if its members are equal. */
  settle(done: (errno: number) => void): void {
    this.recordStop(0, done);
  }

  resume(): void {
    this.regionLog.resume();
    this.recovery.resume();
    this.scrub.resume();
  }

  /**
   * A quiet set gives way to another: from now on it records nothing, and nothing is on its way to
   * a log on the legs. What it would have recorded.
   */
  freeze(done: (record: MirrorRecord) => void): void {
    const { recorder } = this.options;
    const settled = (): void => {
      done(this.record());
    };
    this.journal.freeze(() => {
      if (recorder.settle === undefined) settled();
      else recorder.settle(settled);
    });
  }

  /** It does not give way after all. */
  thaw(): void {
    this.journal.thaw();
  }

  /** Frozen, and another has taken its place. */
  retire(): void {
    this.watch.stop();
    this.recovery.retire();
  }

  private recordStop(flushErrno: number, done: (errno: number) => void): void {
    if (flushErrno === 0 && this.hasLost()) flushErrno = this.losses.errno;
    if (flushErrno === 0 && this.doubt.count === 0) this.clean = true;
    this.journal.changed();
    this.journal.wait({
      needVersion: 0,
      recorded: (errno) => {
        const result = errno === 0 ? flushErrno : errno;
        settleRecord(this.journal, this.options.recorder, result, done);
      },
    });
  }

  /** The leg that leaves when `leg` is in sync; null when there is none. */
  replacedBy(leg: Leg): Leg | null {
    return this.legs.find(({ slot }) => slot === leg.replaces) ?? null;
  }

  /** False: it is the last member, and stays. */
  expel(leg: Leg, reason: string): boolean {
    assert(leg.isActive, 'a leg that is out of the set was failed');
    const others = this.legs.some(
      (each) => each !== leg && each.standing === STANDING.MEMBER && each.device !== null,
    );
    if (leg.standing === STANDING.MEMBER && !others) return false;
    const wasMember = leg.standing === STANDING.MEMBER;
    leg.standing = STANDING.FAILED;
    leg.reason = reason;
    // Nobody will flush what it was given lately (D8), nor settle it.
    leg.outOfSync.addAll(this.unflushed);
    leg.outOfSync.addAll(this.covered);
    leg.outOfSync.addAll(this.doubt);
    leg.outOfSync.addAll(leg.lost);
    leg.lost.clearAll();
    if (leg.isEmptied) leg.lacksAll();
    this.generation += 1;
    if (!this.hasTwoMembers()) this.doubt.clearAll();
    if (wasMember) this.journal.memberLeft();
    else this.journal.changed();
    this.regionLog.legChanged();
    this.log.warn({ device: this.name, leg: leg.name, reason }, 'leg failed');
    this.emit('leg-failed', leg, `leg ${leg.name} failed: ${reason}`);
    this.recovery.kick();
    return true;
  }

  /** The leg has answered a request with what `isOfAnEmptied` tells. */
  noteEmptied(leg: Leg): void {
    if (leg.isEmptied) return;
    leg.isEmptied = true;
    if (leg.isActive) return;
    leg.lacksAll();
    if (this.legs.includes(leg)) this.legsChanged();
  }

  /** Members may differ here, and nobody has been told what they hold. */
  putInDoubt(first: number, last: number): void {
    for (const leg of this.legs) {
      if (leg.standing === STANDING.JOINING) leg.outOfSync.setRange(first, last);
    }
    if (this.hasTwoMembers()) this.doubt.setRange(first, last);
    this.recovery.spoil(first, last);
  }

  /** The leg has failed to flush, and stays: what it was given lately it may not keep (D8). */
  distrust(leg: Leg): void {
    if (leg.standing !== STANDING.JOINING) return;
    leg.outOfSync.addAll(this.unflushed);
    leg.outOfSync.addAll(this.covered);
  }

  /** Some member shows what it may not keep: what clients were told of is not durable. */
  hasLost(): boolean {
    return this.legs.some(({ lost }) => lost.count > 0);
  }

  private hasTwoMembers(): boolean {
    let members = 0;
    for (const leg of this.legs) if (leg.standing === STANDING.MEMBER) members += 1;
    return members > 1;
  }

  /** Another member without a region that it could not read: `leg` holds no last copy. */
  private hasOtherWholeMember(leg: Leg): boolean {
    return this.legs.some(
      (other) => other !== leg && other.standing === STANDING.MEMBER && other.outOfSync.count === 0,
    );
  }

  private markInitialRegions(): void {
    assert(this.firstMember() !== null, 'a mirror without a member');
    for (const [i, leg] of this.legs.entries()) markLacking(leg, this.options.legs[i]?.lacks);
    if (this.options.membersEqual) return;
    // Of one member nothing is in doubt; but what the last run wrote may not have been flushed.
    const bits = this.hasTwoMembers() ? this.doubt : this.unflushed;
    if (this.options.regionLog === undefined) bits.setAll();
    else this.addDirty(bits);
  }

  /** Only where the log says so can a write have been under way when the last run ended. */
  private addDirty(bits: RegionBits): void {
    for (const [region, mark] of this.regionLog.marks.marks.entries()) {
      if (mark === MARK.MARKED) bits.setRange(region, region);
    }
  }

  /** What the journal keeps: who is in sync as of now. */
  record(): MirrorRecord {
    return {
      generation: this.generation,
      clean: this.clean,
      legs: this.legs.map((leg) => recordOf(leg, this.replacedBy(leg))),
    };
  }
}
