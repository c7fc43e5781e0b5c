import { MAX_REGIONS } from '../base/error-bits.ts';
import type { BlockDevice } from '../block/device.ts';

export { MAX_REGIONS };

/**
 * What a caller of the services says about a region (struct dm_io_region): a plain object will do.
 * It is read during the call and not kept (rule 2).
 */
export interface IoRegionSpec {
  readonly device: BlockDevice;
  readonly sector: number;
  readonly count: number;
  readonly memorySector?: number;
}

/** Where a request goes: `count` sectors of `device` from `sector` on (struct dm_io_region). */
export class IoRegion implements IoRegionSpec {
  device: BlockDevice;
  /** First sector, 0 .. 2^44 - 1. */
  sector: number;
  /** Sectors; 0: the region is skipped (rule 5), or only flushed with PREFLUSH. */
  count: number;
  /**
   * Sectors of the request's memory that lie before this region's own. 0: every region uses the
   * memory from its start (rule 2); else the memory is directed in parts (rule 22).
   */
  memorySector: number;
  /** An extra beside the error bit: the errno of the first part that failed, 0 if none (rule 25). */
  error = 0;

  constructor(device: BlockDevice, sector: number, count: number, memorySector = 0) {
    this.device = device;
    this.sector = sector;
    this.count = count;
    this.memorySector = memorySector;
  }
}

/** Once for each region a record ever has; here, because a hot file has no `new`. */
export function makeRegion(device: BlockDevice, sector: number, count: number): IoRegion {
  return new IoRegion(device, sector, count);
}

/**
 * Directs one memory in consecutive parts to the given regions (rule 22): each region's part begins
 * where the one before ended, the first at `firstSector`. New regions; the given ones stay as they are.
 */
export function inParts(regions: readonly IoRegionSpec[], firstSector = 0): IoRegion[] {
  let memorySector = firstSector;
  const parts: IoRegion[] = [];
  for (const { device, sector, count } of regions) {
    parts.push(new IoRegion(device, sector, count, memorySector));
    memorySector += count;
  }
  return parts;
}
