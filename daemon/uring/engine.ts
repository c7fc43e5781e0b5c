import { assert } from '../../core/base/assert.ts';
import { ERRNO } from '../../core/base/errno.ts';
import { Pool } from '../../core/base/pool.ts';
import { SECTOR_SIZE } from '../../core/base/units.ts';
import type { Bio } from '../../core/block/bio.ts';
import { bioError, type BlockDevice } from '../../core/block/device.ts';
import type { QueueLimits } from '../../core/block/limits.ts';
import type { Loop } from '../../core/block/loop.ts';
import { REQ_FLAG, REQ_OP } from '../../core/block/op.ts';
import { RUN, type Run } from '../../core/block/run.ts';
import { fileAllocationAt } from '../sys/file-map.ts';
import { hasSyscalls, loadSyscalls, type NoSyscalls, type Syscalls } from '../sys/syscalls.ts';
import { FSYNC_DATASYNC, OP, RWF_DSYNC } from './abi.ts';
import type { Memory } from './memory.ts';
import { RingOp, type Ring } from './ring.ts';
import { pwrite } from './syscall.ts';

/** Pieces of memory in one bio; each operation has room for as many iovecs. */
const MAX_SEGMENTS = 64;
const IOVEC_BYTES = 16;
const FALLOC_KEEP_SIZE = 1;
const FALLOC_PUNCH_HOLE = 2;
const FALLOC_ZERO_RANGE = 16;
const EINTR = 4;

/** The ring, and what its devices share: operation records with their iovec room. */
export class UringEngine {
  readonly loop: Loop;
  readonly ring: Ring;
  readonly memory: Memory;
  private readonly ops: Pool<DiskOp>;

  constructor(ring: Ring, loop: Loop, memory: Memory) {
    this.ring = ring;
    this.loop = loop;
    this.memory = memory;
    this.ops = new Pool<DiskOp>(64, 65536, () => new DiskOp(this));
  }

  take(): DiskOp {
    const op = this.ops.get();
    assert(op !== undefined, 'more than 65536 disk operations under way');
    return op;
  }

  give(op: DiskOp): void {
    this.ops.put(op);
  }
}

/** How a file is opened and used. */
export interface UringDeviceOptions {
  readonly name: string;
  readonly fd: number;
  readonly sectors: number;
  readonly limits: QueueLimits;
  /** Opened with O_DIRECT: io_uring never blocks on it. */
  readonly direct: boolean;
}

/**
 * A file or block device on the ring.
 *
 * A buffered write is the one thing io_uring cannot do without a helper thread: it hands it over,
 * which costs two wake-ups. A short one to the page cache is done in place instead, until one takes
 * long (the kernel throttles writers when too much is dirty); then the helpers take over for a while.
 */
export class UringDevice implements BlockDevice {
  readonly name: string;
  readonly sectors: number;
  readonly limits: QueueLimits;
  readonly loop: Loop;
  readonly fd: number;
  private readonly engine: UringEngine;
  private readonly direct: boolean;
  private readonly calls: Syscalls | NoSyscalls = loadSyscalls();
  private inPlaceAgainMs = 0;
  private pending = 0;
  /** A data sync has failed: what it was about may be lost, and later ones would not say so again. */
  syncFailed = false;

  constructor(engine: UringEngine, options: UringDeviceOptions) {
    this.engine = engine;
    this.loop = engine.loop;
    this.name = options.name;
    this.fd = options.fd;
    this.sectors = options.sectors;
    const { maxSegments } = options.limits;
    this.limits = { ...options.limits, maxSegments: Math.min(maxSegments, MAX_SEGMENTS) };
    this.direct = options.direct;
  }

  /** Operations under way. */
  get inFlight(): number {
    return this.pending;
  }

  submit(bio: Bio): void {
    bio.error = bioError(this, bio);
    if (bio.error !== 0) {
      this.loop.defer(bio);
      return;
    }
    if (bio.op === REQ_OP.WRITE && !this.direct && this.writeInPlace(bio)) return;
    this.pending += 1;
    this.engine.take().start(this, bio);
  }

