import fs from 'node:fs';
import { assert } from '../../core/base/assert.ts';
import { ERRNO } from '../../core/base/errno.ts';
import { Pool } from '../../core/base/pool.ts';
import { Ring } from '../../core/base/ring.ts';
import { bytesOfSectors, SECTOR_SIZE } from '../../core/base/units.ts';
import type { Bio } from '../../core/block/bio.ts';
import { bioError } from '../../core/block/device.ts';
import type { BlockDevice } from '../../core/block/device.ts';
import { DEFAULT_LIMITS } from '../../core/block/limits.ts';
import type { QueueLimits } from '../../core/block/limits.ts';
import type { Loop } from '../../core/block/loop.ts';
import { hasData, isWriteOp, REQ_FLAG, REQ_OP } from '../../core/block/op.ts';
import { RUN, type Run } from '../../core/block/run.ts';
import { errnoOf } from '../sys/node-errors.ts';
import { FileMap } from '../sys/file-map.ts';
import type { Syscalls } from '../sys/syscalls.ts';
import { Transfer } from './transfer.ts';
import { ZERO_MORE, ZeroPlan } from './zero-plan.ts';
import type { MissingModes } from './zero-plan.ts';

/** Longest transfer: 1 MiB, so that a long request is spread over several threads. */
const MAX_SECTORS_PER_BIO = 2048;
/** Longest fallocate: 1 GiB, so that none keeps its thread for minutes. */
const MAX_ZERO_SECTORS_PER_BIO = 2097152;

/**
 * Transfers of one device that libuv has at once. With its sync they leave a thread free: one that does
 * not answer must not keep the others, and the record of who is in sync, from being served.
 */
const THREADS = Math.max(1, Number(process.env['UV_THREADPOOL_SIZE'] ?? 4) || 4);
const OPS_LIMIT = Math.max(1, THREADS - 2);
const OPS_RESERVE = 1;

/** What openFileDevice has found out about the file. */
export interface OpenedFile {
  readonly name: string;
  readonly loop: Loop;
  readonly fd: number;
  /**
   * A second open file description, for flushes on the caller's thread. Linux tells a write-back
   * error once to each description: two fdatasync on one could share one error, and the other
   * would call lost data durable.
   */
  readonly flushFd: number;
  /** `cache=none`: opened with O_DIRECT. */
  readonly direct: boolean;
  readonly sectors: number;
  readonly identity: string;
  readonly readOnly: boolean;
  readonly isBlockDevice: boolean;
  readonly logicalBlockSize: number;
  readonly missingModes: MissingModes;
  /** Null: no fallocate, and `missingModes` has all. */
  readonly syscalls: Syscalls | null;
  /** How long it is now: somebody may have made it longer. */
  currentBytes(): Promise<number>;
  /** Closes the descriptors, and so drops the lock. */
  release(): Promise<void>;
  /** The same, but takes back a creation first. */
  undo(): Promise<void>;
}

/**
 * A file or a block device through Node's fs: libuv's threads do the work, the loop tells the ends.
 * Buffered I/O. Bios with REQ_FLAG.SYNC are carried out inside submit, on the caller's thread.
 *
 * A sync covers every write that ended before it began, so FLUSH and FUA bios that come while one
 * runs share the next. After a failed sync none is believed any more: the kernel drops the pages it
 * could not write and calls the next sync well. Then FLUSH and FUA answer EIO until the file is
 * opened again.
 */
export class FileDevice implements BlockDevice {
  readonly name: string;
  readonly loop: Loop;
  /** Equal for two devices if and only if they are the same file, whatever their paths. */
  readonly identity: string;
  private readonly file: OpenedFile;
  private currentLimits: QueueLimits;
  private currentSectors: number;
  private readonly ops: Pool<FileOp>;
  /** Bios for which there was no op. */
  private readonly waiting = new Ring<Bio>(64);
  private bios = 0;
  private closed = false;

  private syncRunning = false;
  private syncFailed = false;
  /** Bios whose end the running sync decides, and those that came after it had begun. */
  private readonly syncCovers = new Ring<Bio>(64);
  private readonly syncNext = new Ring<Bio>(64);
  private readonly syncDone: (error: NodeJS.ErrnoException | null) => void;
  /** For SYNC bios. */
  private readonly transferNow: Transfer;
  private readonly zeroPlanNow = new ZeroPlan();
  private readonly map = new FileMap();

  constructor(file: OpenedFile) {
    this.name = file.name;
    this.currentSectors = file.sectors;
    this.loop = file.loop;
    this.identity = file.identity;
    this.file = file;
    this.currentLimits = limitsOf(file);
    this.transferNow = new Transfer(pagesFor(file));
    this.ops = new Pool(OPS_RESERVE, OPS_LIMIT, () => new FileOp(this, file));
    this.syncDone = (error) => {
      this.syncEnded(error === null ? ERRNO.OK : errnoOf(error));
    };
  }

  /** As of its opening, or of the last `lookAgain`. */
  get sectors(): number {
    return this.currentSectors;
  }

