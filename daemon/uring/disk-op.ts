import { assert } from '../../core/base/assert.ts';
import { ERRNO } from '../../core/base/errno.ts';
import { SECTOR_SIZE } from '../../core/base/units.ts';
import type { Bio } from '../../core/block/bio.ts';
import { hasData, REQ_FLAG, REQ_OP } from '../../core/block/op.ts';
import { copyAligned } from '../fsio/transfer.ts';
import { OP, RWF_DSYNC } from './abi.ts';
import type { UringDevice, UringEngine } from './engine.ts';
import { IOVEC_BYTES, type MappedBytes } from './memory.ts';
import { RingOp } from './ring.ts';

/** Pieces of memory in one bio; each operation has room for as many iovecs. */
export const MAX_SEGMENTS = 64;
const FALLOC_KEEP_SIZE = 1;
const FALLOC_PUNCH_HOLE = 2;
const FALLOC_ZERO_RANGE = 16;
const EINTR = 4;

/** One bio on its way through the ring; short results go on where they stopped. */
export class DiskOp extends RingOp {
  private readonly engine: UringEngine;
  /** Address and typed view of the record's iovecs. */
  private readonly iovecAddress: number;
  private readonly iovecs: Uint32Array;
  private device: UringDevice | null = null;
  private bio: Bio | null = null;
  private done = 0;
  /** A FUA write whose sync goes with it (O_DIRECT), again without. */
  private retried = false;

  constructor(engine: UringEngine) {
    super();
    this.engine = engine;
    const room = engine.memory.carve(MAX_SEGMENTS * IOVEC_BYTES);
    this.iovecAddress = room.address;
    this.iovecs = room.words;
    engine.ring.register(this);
  }

  /**
   * Where O_DIRECT moves the data when the bio's own memory does not begin at a block: memory of a
   * region copy, or of a log. A client's request is in the arena, whose slots do.
   */
  private bounce: MappedBytes | null = null;
  private isBounced = false;

  /** `done`: bytes that are moved already. */
  start(device: UringDevice, bio: Bio, done: number): void {
    assert(this.bio === null, 'a disk operation in use was started');
    this.device = device;
    this.bio = bio;
    this.done = done;
    this.retried = false;
    this.isBounced = device.direct && hasData(bio.op) && !this.isAligned(bio);
    if (this.isBounced) this.fillBounce(bio);
    this.issue();
  }

  /** All pieces begin and end at blocks of the device. */
  private isAligned(bio: Bio): boolean {
    const block = this.device!.limits.logicalBlockSize;
    for (let i = 0; i < bio.vecCount; i += 1) {
      const vec = bio.vecs[i]!;
      const address = this.engine.memory.addressOf(vec.page) + vec.offset;
      if (address % block !== 0 || vec.length % block !== 0) return false;
    }
    return true;
  }

  private fillBounce(bio: Bio): void {
    const bytes = bio.sectors * SECTOR_SIZE;
    if (this.bounce === null || this.bounce.bytes.length < bytes) {
      this.bounce = this.engine.memory.pages(bytes);
    }
    if (bio.op === REQ_OP.WRITE) copyAligned(bio, this.bounce.bytes);
  }

  private issue(): void {
    const bio = this.bio!;
    const { fd } = this.device!;
    const offset = bio.sector * SECTOR_SIZE + this.done;
    if (bio.op === REQ_OP.READ || bio.op === REQ_OP.WRITE) {
      this.issueData(bio, fd, offset);
      return;
    }
    assert(bio.op !== REQ_OP.FLUSH, 'a flush is shared, and has no operation of its own');
    // fallocate(2) through the ring: length in `addr`, mode in `len`.
    const keep = bio.op === REQ_OP.WRITE_ZEROES && (bio.flags & REQ_FLAG.NOUNMAP) !== 0;
    const mode = FALLOC_KEEP_SIZE | (keep ? FALLOC_ZERO_RANGE : FALLOC_PUNCH_HOLE);
    const bytes = bio.sectors * SECTOR_SIZE;
    this.engine.ring.prepare(this, OP.FALLOCATE, fd, bytes, mode, offset, 0);
  }

  private issueData(bio: Bio, fd: number, offset: number): void {
    const ring = this.engine.ring;
    const bytes = bio.sectors * SECTOR_SIZE - this.done;
    const write = bio.op === REQ_OP.WRITE;
    const flags = this.device!.syncsWith(bio) && !this.retried ? RWF_DSYNC : 0;
    if (this.isBounced) {
      const address = this.bounce!.address + this.done;
      ring.prepare(this, write ? OP.WRITE : OP.READ, fd, address, bytes, offset, flags);
      return;
    }
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
      if (this.isBounced && bio.op === REQ_OP.READ) copyAligned(bio, this.bounce!.bytes);
    }
    if (this.retried) {
      this.device!.sync.markFailed();
      this.finish(ERRNO.EIO);
      return;
    }
    this.finish(ERRNO.OK);
  }

  /**
   * A write that failed together with its sync does not say which half of it did: the write is tried
   * alone, and if that works it was the sync.
   */
  private failed(errno: number): void {
    const bio = this.bio!;
    if (this.device!.syncsWith(bio) && !this.retried) {
      this.retried = true;
      this.done = 0;
      this.issue();
      return;
    }
    this.finish(errno);
  }

  private finish(errno: number): void {
    const bio = this.bio!;
    const device = this.device!;
    this.bio = null;
    this.device = null;
    this.engine.give(this);
    device.moved(bio, errno);
  }
}