  /** A block device answers that all of it is data. */
  allocationAt(sector: number, sectors: number, run: Run): void {
    const calls = this.calls;
    if (hasSyscalls(calls)) fileAllocationAt(calls, this.fd, sector, sectors, run);
    else run.set(sectors, RUN.DATA);
  }

  operationEnded(): void {
    this.pending -= 1;
  }

  /** True: the bio was written here and now, and its end is deferred. */
  private writeInPlace(bio: Bio): boolean {
    const bytes = bio.sectors * SECTOR_SIZE;
    if (bio.vecCount !== 1 || bytes > IN_PLACE_BYTES || (bio.flags & REQ_FLAG.FUA) !== 0) {
      return false;
    }
    if (this.inPlaceAgainMs !== 0) {
      if (performance.now() < this.inPlaceAgainMs) return false;
      this.inPlaceAgainMs = 0;
    }
    const vec = bio.vecs[0]!;
    const address = this.engine.memory.addressOf(vec.page) + vec.offset;
    const began = performance.now();
    const result = pwrite(this.fd, address, bytes, bio.sector * SECTOR_SIZE);
    const ended = performance.now();
    if (ended - began > IN_PLACE_MAX_MS) this.inPlaceAgainMs = ended + IN_PLACE_PAUSE_MS;
    // A short write is finished by the ring, from the start: writing the same bytes again is harmless.
    if (result >= 0 && result < bytes) return false;
    if (result === -EINTR) return false;
    bio.error = result < 0 ? -result : 0;
    this.loop.defer(bio);
    return true;
  }
}

const IN_PLACE_BYTES = 1024 * 1024;
const IN_PLACE_MAX_MS = 2;
const IN_PLACE_PAUSE_MS = 50;

/** One bio on its way through the ring; short results go on where they stopped. */
export class DiskOp extends RingOp {
  private readonly engine: UringEngine;
  /** Address and typed view of the record's iovecs. */
  private readonly iovecAddress: number;
  private readonly iovecs: Uint32Array;
  private device: UringDevice | null = null;
  private bio: Bio | null = null;
  private done = 0;
  /** A FUA write, again without its sync. */
  private retried = false;
  /** The data sync after a fallocate with FUA. */
  private syncing = false;

  constructor(engine: UringEngine) {
    super();
    this.engine = engine;
    const room = engine.memory.carve(MAX_SEGMENTS * IOVEC_BYTES);
    this.iovecAddress = room.address;
    this.iovecs = room.words;
    engine.ring.register(this);
  }

  start(device: UringDevice, bio: Bio): void {
    assert(this.bio === null, 'a disk operation in use was started');
    this.device = device;
    this.bio = bio;
    this.done = 0;
    this.retried = false;
    this.syncing = false;
    this.issue();
  }

  private issue(): void {
    const bio = this.bio!;
    const device = this.device!;
    if (device.syncFailed && (bio.op === REQ_OP.FLUSH || (bio.flags & REQ_FLAG.FUA) !== 0)) {
      this.finish(ERRNO.EIO);
      return;
    }
    const ring = this.engine.ring;
    const offset = bio.sector * SECTOR_SIZE + this.done;
    switch (bio.op) {
      case REQ_OP.READ:
      case REQ_OP.WRITE:
        this.issueData(bio, device.fd, offset);
        return;
      case REQ_OP.FLUSH:
        ring.prepare(this, OP.FSYNC, device.fd, 0, 0, 0, FSYNC_DATASYNC);
        return;
      case REQ_OP.DISCARD:
      case REQ_OP.WRITE_ZEROES: {
        // fallocate(2) through the ring: length in `addr`, mode in `len`.
        const keep = bio.op === REQ_OP.WRITE_ZEROES && (bio.flags & REQ_FLAG.NOUNMAP) !== 0;
        const mode = FALLOC_KEEP_SIZE | (keep ? FALLOC_ZERO_RANGE : FALLOC_PUNCH_HOLE);
        const bytes = bio.sectors * SECTOR_SIZE;
        ring.prepare(this, OP.FALLOCATE, device.fd, bytes, mode, offset, 0);
        return;
      }
    }
  }

