import { statfsSync } from 'node:fs';
import { assert } from '../../core/base/assert.ts';
import { ERRNO } from '../../core/base/errno.ts';
import { Pool } from '../../core/base/pool.ts';
import { Ring as Queue } from '../../core/base/ring.ts';
import { SECTOR_SIZE } from '../../core/base/units.ts';
import type { Bio } from '../../core/block/bio.ts';
import { bioError, type BlockDevice } from '../../core/block/device.ts';
import type { QueueLimits } from '../../core/block/limits.ts';
import type { Loop } from '../../core/block/loop.ts';
import { REQ_FLAG, REQ_OP } from '../../core/block/op.ts';
import { RUN, type Run } from '../../core/block/run.ts';
import { FileMap } from '../sys/file-map.ts';
import { hasSyscalls, loadSyscalls, type NoSyscalls, type Syscalls } from '../sys/syscalls.ts';
import { DiskOp, MAX_SEGMENTS } from './disk-op.ts';
import { SMALL_WRITE_BYTES, type FolioSplitter } from './folio-split.ts';
import { folioSplitterFor } from './folios.ts';
import { IOVEC_BYTES, type Memory } from './memory.ts';
import type { Ring } from './ring.ts';
import { SharedSync } from './shared-sync.ts';
import { Throttle } from './throttle.ts';
import { preadNowait, pwriteOne } from './syscall.ts';

/** The longest transfer done in place. */
const IN_PLACE_BYTES = 1024 * 1024;
/**
 * Bytes moved in place before the replies that are ready leave: what was read is sent while it is
 * still in the CPU's cache, and the memory is used again for the next.
 */
const IN_PLACE_BATCH_BYTES = 256 * 1024;

/** The ring, and what its devices share: operation records, and how much is moved in place. */
export class UringEngine {
  readonly loop: Loop;
  readonly ring: Ring;
  readonly memory: Memory;
  /** Bytes that may still be moved in place in this turn. */
  inPlaceBytes = IN_PLACE_BATCH_BYTES;
  readonly throttle = new Throttle();
  /** One struct iovec, for the call just made. */
  readonly iovec: Uint32Array;
  private readonly ops: Pool<DiskOp>;
  /** Devices with bios that wait for the next turn. */
  private readonly waiting = new Queue<UringDevice>(16);

  constructor(ring: Ring, loop: Loop, memory: Memory) {
    this.ring = ring;
    this.loop = loop;
    this.memory = memory;
    this.iovec = memory.carve(IOVEC_BYTES).words;
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

  /** A device has put bios off to the next turn. */
  waits(device: UringDevice): void {
    this.waiting.push(device);
  }

  get hasWaiting(): boolean {
    return this.waiting.length > 0;
  }

  /** A new turn: devices go on with what they have put off, one bio each in turn. */
  refill(): void {
    this.inPlaceBytes = IN_PLACE_BATCH_BYTES;
    while (this.inPlaceBytes > 0) {
      const device = this.waiting.shift();
      if (device === undefined) return;
      if (device.goOn()) this.waiting.push(device);
    }
  }
}

/** How a file is opened and used. */
export interface UringDeviceOptions {
  readonly name: string;
  readonly fd: number;
  /** More descriptions of the same file, for syncs beside each other. */
  readonly syncFds?: readonly number[];
  readonly sectors: number;
  readonly limits: QueueLimits;
  /** Opened with O_DIRECT: io_uring never blocks on it. */
  readonly direct: boolean;
}

/**
 * A file or block device on the ring.
 *
 * What the page cache can take or give at once is moved in place, by a plain system call: a write
 * to it is the one thing io_uring cannot do without a helper thread, at the price of two wake-ups,
 * and a read from it is cheaper so. A read that would have to wait for the disk, a write while the
 * kernel throttles writers, and everything on O_DIRECT goes through the ring.
 */
export class UringDevice implements BlockDevice {
  readonly name: string;
  sectors: number;
  readonly limits: QueueLimits;
  readonly loop: Loop;
  readonly fd: number;
  readonly engine: UringEngine;
  readonly sync: SharedSync;
  readonly direct: boolean;
  private readonly calls: Syscalls | NoSyscalls = loadSyscalls();
  private folios: FolioSplitter | null;
  private readonly putOff = new Queue<Bio>(64);
  /** The file system can say that a read would wait. */
  private readsNow = true;
  /** A write to its page cache is not answered by somebody else. */
  private readonly writesNow: boolean;
  private readonly map = new FileMap();
  private pending = 0;

  constructor(engine: UringEngine, options: UringDeviceOptions) {
    this.engine = engine;
    this.loop = engine.loop;
    this.name = options.name;
    this.fd = options.fd;
    this.sectors = options.sectors;
    const { maxSegments } = options.limits;
    this.limits = { ...options.limits, maxSegments: Math.min(maxSegments, MAX_SEGMENTS) };
    this.direct = options.direct;
    this.writesNow = !this.direct && isLocal(options.fd);
    const fileBytes = options.sectors * SECTOR_SIZE;
    this.folios = options.direct ? null : folioSplitterFor(options.fd, fileBytes);
    this.sync = new SharedSync(this, [options.fd, ...(options.syncFds ?? [])]);
  }

