// A world for dm-io: a loop driven by hand, and disks that fail where they are told to, end their bios
// in an order drawn from the seed, hold the caller to every limit, and write down what they did.
import { ERRNO } from '../../core/base/errno.ts';
import type { Prng } from '../../core/base/prng.ts';
import { SECTOR_SIZE } from '../../core/base/units.ts';
import type { Bio } from '../../core/block/bio.ts';
import { bioError, type BlockDevice } from '../../core/block/device.ts';
import { DEFAULT_LIMITS, type QueueLimits } from '../../core/block/limits.ts';
import { Loop } from '../../core/block/loop.ts';
import { hasData, isWriteOp, REQ_FLAG, REQ_OP, type ReqOp } from '../../core/block/op.ts';
import type { DmIoRequest } from '../../core/dm-io/request.ts';

/** One bio as its device saw it, from submit to end. */
export interface LogEntry {
  readonly disk: Disk;
  readonly request: DmIoRequest | null;
  readonly tag: number;
  readonly op: ReqOp;
  readonly flags: number;
  readonly sector: number;
  readonly sectors: number;
  readonly submitted: number;
  ended: number;
  error: number;
  /** Sectors whose data moved: all of a good bio, of a bad one those before the fault. */
  moved: number;
}

/** Bios of `op` that touch sectors [start, end) fail with `errno`; a FLUSH has no range. */
export interface Fault {
  readonly op: ReqOp;
  readonly start: number;
  readonly end: number;
  readonly errno: number;
}

interface Pending {
  readonly bio: Bio;
  readonly entry: LogEntry;
}

/** A loop and what is under way on it. `prng` null: bios end first in, first out. */
export class DiskWorld {
  readonly loop: Loop;
  readonly prng: Prng | null;
  readonly log: LogEntry[] = [];
  clock = 0;
  wakes = 0;
  private readonly pending: Pending[] = [];

  constructor(prng: Prng | null = null) {
    this.prng = prng;
    this.loop = new Loop({
      wake: () => {
        this.wakes += 1;
      },
      block: () => this.endOne(),
    });
  }

  get underWay(): number {
    return this.pending.length;
  }

  take(bio: Bio, disk: Disk): void {
    const { request = null } = bio as Bio & { request?: DmIoRequest | null };
    this.clock += 1;
    const entry: LogEntry = {
      disk,
      request,
      tag: bio.tag,
      op: bio.op,
      flags: bio.flags,
      sector: bio.sector,
      sectors: bio.sectors,
      submitted: this.clock,
      ended: 0,
      error: 0,
      moved: 0,
    };
    this.log.push(entry);
    this.pending.push({ bio, entry });
  }

  /** Ends one bio; false when there is none. */
  endOne(): boolean {
    if (this.pending.length === 0) return false;
    const index = this.prng === null ? 0 : this.prng.below(this.pending.length);
    const [{ bio, entry }] = this.pending.splice(index, 1) as [Pending];
    this.clock += 1;
    entry.ended = this.clock;
    entry.disk.perform(bio, entry);
    this.loop.defer(bio);
    return true;
  }

  /** Until nothing is under way and nothing waits to be told. */
  settle(): void {
    for (;;) {
      const burst = this.prng === null ? 1 : this.prng.between(1, 4);
      let ended = false;
      for (let i = 0; i < burst; i += 1) ended = this.endOne() || ended;
      if (this.loop.run() === 0 && !ended) return;
    }
  }
}

export class Disk implements BlockDevice {
  name: string;
  sectors = 0;
  limits: QueueLimits = DEFAULT_LIMITS;
  world: DiskWorld;
  faults: Fault[] = [];
  bytes: Uint8Array;

  constructor(world: DiskWorld, sectors: number, limits: Partial<QueueLimits> = {}, name = 'disk') {
    this.world = world;
    this.name = name;
    this.sectors = sectors;
    this.limits = { ...DEFAULT_LIMITS, ...limits };
    this.bytes = new Uint8Array(sectors * SECTOR_SIZE);
  }

  get loop(): Loop {
    return this.world.loop;
  }

  fail(op: ReqOp, start = 0, end = Infinity, errno: number = ERRNO.EIO): this {
    this.faults.push({ op, start, end, errno });
    return this;
  }

  submit(bio: Bio): void {
    this.checkLimits(bio);
    this.world.take(bio, this);
  }

