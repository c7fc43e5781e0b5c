import { assert } from '../base/assert.ts';
import { errnoName } from '../base/errno.ts';
import { LOG_BLOCK_BYTES, type DiskLog } from './disk-log.ts';
import { DISK_LOG_BITS_AT } from './disk-log-format.ts';
import { STANDING } from './leg.ts';
import { RegionBits } from './region-bits.ts';
import type { RegionLog, RegionLogStore } from './region-log.ts';
import { REGION_STATE } from './region-map.ts';
import type { MirrorSet } from './set.ts';

/**
 * The region log on a device of its own, in the kernel's format. A bit is clean only where nobody
 * writes, nothing waits for a flush, members are equal, and no leg of the table lacks the region: the
 * kernel believes all legs of a clean region.
 */
export class DiskStore implements RegionLogStore {
  /** One bit does not say which leg: a leg that is out by the record is filled from the start. */
  readonly keepsLacks = false;
  readonly blocks: number;
  private readonly log: DiskLog;
  /** Regions that are 0 in the log as it was written last, because a leg lacks them. */
  private readonly held: RegionBits;
  /** Blocks of which nobody knows what is on the device. */
  private readonly unknown: RegionBits;
  private set: MirrorSet | null = null;

  constructor(log: DiskLog) {
    this.log = log;
    this.blocks = log.blocks;
    this.held = new RegionBits(log.regions);
    this.unknown = new RegionBits(log.blocks);
  }

  /** The log's part of the kernel's status line. */
  get statusWords(): string {
    return `3 disk ${this.log.device.name} ${this.log.health}`;
  }

  attach(set: MirrorSet): void {
    this.set = set;
    this.log.onHealth = (errno) => {
      this.tellHealth(set, errno);
    };
  }

  private tellHealth(set: MirrorSet, errno: number): void {
    const { health, device } = this.log;
    if (health === 'A') {
      set.log.info({ device: set.name, log: device.name }, 'the dirty log can be written again');
      return;
    }
    const what = health === 'F' ? 'flushed' : 'written';
    set.emit(
      'log-failed',
      null,
      `the dirty log ${device.name} cannot be ${what}: ${errnoName(errno)}; writes get that error`,
    );
  }

  blockOf(region: number): number {
    return Math.floor((DISK_LOG_BITS_AT + (region >>> 3)) / LOG_BLOCK_BYTES);
  }

  regionsOf(block: number): { readonly first: number; readonly last: number } | null {
    const start = Math.max(DISK_LOG_BITS_AT, block * LOG_BLOCK_BYTES);
    const first = (start - DISK_LOG_BITS_AT) * 8;
    if (first >= this.log.regions) return null;
    const end = ((block + 1) * LOG_BLOCK_BYTES - DISK_LOG_BITS_AT) * 8;
    return { first, last: Math.min(this.log.regions, end) - 1 };
  }

  usedBlocks(used: RegionBits): void {
    used.setRange(0, this.blocks - 1);
  }

  lackBlocksDue(due: RegionBits): void {
    due.addAll(this.unknown);
    const lacked = this.lacked();
    if (lacked.count === 0 && this.held.count === 0) return;
    for (let block = 0; block < this.blocks; block += 1) {
      const range = this.regionsOf(block);
      if (range === null || !lacked.differsIn(this.held, range.first, range.last)) continue;
      due.setRange(block, block);
    }
  }

  lackBlocksOf(_slot: number, due: RegionBits): void {
    this.usedBlocks(due);
  }

  write(
    blocks: readonly number[],
    log: RegionLog,
    mayClear: boolean,
    done: (errno: number) => void,
  ): void {
    const prepare = (): void => {
      const lacked = this.lacked();
      for (const block of blocks) this.encode(block, log, lacked, mayClear);
    };
    this.log.write(blocks, prepare, (errno) => {
      for (const block of blocks) {
        if (errno === 0) this.unknown.clear(block);
        else this.unknown.setRange(block, block);
      }
      done(errno);
    });
  }

  /** The regions of the block, and which of them are 0 only because a leg lacks them. */
  private encode(block: number, log: RegionLog, lacked: RegionBits, mayClear: boolean): void {
    const range = this.regionsOf(block);
    if (range === null) return;
    const { image } = this.log;
    for (let { first: region } = range; region <= range.last; region += 1) {
      const isHeld = lacked.test(region) || (!mayClear && this.held.test(region));
      if (isHeld) this.held.setRange(region, region);
      else this.held.clear(region);
      const isClean = !isHeld && log.stateOf(region) !== REGION_STATE.DIRTY;
      const at = DISK_LOG_BITS_AT + (region >>> 3);
      const mask = 1 << (region & 7);
      image[at] = isClean ? (image[at] ?? 0) | mask : (image[at] ?? 0) & ~mask;
    }
  }

  /**
   * Regions that some leg of the table lacks. A leg that is being filled may lose what has not been
   * flushed since it was copied.
   */
  private lacked(): RegionBits {
    const { set } = this;
    assert(set !== null, 'a disk log without a set');
    const bits = new RegionBits(this.log.regions);
    bits.addAll(set.doubt);
    for (const leg of set.legs) {
      if (leg.standing === STANDING.MEMBER) continue;
      bits.addAll(leg.outOfSync);
      if (!leg.isActive) continue;
      bits.addAll(set.unflushed);
      bits.addAll(set.covered);
    }
    return bits;
  }
}