  /** A file that has grown: its device has too. One that has shrunk stays as it was, and says EIO there. */
  async lookAgain(): Promise<void> {
    const sectors = Math.floor((await this.file.currentBytes()) / SECTOR_SIZE);
    if (sectors > this.currentSectors) this.currentSectors = sectors;
  }

  /** Shrinks when the file system turns out not to support an operation. */
  get limits(): QueueLimits {
    return this.currentLimits;
  }

  /** The open descriptor, for an engine that moves the data itself; it stays ours to close. */
  get fd(): number {
    return this.file.fd;
  }

  /** Further descriptions of the file, for syncs beside each other. */
  get syncFds(): readonly number[] {
    return [this.file.flushFd];
  }

  /** Opened with O_DIRECT. */
  get isDirect(): boolean {
    return this.file.direct;
  }

  /** Bios that have not ended. */
  get inFlight(): number {
    return this.bios;
  }

  submit(bio: Bio): void {
    assert(!this.closed, 'a bio for a closed file');
    this.bios += 1;
    this.map.heard(bio.op);
    const error = bioError(this, bio);
    if (error !== 0 || (bio.sectors === 0 && bio.op !== REQ_OP.FLUSH)) this.end(bio, error);
    else if ((bio.flags & REQ_FLAG.SYNC) !== 0) this.end(bio, this.executeNow(bio));
    else if (bio.op === REQ_OP.FLUSH) this.queueSync(bio);
    else if (this.ops.isEmpty) this.waiting.push(bio);
    else this.startOp(bio);
  }

  /** A block device does not say what it has allocated. */
  allocationAt(sector: number, sectors: number, run: Run): void {
    const { fd, isBlockDevice, syscalls } = this.file;
    if (isBlockDevice || syscalls === null) run.set(sectors, RUN.DATA);
    else this.map.allocationAt(syscalls, fd, sector, sectors, run);
  }

  /** Only while nothing is in flight. Drops the lock; flushes nothing: that is the owner's to do. */
  async close(): Promise<void> {
    this.beClosed();
    await this.file.release();
  }

  /**
   * Closes, and removes the file if this opening made it: for an owner whose next step failed, so
   * that a refused command leaves nothing behind.
   */
  async abandon(): Promise<void> {
    this.beClosed();
    await this.file.undo();
  }

  private beClosed(): void {
    assert(!this.closed, 'a file closed twice');
    assert(this.bios === 0, 'a file closed with I/O in flight');
    this.closed = true;
  }

  /** An op has ended with `errno`; called by libuv. */
  opEnded(op: FileOp, bio: Bio, errno: number): void {
    this.ops.put(op);
    const next = this.waiting.shift();
    if (next !== undefined) this.startOp(next);
    if (errno === ERRNO.EOPNOTSUPP) this.currentLimits = limitsOf(this.file);
    const durable = (bio.flags & REQ_FLAG.FUA) !== 0 && isWriteOp(bio.op);
    if (errno === 0 && durable) this.queueSync(bio);
    else this.end(bio, errno);
  }

  private startOp(bio: Bio): void {
    const op = this.ops.get();
    assert(op !== undefined, 'a file op was promised');
    op.begin(bio);
  }

  private end(bio: Bio, errno: number): void {
    assert(this.bios > 0, 'a bio ended twice');
    this.bios -= 1;
    this.map.heard(bio.op);
    bio.error = errno;
    this.loop.defer(bio);
  }

  private queueSync(bio: Bio): void {
    if (this.syncFailed) {
      this.end(bio, ERRNO.EIO);
      return;
    }
    this.syncNext.push(bio);
    if (!this.syncRunning) this.startSync();
  }

  private startSync(): void {
    assert(!this.syncRunning && this.syncCovers.length === 0, 'one sync at a time');
    this.syncRunning = true;
    for (let bio = this.syncNext.shift(); bio !== undefined; bio = this.syncNext.shift()) {
      this.syncCovers.push(bio);
    }
    fs.fdatasync(this.file.fd, this.syncDone);
  }

  private syncEnded(errno: number): void {
    this.syncRunning = false;
    if (errno !== 0) this.syncFailed = true;
    const verdict = this.syncFailed ? errno || ERRNO.EIO : ERRNO.OK;
    for (let bio = this.syncCovers.shift(); bio !== undefined; bio = this.syncCovers.shift()) {
      this.end(bio, verdict);
    }
    if (this.syncNext.length === 0) return;
    if (!this.syncFailed) {
      this.startSync();
      return;
    }
    for (let bio = this.syncNext.shift(); bio !== undefined; bio = this.syncNext.shift()) {
      this.end(bio, ERRNO.EIO);
    }
  }

  /** The whole bio on this thread; returns its errno. */
  private executeNow(bio: Bio): number {
    if (bio.op === REQ_OP.FLUSH) return this.syncNow();
    const errno = hasData(bio.op) ? this.moveNow(bio) : this.zeroNow(bio);
    if (errno === ERRNO.EOPNOTSUPP) this.currentLimits = limitsOf(this.file);
    const durable = (bio.flags & REQ_FLAG.FUA) !== 0 && isWriteOp(bio.op);
    return errno === 0 && durable ? this.syncNow() : errno;
  }

