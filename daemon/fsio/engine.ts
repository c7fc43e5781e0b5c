import { constants } from 'node:fs';
import type { BigIntStats } from 'node:fs';
import fs from 'node:fs';
import { dirname } from 'node:path';
import { promisify } from 'node:util';
import { setTimeout as sleep } from 'node:timers/promises';
import { assert } from '../../core/base/assert.ts';
import { ERRNO, errnoName } from '../../core/base/errno.ts';
import { MAX_BYTES, SECTOR_SIZE } from '../../core/base/units.ts';
import type { Loop } from '../../core/block/loop.ts';
import type { CacheMode } from '../../core/control/cache.ts';
import { errorCodeOf } from '../sys/node-errors.ts';
import { hasSyscalls, loadSyscalls, LOCK } from '../sys/syscalls.ts';
import type { NoSyscalls, Syscalls } from '../sys/syscalls.ts';
import { blockDeviceFacts } from './block-device-facts.ts';
import type { BlockDeviceFacts } from './block-device-facts.ts';
import { directBlockBytes, PROBE_BYTES } from './direct.ts';
import { FileDevice } from './file-device.ts';
import { OpenError, openErrorOf } from './open-error.ts';
import { MissingModes, PROBE_MODE } from './zero-plan.ts';

export interface OpenFileOptions {
  /** Where the device's bios end. */
  readonly loop: Loop;
  readonly readOnly: boolean;
  /** When nothing is at the path, or an empty file: make it, sparse and this long. */
  readonly create?: { readonly sizeBytes: number };
  /** Default: `none`, which is O_DIRECT, for a block device, where it can be; `writeback` for a file. */
  readonly cache?: CacheMode | undefined;
  /** Hold an exclusive lock until close; a file somebody else has locked is refused. */
  readonly exclusive: boolean;
  /** For tests: the system calls, or why there are none. */
  readonly syscalls?: Syscalls | NoSyscalls;
}

/** udev looks into a block device under a lock of its own, for a moment, when something closed it. */
const LOCK_TRIES = { regular: 1, block: 20 } as const;
const LOCK_PAUSE_MS = 50;

/** Files this process holds exclusively: identity -> path. flock cannot tell us from others. */
const heldFiles = new Map<string, string>();

const stat = promisify(fs.stat);
const fstat = promisify(fs.fstat);
const open = promisify(fs.open);
const close = promisify(fs.close);
const unlink = promisify(fs.unlink);
const ftruncate = promisify(fs.ftruncate);
const fsync = promisify(fs.fsync);

/**
 * Opens a regular file or a block device as a BlockDevice. What is refused leaves nothing behind:
 * no lock, no descriptor, no half-made file.
 * @throws OpenError one sentence that names the path
 */
export async function openFileDevice(path: string, options: OpenFileOptions): Promise<FileDevice> {
  const opening = new Opening(path, options);
  try {
    return await opening.run();
  } catch (error) {
    // What went wrong first is what the user has to know.
    await opening.undo().catch(() => undefined);
    throw openErrorOf(path, error);
  }
}

/**
 * Refuses two paths of one file, also through symbolic and hard links. Paths where nothing is yet
 * are left out; openFileDevice refuses the second of them.
 * @throws OpenError naming both paths
 */
export async function checkDistinct(paths: readonly string[]): Promise<void> {
  const seen = new Map<string, string>();
  for (const path of paths) {
    const stats = await statOrUndefined(path);
    if (stats === undefined) continue;
    const identity = identityOf(stats);
    const twin = seen.get(identity);
    if (twin !== undefined) {
      const what =
        twin === path ? `${path} is named twice` : `${twin} and ${path} are the same file`;
      throw new OpenError('same-file', what);
    }
    seen.set(identity, path);
  }
}

/** One attempt to open, with what must be undone should it fail. */
class Opening {
  private readonly path: string;
  private readonly options: OpenFileOptions;
  private readonly syscalls: Syscalls | NoSyscalls;
  private readonly fds: number[] = [];
  private heldIdentity: string | undefined;
  /** What the creation did: a new file is removed again, an empty one is emptied again. */
  private made: 'nothing' | 'file' | 'content' = 'nothing';
  /** The lock, or the path, has gone to somebody else. */
  private isTheirs = false;

  constructor(path: string, options: OpenFileOptions) {
    this.path = path;
    this.options = options;
    this.syscalls = options.syscalls ?? loadSyscalls();
  }