  perform(bio: Bio, entry: LogEntry): void {
    const refusal = bioError(this, bio);
    const fault = refusal === 0 ? this.firstFault(bio) : undefined;
    bio.error = refusal === 0 ? (fault?.errno ?? 0) : refusal;
    entry.error = bio.error;
    entry.moved = bio.sectors;
    if (fault !== undefined) entry.moved = Math.max(fault.start - bio.sector, 0);
    if (refusal !== 0) entry.moved = 0;
    if (bio.op === REQ_OP.READ && bio.error !== 0) {
      // A failed read may leave anything in its memory.
      this.move(bio, bio.sectors, (memory, from, to) => memory.fill(0xee, from, to));
    } else if (hasData(bio.op)) {
      this.move(bio, entry.moved, (memory, from, to, at) => {
        const piece = memory.subarray(from, to);
        if (bio.op === REQ_OP.WRITE) this.bytes.set(piece, at);
        else piece.set(this.bytes.subarray(at, at + piece.length));
      });
    } else if (bio.error === 0 && bio.op !== REQ_OP.FLUSH) {
      this.bytes.fill(0, bio.sector * SECTOR_SIZE, (bio.sector + bio.sectors) * SECTOR_SIZE);
    } else {
      entry.moved = 0;
    }
  }

  /** The fault whose first sector the bio meets first. */
  firstFault(bio: { readonly op: ReqOp; readonly sector: number; readonly sectors: number }) {
    let first: Fault | undefined;
    for (const fault of this.faults) {
      if (fault.op !== bio.op) continue;
      const meets = bio.sector + bio.sectors > fault.start && bio.sector < fault.end;
      if (bio.op !== REQ_OP.FLUSH && !meets) continue;
      if (first === undefined || fault.start < first.start) first = fault;
    }
    return first;
  }

  private move(
    bio: Bio,
    sectors: number,
    visit: (memory: Uint8Array, from: number, to: number, at: number) => void,
  ): void {
    let at = bio.sector * SECTOR_SIZE;
    let left = sectors * SECTOR_SIZE;
    for (let i = 0; left > 0; i += 1) {
      const vec = bio.vecs[i];
      if (vec === undefined) throw new Error('a bio with less memory than sectors');
      const length = Math.min(vec.length, left);
      visit(vec.page, vec.offset, vec.offset + length, at);
      at += length;
      left -= length;
    }
  }

  /** R20: what dm-io must never send. */
  private checkLimits(bio: Bio): void {
    const { logicalBlockSize, maxSectors, maxSegments } = this.limits;
    const { maxDiscardSectors, maxWriteZeroesSectors } = this.limits;
    const problem = (what: string): never => {
      throw new Error(`${this.name} got a bio ${what}`);
    };
    if ((bio.flags & REQ_FLAG.PREFLUSH) !== 0) problem('with PREFLUSH');
    if (bio.error !== 0) problem('with an error');
    if (!hasData(bio.op) && bio.vecCount !== 0) problem('with memory it has no use for');
    if (bio.op === REQ_OP.FLUSH) return;
    if (bio.sectors <= 0) problem('without sectors');
    if ((bio.sectors * SECTOR_SIZE) % logicalBlockSize !== 0) problem('of part of a logical block');
    if (bio.op === REQ_OP.DISCARD && bio.sectors > maxDiscardSectors) problem('over maxDiscard');
    if (bio.op === REQ_OP.WRITE_ZEROES && bio.sectors > maxWriteZeroesSectors)
      problem('over maxWZ');
    if (!hasData(bio.op)) return;
    if (bio.sectors > maxSectors) problem('over maxSectors');
    if (bio.vecCount > maxSegments) problem('over maxSegments');
    let bytes = 0;
    for (let i = 0; i < bio.vecCount; i += 1) {
      const vec = bio.vecs[i];
      if (vec === undefined || vec.length <= 0) return problem('with an empty piece');
      if (vec.offset + vec.length > vec.page.length) problem('with a piece outside its page');
      bytes += vec.length;
    }
    if (bytes < bio.sectors * SECTOR_SIZE) problem('with too little memory');
  }
}

/** What a bio of this kind to this range may fail with on this disk, whatever it is cut into. */
export function errnosOf(disk: Disk, op: ReqOp, sector: number, sectors: number): Set<number> {
  const errnos = new Set<number>();
  const { readOnly, logicalBlockSize, maxDiscardSectors, maxWriteZeroesSectors } = disk.limits;
  const block = logicalBlockSize / SECTOR_SIZE;
  const unsupported =
    (op === REQ_OP.DISCARD && maxDiscardSectors < block) ||
    (op === REQ_OP.WRITE_ZEROES && maxWriteZeroesSectors < block);
  if (unsupported) return errnos.add(ERRNO.EOPNOTSUPP);
  if (isWriteOp(op) && readOnly) return errnos.add(ERRNO.EROFS);
  if (op !== REQ_OP.FLUSH && sector + sectors > disk.sectors) errnos.add(ERRNO.EIO);
  for (const fault of disk.faults) {
    if (fault.op !== op) continue;
    if (op === REQ_OP.FLUSH || (sector + sectors > fault.start && sector < fault.end)) {
      errnos.add(fault.errno);
    }
  }
  return errnos;
}