  private moveNow(bio: Bio): number {
    const transfer = this.transferNow;
    transfer.begin(bio);
    for (;;) {
      try {
        const bytes = transfer.callNow(this.file.fd, bio);
        if (bytes === 0) return ERRNO.ENXIO;
        if (!transfer.moved(bio, bytes)) return ERRNO.OK;
      } catch (error) {
        const errno = errnoOf(error);
        if (!transfer.mayRetry(errno)) return errno;
      }
    }
  }

  private zeroNow(bio: Bio): number {
    const { fd, syscalls, missingModes } = this.file;
    assert(syscalls !== null, 'zeros without fallocate');
    const plan = this.zeroPlanNow;
    const offset = bytesOfSectors(bio.sector);
    const length = bytesOfSectors(bio.sectors);
    let verdict = plan.begin(bio, missingModes);
    while (verdict === ZERO_MORE) {
      verdict = plan.next(syscalls.fallocate(fd, plan.mode, offset, length), missingModes);
    }
    return verdict;
  }

  private syncNow(): number {
    if (this.syncFailed) return ERRNO.EIO;
    try {
      fs.fdatasyncSync(this.file.flushFd);
      return ERRNO.OK;
    } catch (error) {
      this.syncFailed = true;
      return errnoOf(error);
    }
  }
}

/** One READ, WRITE, DISCARD or WRITE_ZEROES with libuv. Its callbacks are made once. */
class FileOp {
  private bio: Bio | null = null;
  private readonly device: FileDevice;
  private readonly file: OpenedFile;
  private readonly transfer: Transfer;
  private readonly zeroPlan = new ZeroPlan();
  private readonly transferDone: (error: NodeJS.ErrnoException | null, bytes: number) => void;
  private readonly zeroDone: (errno: number) => void;

  constructor(device: FileDevice, file: OpenedFile) {
    this.device = device;
    this.file = file;
    this.transfer = new Transfer(pagesFor(file));
    this.transferDone = (error, bytes) => {
      this.transferred(error, bytes);
    };
    this.zeroDone = (errno) => {
      this.goOnZeroing(this.zeroPlan.next(errno, file.missingModes));
    };
  }

  begin(bio: Bio): void {
    assert(this.bio === null, 'a file op is in use');
    this.bio = bio;
    if (hasData(bio.op)) {
      this.transfer.begin(bio);
      this.transfer.start(this.file.fd, bio, this.transferDone);
    } else {
      this.goOnZeroing(this.zeroPlan.begin(bio, this.file.missingModes));
    }
  }

  private transferred(error: NodeJS.ErrnoException | null, bytes: number): void {
    const bio = this.bio;
    assert(bio !== null, 'a file op ended twice');
    if (error !== null) {
      const errno = errnoOf(error);
      if (!this.transfer.mayRetry(errno)) {
        this.end(errno);
        return;
      }
    } else if (bytes === 0) {
      // The file ends here: it was cut under our feet.
      this.end(ERRNO.ENXIO);
      return;
    } else if (!this.transfer.moved(bio, bytes)) {
      this.end(ERRNO.OK);
      return;
    }
    this.transfer.start(this.file.fd, bio, this.transferDone);
  }

  private goOnZeroing(verdict: number): void {
    const { fd, syscalls } = this.file;
    const bio = this.bio;
    assert(bio !== null, 'a file op ended twice');
    if (verdict !== ZERO_MORE) {
      this.end(verdict);
      return;
    }
    assert(syscalls !== null, 'zeros without fallocate');
    const offset = bytesOfSectors(bio.sector);
    const length = bytesOfSectors(bio.sectors);
    syscalls.fallocateAsync(fd, this.zeroPlan.mode, offset, length, this.zeroDone);
  }

  private end(errno: number): void {
    const bio = this.bio;
    assert(bio !== null, 'a file op ended twice');
    this.bio = null;
    this.device.opEnded(this, bio, errno);
  }
}

/** Memory that O_DIRECT is content with, or null: any will do. */
function pagesFor({ direct, syscalls }: OpenedFile): Syscalls['pages'] | null {
  if (!direct) return null;
  assert(syscalls !== null, 'O_DIRECT without system calls');
  return syscalls.pages;
}

function limitsOf(file: OpenedFile): QueueLimits {
  const { canPunch, canZero } = file.missingModes;
  // A hole punched into a block device is a WRITE_ZEROES; its discard is an ioctl Node has not.
  const canDiscard = canPunch && !file.isBlockDevice;
  return {
    ...DEFAULT_LIMITS,
    logicalBlockSize: file.logicalBlockSize,
    maxSectors: MAX_SECTORS_PER_BIO,
    maxDiscardSectors: canDiscard ? MAX_ZERO_SECTORS_PER_BIO : 0,
    maxWriteZeroesSectors: canZero ? MAX_ZERO_SECTORS_PER_BIO : 0,
    // What the kernel cannot do by the device itself it writes.
    slowZeroes: file.isBlockDevice && !canPunch,
    discardZeroes: canDiscard,
    readOnly: file.readOnly,
  };
}
