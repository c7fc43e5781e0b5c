import { assert } from '../base/assert.ts';
import { ERRNO } from '../base/errno.ts';
import { bytesOfSectors, sectorsFloor } from '../base/units.ts';
import type { BlockDevice } from '../block/device.ts';
import { REQ_OP } from '../block/op.ts';
import { DmIoClient } from '../dm-io/client.ts';
import { DmIoRequest, type DmIoOwner } from '../dm-io/request.ts';
import { diskLogBytes, writeDiskLog } from './disk-log-format.ts';
import type { RegionBits } from './region-bits.ts';

/** What is written at once, but for the last block of a log, which may be shorter. */
export const LOG_BLOCK_BYTES = 4096;
const BLOCK_SECTORS = sectorsFloor(LOG_BLOCK_BYTES);

/** The kernel's letters: alive, a write failed, a flush failed. */
export type LogHealth = 'A' | 'D' | 'F';

interface Job {
  readonly blocks: readonly number[];
  /** Brings the image up to date, just before it is written. */
  readonly prepare: () => void;
  readonly done: (errno: number) => void;
}

/**
 * The device of a `disk` log, and what is to be on it. One write is under way at a time, and each is
 * flushed before it is told of: the marks and the record of who is in sync share it. Sectors of one
 * write may land in any order, or some of them only: nothing in one depends on another.
 */
export class DiskLog implements DmIoOwner {
  readonly device: BlockDevice;
  readonly regions: number;
  readonly blocks: number;
  /** The whole log, as it was written last. Only `prepare` may change it. */
  readonly image: Uint8Array;
  health: LogHealth = 'A';
  /** Told when `health` has changed. */
  onHealth: (errno: number) => void = () => undefined;
  private client: DmIoClient | null = null;
  private readonly request = new DmIoRequest();
  private readonly jobs: Job[] = [];
  private isFlushing = false;

  /** `found`: the log as it was read; null: there is none, the device holds zeros. */
  constructor(device: BlockDevice, dirty: RegionBits, found: Uint8Array | null) {
    this.device = device;
    this.regions = dirty.total;
    const length = diskLogBytes(dirty.total, device.limits.logicalBlockSize);
    assert(bytesOfSectors(device.sectors) >= length, 'a log longer than its device');
    this.image = new Uint8Array(length);
    if (found !== null) this.image.set(found.subarray(0, length));
    writeDiskLog(this.image, dirty);
    this.blocks = Math.ceil(length / LOG_BLOCK_BYTES);
    this.request.owner = this;
  }

  /** `done` is called once, never from inside: 0 when the blocks are durable. */
  write(blocks: readonly number[], prepare: () => void, done: (errno: number) => void): void {
    this.jobs.push({ blocks, prepare, done });
    if (this.jobs.length === 1) this.send();
  }

  private send(): void {
    const [job] = this.jobs;
    assert(job !== undefined, 'a write of the log without a job');
    job.prepare();
    const { request } = this;
    request.op = REQ_OP.WRITE;
    request.memory.setBytes(this.image, 0);
    request.clearRegions();
    for (const block of job.blocks) {
      const first = block * BLOCK_SECTORS;
      const sectors = Math.min(BLOCK_SECTORS, sectorsFloor(this.image.length) - first);
      request.addRegion(this.device, first, sectors, first);
    }
    this.client ??= new DmIoClient(this.device.loop);
    this.client.submit(request);
  }

  dmIoDone(request: DmIoRequest): void {
    if (!request.errorBits.isEmpty) {
      this.end(this.errnoOf(request), this.isFlushing ? 'F' : 'D');
    } else if (this.isFlushing) {
      this.end(ERRNO.OK, 'A');
    } else {
      this.isFlushing = true;
      request.op = REQ_OP.FLUSH;
      request.memory.setNone();
      request.clearRegions();
      request.addRegion(this.device, 0, 0);
      this.client?.submit(request);
    }
  }

  private end(errno: number, health: LogHealth): void {
    this.isFlushing = false;
    const hasChanged = health !== this.health;
    this.health = health;
    const job = this.jobs.shift();
    assert(job !== undefined, 'a write of the log ended without a job');
    if (hasChanged) this.onHealth(errno);
    if (this.jobs.length > 0) this.send();
    job.done(errno);
  }

  private errnoOf(request: DmIoRequest): number {
    for (let i = 0; i < request.regionCount; i += 1) {
      if (request.errorBits.test(i)) return request.regions[i]?.error ?? ERRNO.EIO;
    }
    return ERRNO.EIO;
  }
}