  async run(): Promise<FileDevice> {
    const { path, options, syscalls } = this;
    const found = await statOrUndefined(path);
    if (found !== undefined) checkKind(path, found);
    const fd = found === undefined ? await this.createFile() : await this.openFound(found);
    const opened = await fstat(fd, { bigint: true });
    checkKind(path, opened);
    const identity = identityOf(opened);
    const isBlockDevice = opened.isBlockDevice();
    if (options.exclusive) await this.lock(fd, identity, isBlockDevice);
    await this.giveContent(fd);
    const facts = isBlockDevice ? await blockDeviceFacts(opened.rdev) : await fileFacts(fd);
    checkSize(path, facts.sizeBytes);
    if (facts.readOnly && !options.readOnly) {
      throw new OpenError('read-only', `${path} is a read-only device`);
    }
    const calls = hasSyscalls(syscalls) ? syscalls : null;
    const direct = this.goDirect(fd, isBlockDevice);
    const canProbe = !options.readOnly && !isBlockDevice;
    return new FileDevice({
      name: path,
      loop: options.loop,
      fd,
      flushFd: await this.openAgain(fd),
      sectors: facts.sizeBytes / SECTOR_SIZE,
      identity,
      readOnly: options.readOnly,
      isBlockDevice,
      logicalBlockSize: direct ? await directBlock(fd, facts, calls) : facts.logicalBlockSize,
      direct,
      missingModes: canProbe ? probeModes(calls, fd, facts.sizeBytes) : unprobedModes(calls),
      syscalls: calls,
      currentBytes: async () =>
        (isBlockDevice ? await blockDeviceFacts(opened.rdev) : await fileFacts(fd)).sizeBytes,
      release: () => this.release(),
      undo: () => this.undo(),
    });
  }

  /** Closes; the lock goes with the descriptor. */
  async release(): Promise<void> {
    if (this.heldIdentity !== undefined) heldFiles.delete(this.heldIdentity);
    this.heldIdentity = undefined;
    // Linux lets go of a descriptor whatever close says; what had to be durable was flushed before.
    for (const fd of this.fds.splice(0)) await close(fd).catch(() => undefined);
  }

  /**
   * Takes back what the opening did to the file system, then closes. When somebody else was faster
   * to lock the file, or to replace it, it is theirs and stays.
   */
  async undo(): Promise<void> {
    const fd = this.fds[0];
    try {
      if (fd === undefined || this.isTheirs) return;
      if (this.made === 'file') await unlink(this.path);
      if (this.made === 'content') await ftruncate(fd, 0);
    } finally {
      this.made = 'nothing';
      await this.release();
    }
  }

  private async createFile(): Promise<number> {
    const { path, options } = this;
    if (options.create === undefined || options.readOnly) {
      throw new OpenError('missing', `${path} does not exist`);
    }
    const { O_RDWR, O_CREAT, O_EXCL } = constants;
    try {
      // The owner's only: it will hold the content of a disk.
      const fd = await open(path, O_RDWR | O_CREAT | O_EXCL, 0o600);
      this.fds.push(fd);
      this.made = 'file';
      return fd;
    } catch (error) {
      if (errorCodeOf(error) !== 'ENOENT') throw error;
      throw new OpenError('missing', `${path} cannot be made: ${dirname(path)} does not exist`);
    }
  }

  private async openFound(found: BigIntStats): Promise<number> {
    const { readOnly, exclusive } = this.options;
    const { O_RDONLY, O_RDWR, O_EXCL } = constants;
    // For a block device O_EXCL asks the kernel whether it is mounted, or part of something.
    const claim = found.isBlockDevice() && exclusive && !readOnly ? O_EXCL : 0;
    const fd = await open(this.path, (readOnly ? O_RDONLY : O_RDWR) | claim);
    this.fds.push(fd);
    return fd;
  }

  /** True: the descriptor goes around the page cache, as asked or because that is its kind's default. */
  private goDirect(fd: number, isBlockDevice: boolean): boolean {
    const { path, syscalls } = this;
    const { cache } = this.options;
    if ((cache ?? (isBlockDevice ? 'none' : 'writeback')) === 'writeback') return false;
    const errno = hasSyscalls(syscalls) ? syscalls.setDirect(fd) : ERRNO.ENOSYS;
    if (errno === ERRNO.OK) return true;
    if (cache === undefined) return false;
    const why = errno === ERRNO.EINVAL ? 'its file system has no O_DIRECT' : errnoName(errno);
    const message = `${path} cannot have cache=none: ${why}; cache=writeback can be had`;
    throw new OpenError('no-direct', message);
  }

  /** Through /proc the same file is met, whatever the path has become meanwhile. */
  private async openAgain(fd: number): Promise<number> {
    const { O_RDONLY, O_RDWR } = constants;
    const flags = this.options.readOnly ? O_RDONLY : O_RDWR;
    const again = await open(`/proc/self/fd/${fd}`, flags);
    this.fds.push(again);
    return again;
  }

