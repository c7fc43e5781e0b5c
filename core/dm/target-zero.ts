import { assert } from '../base/assert.ts';
import { SECTOR_SIZE } from '../base/units.ts';
import type { Bio } from '../block/bio.ts';
import { DEFAULT_LIMITS } from '../block/limits.ts';
import type { Loop } from '../block/loop.ts';
import { REQ_OP } from '../block/op.ts';
import { RUN, type Run } from '../block/run.ts';
import { TableError } from './target.ts';
import type { Target, TargetType } from './target.ts';

/** `zero`: reads give zeros, what is written is gone. */
export const zeroTargetType: TargetType = {
  name: 'zero',
  version: [1, 2, 0],
  parse(_startSector, _sectors, args) {
    if (args.length > 0) {
      throw new TableError(`zero takes no arguments, there are ${args.length}`);
    }
    return {
      type: zeroTargetType,
      devices: [],
      build: (_devices, environment) => new ZeroTarget(environment.loop),
    };
  },
};

class ZeroTarget implements Target {
  readonly type = zeroTargetType;
  readonly limits = DEFAULT_LIMITS;
  private readonly loop: Loop;

  constructor(loop: Loop) {
    this.loop = loop;
  }

  map(bio: Bio): void {
    if (bio.op === REQ_OP.READ) zeroMemory(bio);
    bio.error = 0;
    this.loop.defer(bio);
  }

  allocationAt(_sector: number, sectors: number, run: Run): void {
    run.set(sectors, RUN.HOLE | RUN.ZERO);
  }

  table(): string {
    return '';
  }

  status(): string {
    return '';
  }
}

function zeroMemory(bio: Bio): void {
  let restBytes = bio.sectors * SECTOR_SIZE;
  for (let i = 0; i < bio.vecCount && restBytes > 0; i += 1) {
    const vec = bio.vecs[i];
    assert(vec !== undefined, 'a bio counts more pieces than it has');
    const length = restBytes < vec.length ? restBytes : vec.length;
    vec.page.fill(0, vec.offset, vec.offset + length);
    restBytes -= length;
  }
}
