import { ERRNO } from '../../core/base/errno.ts';
import { MAX_SECTORS } from '../../core/base/units.ts';
import type { Bio } from '../../core/block/bio.ts';
import type { BlockDevice } from '../../core/block/device.ts';
import { DEFAULT_LIMITS, type QueueLimits } from '../../core/block/limits.ts';
import type { Loop } from '../../core/block/loop.ts';

/** Stands for a leg that is not there; nothing may be sent to it. */
export class AbsentDevice implements BlockDevice {
  readonly name: string;
  readonly sectors: number;
  readonly limits: QueueLimits;
  readonly loop: Loop;

  /** With the size and limits of what lives elsewhere it stands for that, where tables are checked. */
  constructor(name: string, loop: Loop, sectors = MAX_SECTORS, limits = DEFAULT_LIMITS) {
    this.sectors = sectors;
    this.limits = limits;
    this.name = name;
    this.loop = loop;
  }

  submit(bio: Bio): void {
    bio.error = ERRNO.ENXIO;
    this.loop.defer(bio);
  }
}
