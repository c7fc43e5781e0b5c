import type { Bio } from '../../core/block/bio.ts';
import type { BlockDevice } from '../../core/block/device.ts';
import { DEFAULT_LIMITS } from '../../core/block/limits.ts';
import type { Loop } from '../../core/block/loop.ts';

/** Ends every bio well, moves nothing, and allocates nothing itself. */
export class NullDevice implements BlockDevice {
  readonly name = 'null';
  /** As many as there can be: 2^53 bytes. */
  readonly sectors = 2 ** 44 - 1;
  readonly limits = DEFAULT_LIMITS;
  readonly loop: Loop;

  constructor(loop: Loop) {
    this.loop = loop;
  }

  submit(bio: Bio): void {
    bio.error = 0;
    this.loop.defer(bio);
  }
}
