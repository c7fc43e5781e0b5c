import { ERRNO } from '../../core/base/errno.ts';
import { MAX_SECTORS } from '../../core/base/units.ts';
import type { Bio } from '../../core/block/bio.ts';
import type { BlockDevice } from '../../core/block/device.ts';
import { DEFAULT_LIMITS } from '../../core/block/limits.ts';
import type { Loop } from '../../core/block/loop.ts';

/** Stands for a leg that is not there; nothing may be sent to it. */
export class AbsentDevice implements BlockDevice {
  readonly name: string;
  readonly sectors = MAX_SECTORS;
  readonly limits = DEFAULT_LIMITS;
  readonly loop: Loop;

  constructor(name: string, loop: Loop) {
    this.name = name;
    this.loop = loop;
  }

  submit(bio: Bio): void {
    bio.error = ERRNO.ENXIO;
    this.loop.defer(bio);
  }
}