  private issueData(bio: Bio, fd: number, offset: number): void {
    const ring = this.engine.ring;
    const bytes = bio.sectors * SECTOR_SIZE - this.done;
    const write = bio.op === REQ_OP.WRITE;
    const flags = write && (bio.flags & REQ_FLAG.FUA) !== 0 && !this.retried ? RWF_DSYNC : 0;
    if (bio.vecCount === 1) {
      const vec = bio.vecs[0]!;
      const address = this.engine.memory.addressOf(vec.page) + vec.offset + this.done;
      ring.prepare(this, write ? OP.WRITE : OP.READ, fd, address, bytes, offset, flags);
      return;
    }
    const count = this.fillIovecs(bio, bytes);
    const opcode = write ? OP.WRITEV : OP.READV;
    ring.prepare(this, opcode, fd, this.iovecAddress, count, offset, flags);
  }

  private fillIovecs(bio: Bio, bytes: number): number {
    const iovecs = this.iovecs;
    let skip = this.done;
    let rest = bytes;
    let count = 0;
    for (let i = 0; i < bio.vecCount && rest > 0; i += 1) {
      const vec = bio.vecs[i]!;
      if (skip >= vec.length) {
        skip -= vec.length;
        continue;
      }
      const address = this.engine.memory.addressOf(vec.page) + vec.offset + skip;
      const length = rest < vec.length - skip ? rest : vec.length - skip;
      const high = Math.floor(address / 4294967296);
      iovecs[count * 4] = address - high * 4294967296;
      iovecs[count * 4 + 1] = high;
      iovecs[count * 4 + 2] = length;
      iovecs[count * 4 + 3] = 0;
      rest -= length;
      skip = 0;
      count += 1;
    }
    assert(rest === 0, 'a bio with less memory than sectors');
    return count;
  }

  ended(result: number): void {
    const bio = this.bio!;
    if (result === -EINTR || result === -ERRNO.EAGAIN) {
      this.issue();
      return;
    }
    if (result < 0) {
      this.failed(-result);
      return;
    }
    if (bio.op === REQ_OP.READ || bio.op === REQ_OP.WRITE) {
      this.done += result;
      if (this.done < bio.sectors * SECTOR_SIZE) {
        // No progress is the end of a file that has shrunk.
        if (result === 0) this.finish(ERRNO.ENXIO);
        else this.issue();
        return;
      }
      this.dataDone();
      return;
    }
    const durable = (bio.flags & REQ_FLAG.FUA) !== 0 && bio.op !== REQ_OP.FLUSH;
    if (durable && !this.syncing) {
      // fallocate has no FUA of its own: a data sync follows, once.
      this.syncing = true;
      this.engine.ring.prepare(this, OP.FSYNC, this.device!.fd, 0, 0, 0, FSYNC_DATASYNC);
      return;
    }
    this.finish(0);
  }

  /**
   * After a failed sync nothing on this descriptor can be called durable any more. A FUA write that
   * failed does not say which half of it did: its plain half is tried alone, and if that works it
   * was the sync.
   */
  private failed(errno: number): void {
    const bio = this.bio!;
    if (bio.op === REQ_OP.WRITE && (bio.flags & REQ_FLAG.FUA) !== 0 && !this.retried) {
      this.retried = true;
      this.done = 0;
      this.issueData(bio, this.device!.fd, bio.sector * SECTOR_SIZE);
      return;
    }
    if (bio.op === REQ_OP.FLUSH || this.syncing) this.device!.syncFailed = true;
    this.finish(errno);
  }

  private dataDone(): void {
    if (!this.retried) {
      this.finish(0);
      return;
    }
    this.device!.syncFailed = true;
    this.finish(ERRNO.EIO);
  }

  private finish(errno: number): void {
    const bio = this.bio!;
    const device = this.device!;
    this.bio = null;
    this.device = null;
    bio.error = errno;
    device.operationEnded();
    this.engine.give(this);
    this.engine.loop.defer(bio);
  }
}
