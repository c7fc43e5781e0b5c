import { ERRNO, errnoName } from '../base/errno.ts';
import { assert } from '../base/assert.ts';
import { MAX_REGIONS } from '../base/error-bits.ts';
import type { BlockDevice } from '../block/device.ts';
import { IoStats } from '../stats/io-stats.ts';
import { RegionBits } from './region-bits.ts';

/** How a leg stands in the set. This, not the region bits, is what the durable record remembers. */
export const STANDING = {
  /** Holds every acknowledged write: the truth may be taken from it. */
  MEMBER: 'member',
  /** Gets every write, but lacks what was there before it joined. */
  JOINING: 'joining',
  /** Gave an error, or was failed by hand; gets nothing until it is added again. */
  FAILED: 'failed',
  /** Its device was not there at assembly. */
  MISSING: 'missing',
  /** There, but an earlier run recorded that it missed writes. */
  STALE: 'stale',
} as const;
export type Standing = (typeof STANDING)[keyof typeof STANDING];

/** A leg's state as users see it (CONTRACT section 4). */
export type LegState = 'in-sync' | 'resyncing' | 'failed' | 'missing' | 'stale';

/** Of the set: it gets every write. */
export function isIn(state: LegState | undefined): boolean {
  return state === 'in-sync' || state === 'resyncing';
}

/** What a leg did wrong; the kernel's letters R, D, F and S. */
export type LegErrorKind = 'read' | 'write' | 'flush' | 'resync' | 'timeout';

/** Most legs of a set: the error bits of a dm-io request. */
export const MAX_LEGS = MAX_REGIONS;

/**
 * As the kernel's for a command of a disk, and for a request of nbd: below it the kernel may still be
 * trying itself, and above it the clients' own time-outs strike (30 s in Linux guests).
 */
export const DEFAULT_LEG_TIMEOUT_MS = 30_000;

/** What a leg holds is not what it was given: it ends before, or is another export (core/remote). */
export function isOfAnEmptied(errno: number): boolean {
  return errno === ERRNO.ENXIO || errno === ERRNO.ESTALE;
}

/** Told when nothing is under way at a leg any more. */
export type LegIdle = () => void;

/** A leg is one copy. */
export class Leg {
  /** Its place in the set, as `status` numbers it: it moves down when an earlier leg is removed. */
  index: number;
  /** Its number for life, 0..63; free again when the leg is removed. */
  readonly slot: number;
  /** Who the leg is, wherever its device is found; null: the set's log knows no uuids. */
  uuid: string | null = null;
  /** What it lacks is known exactly enough for a copy of that alone (law D1). */
  deltaPossible = false;
  /**
   * It may hold anything: it lacks everything, durably, and when it is in the set again what it
   * carries of metadata is wiped before it gets ours. Of no meaning where the log knows no uuids.
   */
  isStranger = false;
  /**
   * It has answered some request of this life that it ends before, or is another export (core/remote): it does
   * not hold what it was given. Out of the set, now or later, it lacks everything.
   */
  isEmptied = false;
  /** As the user named it; a leg with a uuid may come back under another name. */
  name: string;
  /** First sector of the leg's part of its device. */
  readonly startSector: number;
  device: BlockDevice | null;
  standing: Standing;
  /** Why the leg is out of the set, for people; null while it is in. */
  reason: string | null = null;
  /** Of every bio the leg was sent, also by resync and scrub. */
  readonly stats = new IoStats();
  readonly errors = { read: 0, write: 0, flush: 0, resync: 0, timeout: 0 };
  /** The last kind of error, for the kernel's status letter; null: none since it was in sync. */
  lastError: LegErrorKind | null = null;
  /** The errno of that. */
  lastErrno = 0;
  /** Regions that differ from the truth, or may: a superset at every instant (I8). */
  readonly outOfSync: RegionBits;
  /** Of a member: regions that it shows and may not keep, as a flush has failed on all (losses.ts). */
  readonly lost: RegionBits;
  /** Read only where no other leg is good. */
  readonly writeMostly: boolean;
  /** An operator has taken it out: only an operator takes it in again. */
  failedByHand = false;
  /** Slot of the leg that leaves when this one is in sync; -1: none. */
  replaces = -1;
  /** A request that takes longer is not waited for; 0: each is. */
  timeoutMs = DEFAULT_LEG_TIMEOUT_MS;
  /** How often it was added again: what was begun for it before was for an earlier life. */
  joins = 0;
  /** Under way of leaving the set for good: nobody takes it in again. */
  isLeaving = false;
  /** Parts of requests that go on elsewhere, and failed here: what it shows is not believed (unsettled.ts). */
  unsettled = 0;
  /** Reads under way, for the read policy. */
  pendingReads = 0;
  /** Read errors of the current hour; too many of them fail the leg. */
  recentReadErrors = 0;
  recentSinceMs = 0;
  private requests = 0;
  private idle: LegIdle[] = [];

  constructor(
    index: number,
    name: string,
    startSector: number,
    device: BlockDevice | null,
    standing: Standing,
    regions: number,
    slot = index,
    writeMostly = false,
  ) {
    assert(slot >= 0 && slot < MAX_LEGS, 'a leg slot outside 0..63');
    this.index = index;
    this.slot = slot;
    this.writeMostly = writeMostly;
    this.name = name;
    this.startSector = startSector;
    this.device = device;
    this.standing = standing;
    this.outOfSync = new RegionBits(regions);
    this.lost = new RegionBits(regions);
  }

  /** Gets every write and flush: a write it misses is a failure of the leg. */
  get isActive(): boolean {
    return this.standing === STANDING.MEMBER || this.standing === STANDING.JOINING;
  }

  /** May answer reads of the regions first..last. */
  canRead(first: number, last: number): boolean {
    return this.isActive && !this.outOfSync.anyIn(first, last);
  }

  /** It may hold anything. */
  lacksAll(): void {
    this.outOfSync.setAll();
    this.isStranger = true;
  }

  get state(): LegState {
    switch (this.standing) {
      case STANDING.MEMBER:
        return this.outOfSync.count === 0 && this.lost.count === 0 ? 'in-sync' : 'resyncing';
      case STANDING.JOINING:
        return 'resyncing';
      case STANDING.FAILED:
      case STANDING.MISSING:
      case STANDING.STALE:
        return this.standing;
    }
  }

  /** Requests that have been sent to the device and have not ended: until 0 it must not be closed. */
  get inFlight(): number {
    return this.requests;
  }

  /** A request goes to the device. */
  enter(): void {
    this.requests += 1;
  }

  /** A request that went to the device has ended, on all the legs it went to. */
  leave(): void {
    assert(this.requests > 0, 'a request has left a leg that it had not entered');
    this.requests -= 1;
    if (this.requests === 0 && this.idle.length > 0) this.tellIdle();
  }

  /**
   * `idle` is called once, at once or when the last request has ended; only of a leg that is out. It
   * comes in the middle of things: note it, act from the loop.
   */
  whenIdle(idle: LegIdle): void {
    assert(!this.isActive, 'a leg that is in use is never idle');
    this.idle.push(idle);
    if (this.requests === 0) this.tellIdle();
  }

  private tellIdle(): void {
    const told = this.idle;
    this.idle = [];
    for (const idle of told) idle();
  }

  noteError(kind: LegErrorKind, errno: number): void {
    this.errors[kind] += 1;
    this.lastError = kind;
    this.lastErrno = errno;
    this.reason ??= `${kind} error: ${errnoName(errno)}`;
  }
}
