import { MAX_REGIONS } from '../base/error-bits.ts';
import type { BlockDevice } from '../block/device.ts';

export { MAX_REGIONS };

/** Where a request goes: `count` sectors of `device` from `sector` on (struct dm_io_region). */
export class IoRegion {
  device: BlockDevice;
  /** First sector, 0 .. 2^44 - 1. */
  sector: number;
  /** Sectors; 0: the region is skipped (dm-io rule 5), or only flushed with PREFLUSH. */
  count: number;
  /** An extra beside the error bit: the errno of the first part that failed, 0 if none. */
  error = 0;

  constructor(device: BlockDevice, sector: number, count: number) {
    this.device = device;
    this.sector = sector;
    this.count = count;
  }
}