  private async lock(fd: number, identity: string, isBlockDevice: boolean): Promise<void> {
    const { path, syscalls } = this;
    if (!hasSyscalls(syscalls)) {
      throw new OpenError('failed', `${path} cannot be locked: no flock, ${syscalls.reason}`);
    }
    const holder = heldFiles.get(identity);
    if (holder !== undefined) {
      this.isTheirs = true;
      const as = holder === path ? '' : ` as ${holder}`;
      throw new OpenError('busy', `${path} is already open in this process${as}`);
    }
    let triesLeft: number = isBlockDevice ? LOCK_TRIES.block : LOCK_TRIES.regular;
    for (;;) {
      const errno = syscalls.flock(fd, LOCK.EX | LOCK.NB);
      triesLeft -= 1;
      if (errno === ERRNO.OK) break;
      if (errno !== ERRNO.EAGAIN) {
        throw new OpenError('failed', `${path} cannot be locked: ${errnoName(errno)}`);
      }
      if (triesLeft === 0) {
        this.isTheirs = true;
        throw new OpenError('busy', `${path} is in use: another process holds its lock`);
      }
      await sleep(LOCK_PAUSE_MS);
    }
    heldFiles.set(identity, path);
    this.heldIdentity = identity;
    // Whoever had the lock before us may have removed the file meanwhile.
    const now = await statOrUndefined(path);
    if (now === undefined || identityOf(now) !== identity) {
      this.isTheirs = true;
      throw new OpenError('busy', `${path} was replaced while it was being opened`);
    }
  }

  /** Gives a new or an empty file its size, and makes sure that a crash leaves it that way. */
  private async giveContent(fd: number): Promise<void> {
    const { path, options } = this;
    const stats = await fstat(fd, { bigint: true });
    if (!stats.isFile() || stats.size > 0n) return;
    if (options.create === undefined || options.readOnly) {
      throw new OpenError('empty', `${path} is empty`);
    }
    const { sizeBytes } = options.create;
    checkSize(path, sizeBytes);
    if (this.made === 'nothing') this.made = 'content';
    await ftruncate(fd, sizeBytes);
    await fsync(fd);
    const directory = await open(dirname(path), constants.O_RDONLY);
    await fsync(directory).finally(() => close(directory));
  }
}

/** A regular file as if sysfs knew it. */
async function fileFacts(fd: number): Promise<BlockDeviceFacts> {
  const { size } = await fstat(fd, { bigint: true });
  return { sizeBytes: Number(size), logicalBlockSize: SECTOR_SIZE, readOnly: false };
}

async function directBlock(
  fd: number,
  { logicalBlockSize, sizeBytes }: BlockDeviceFacts,
  calls: Syscalls | null,
): Promise<number> {
  assert(calls !== null, 'O_DIRECT without system calls');
  return directBlockBytes(fd, logicalBlockSize, sizeBytes, calls.pages(PROBE_BYTES));
}

/** What fallocate can be asked for; nothing when there is none. */
function unprobedModes(syscalls: Syscalls | null): MissingModes {
  const missing = new MissingModes();
  if (syscalls === null) missing.addAll();
  return missing;
}

/** Asks beyond the end, where nothing can be lost: the answer tells what the file system can do. */
function probeModes(syscalls: Syscalls | null, fd: number, sizeBytes: number): MissingModes {
  const missing = unprobedModes(syscalls);
  const errno = syscalls?.fallocate(fd, PROBE_MODE, sizeBytes, SECTOR_SIZE);
  if (errno === ERRNO.EOPNOTSUPP || errno === ERRNO.ENOSYS) missing.add(PROBE_MODE);
  return missing;
}

function checkKind(path: string, stats: BigIntStats): void {
  if (stats.isFile() || stats.isBlockDevice()) return;
  const wanted = 'a file or a block device is wanted';
  if (stats.isDirectory()) throw new OpenError('directory', `${path} is a directory, ${wanted}`);
  const kind = stats.isFIFO() ? 'FIFO' : stats.isSocket() ? 'socket' : 'character device';
  throw new OpenError('not-a-device', `${path} is a ${kind}, ${wanted}`);
}

function checkSize(path: string, sizeBytes: number): void {
  if (sizeBytes === 0) throw new OpenError('empty', `${path} is empty`);
  if (sizeBytes % SECTOR_SIZE !== 0) {
    throw new OpenError('size', `${path} has ${sizeBytes} bytes, not a multiple of ${SECTOR_SIZE}`);
  }
  if (sizeBytes > MAX_BYTES) {
    throw new OpenError('size', `${path} has ${sizeBytes} bytes, more than 2^53 - 1`);
  }
}

/** A block device is its number, whichever of its nodes was named. */
function identityOf(stats: BigIntStats): string {
  return stats.isBlockDevice() ? `block:${stats.rdev}` : `${stats.dev}:${stats.ino}`;
}

async function statOrUndefined(path: string): Promise<BigIntStats | undefined> {
  try {
    return await stat(path, { bigint: true });
  } catch (error) {
    if (errorCodeOf(error) === 'ENOENT') return undefined;
    throw openErrorOf(path, error);
  }
}
