import { MAX_SECTORS, SECTOR_SIZE } from '../base/units.ts';

/** What one bio to a device may be. The kernel's queue_limits, as far as they matter here. */
export interface QueueLimits {
  /** Bytes, a power of two, 512..65536: sector and sectors of a bio are multiples of it. */
  readonly logicalBlockSize: number;
  /** Longest READ or WRITE, in sectors, a multiple of the logical block. */
  readonly maxSectors: number;
  /** Most pieces of memory in one bio. */
  readonly maxSegments: number;
  /** Longest DISCARD in sectors; 0: not supported. */
  readonly maxDiscardSectors: number;
  /** Longest WRITE_ZEROES in sectors; 0: not supported, the caller writes zeros. */
  readonly maxWriteZeroesSectors: number;
  /** True: WRITE_ZEROES may take as long as writing the zeros does. */
  readonly slowZeroes?: boolean;
  /** True when discarded sectors read back as zeros, always. */
  readonly discardZeroes: boolean;
  readonly readOnly: boolean;
}

/** A device without needs of its own: files, memory, `zero`. */
export const DEFAULT_LIMITS: QueueLimits = {
  logicalBlockSize: SECTOR_SIZE,
  maxSectors: 65536,
  maxSegments: 256,
  maxDiscardSectors: MAX_SECTORS,
  maxWriteZeroesSectors: MAX_SECTORS,
  discardZeroes: true,
  readOnly: false,
};

/**
 * The limits of a device that stands on others and hands each bio to any of them. Lengths are not
 * stacked: dm-io cuts for the device below, so a device above may take what it likes.
 */
export function stackLimits(below: readonly QueueLimits[]): QueueLimits {
  let stacked = DEFAULT_LIMITS;
  for (const limits of below) {
    stacked = {
      ...stacked,
      logicalBlockSize: Math.max(stacked.logicalBlockSize, limits.logicalBlockSize),
      maxDiscardSectors: limits.maxDiscardSectors === 0 ? 0 : stacked.maxDiscardSectors,
      maxWriteZeroesSectors: limits.maxWriteZeroesSectors === 0 ? 0 : stacked.maxWriteZeroesSectors,
      slowZeroes: stacked.slowZeroes === true || limits.slowZeroes === true,
      discardZeroes: stacked.discardZeroes && limits.discardZeroes,
      readOnly: stacked.readOnly || limits.readOnly,
    };
  }
  return stacked;
}