  /** Its file is longer now; no bio is under way. */
  grow(sectors: number): void {
    this.sectors = sectors;
    if (this.folios !== null) this.folios = folioSplitterFor(this.fd, sectors * SECTOR_SIZE);
  }

  /** Operations under way. */
  get inFlight(): number {
    return this.pending;
  }

  submit(bio: Bio): void {
    this.pending += 1;
    this.map.heard(bio.op);
    const error = bioError(this, bio);
    if (error !== 0) this.end(bio, error);
    else if (this.sync.failed && needsSync(bio)) this.end(bio, ERRNO.EIO);
    else if (bio.op === REQ_OP.FLUSH) this.sync.cover(bio);
    else if (!this.isForNow(bio)) this.engine.take().start(this, bio, 0);
    else if (this.engine.inPlaceBytes > 0) this.moveNow(bio);
    else {
      this.putOff.push(bio);
      if (this.putOff.length === 1) this.engine.waits(this);
    }
  }

  /** A block device answers that all of it is data. */
  allocationAt(sector: number, sectors: number, run: Run): void {
    const calls = this.calls;
    if (hasSyscalls(calls)) this.map.allocationAt(calls, this.fd, sector, sectors, run);
    else run.set(sectors, RUN.DATA);
  }

  /** The oldest bio that was put off. True: there are more. */
  goOn(): boolean {
    const bio = this.putOff.shift();
    if (bio !== undefined) this.moveNow(bio);
    return this.putOff.length > 0;
  }

  /** The write and its sync are one operation: with O_DIRECT, where each write is the disk's at once. */
  syncsWith(bio: Bio): boolean {
    return this.direct && bio.op === REQ_OP.WRITE && (bio.flags & REQ_FLAG.FUA) !== 0;
  }

  /** The bio's data is where it belongs, or `errno` says why not. */
  moved(bio: Bio, errno: number): void {
    if (errno === ERRNO.OK && needsSync(bio) && !this.syncsWith(bio)) this.sync.cover(bio);
    else this.end(bio, errno);
  }

  end(bio: Bio, errno: number): void {
    this.pending -= 1;
    this.map.heard(bio.op);
    bio.error = errno;
    this.loop.defer(bio);
  }

  /** Small enough, in one piece, and on the page cache. */
  private isForNow(bio: Bio): boolean {
    if (this.direct || bio.vecCount !== 1 || bio.sectors * SECTOR_SIZE > IN_PLACE_BYTES) {
      return false;
    }
    if (bio.op === REQ_OP.READ) return this.readsNow;
    return bio.op === REQ_OP.WRITE && this.writesNow && this.engine.throttle.mayWrite();
  }

  private moveNow(bio: Bio): void {
    const bytes = bio.sectors * SECTOR_SIZE;
    const vec = bio.vecs[0]!;
    const offset = bio.sector * SECTOR_SIZE;
    this.engine.inPlaceBytes -= bytes;
    const { iovec, memory } = this.engine;
    memory.point(iovec, vec.page, vec.offset, bytes);
    const isRead = bio.op === REQ_OP.READ;
    if (!isRead && bytes <= SMALL_WRITE_BYTES) this.folios?.beforeWrite(offset);
    const result = isRead ? this.readNow(offset) : pwriteOne(this.fd, iovec, offset);
    if (result === bytes) this.moved(bio, ERRNO.OK);
    // What is left, or what went wrong, is for the ring.
    else this.engine.take().start(this, bio, result > 0 ? result : 0);
  }

  /** Bytes read without waiting for the disk, or minus the errno. */
  private readNow(offset: number): number {
    const result = preadNowait(this.fd, this.engine.iovec, offset);
    if (result === -ERRNO.EOPNOTSUPP) this.readsNow = false;
    return result;
  }
}

/** f_type of file systems behind which there is a process or a network: fuse, nfs, cifs, smb2, 9p, ceph. */
const DISTANT = new Set([0x65735546, 0x6969, 0xff534d42, 0xfe534d42, 0x01021997, 0x00c36400]);

/**
 * False: a write in place may wait for a process that has stopped, and with it all that the thread
 * does; so it goes through the ring, and can be given up on.
 */
function isLocal(fd: number): boolean {
  try {
    return !DISTANT.has(statfsSync(`/proc/self/fd/${fd}`).type);
  } catch {
    return true;
  }
}

function needsSync(bio: Bio): boolean {
  return bio.op === REQ_OP.FLUSH || (bio.op !== REQ_OP.READ && (bio.flags & REQ_FLAG.FUA) !== 0);
}
