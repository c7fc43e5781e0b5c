import { ERRNO } from '../base/errno.ts';
import type { Bio } from '../block/bio.ts';
import { DEFAULT_LIMITS } from '../block/limits.ts';
import type { Loop } from '../block/loop.ts';
import { REQ_OP } from '../block/op.ts';
import { TableError } from './target.ts';
import type { Target, TargetType } from './target.ts';

/**
 * `error`: EIO for everything that has a range. A FLUSH ends well: there is nothing that could be
 * lost, and the kernel does not ask this target either (it wants no flush bios).
 */
export const errorTargetType: TargetType = {
  name: 'error',
  version: [1, 6, 0],
  parse(_startSector, _sectors, args) {
    if (args.length > 0) {
      throw new TableError(`error takes no arguments, there are ${args.length}`);
    }
    return {
      type: errorTargetType,
      devices: [],
      build: (_devices, environment) => new ErrorTarget(environment.loop),
    };
  },
};

class ErrorTarget implements Target {
  readonly type = errorTargetType;
  /** Takes everything, so that the answer is EIO and not "not supported". */
  readonly limits = DEFAULT_LIMITS;
  private readonly loop: Loop;

  constructor(loop: Loop) {
    this.loop = loop;
  }

  map(bio: Bio): void {
    bio.error = bio.op === REQ_OP.FLUSH ? ERRNO.OK : ERRNO.EIO;
    this.loop.defer(bio);
  }

  table(): string {
    return '';
  }

  status(): string {
    return '';
  }
}
