import { ERRNO } from '../../../core/base/errno.ts';
import { REQ_FLAG, REQ_OP } from '../../../core/block/op.ts';
import { at } from '../at.ts';
import type { World } from '../world.ts';
import { believedLegs, fail, isDisplaced, type Checker } from './checker.ts';

export const flushAll: Checker = {
  name: 'I4',
  sentence: 'after a flush is acknowledged, any single leg counted in sync holds all of it alone',
  opEnded(world, op) {
    if (op.error !== ERRNO.OK) return;
    if (op.op === REQ_OP.FLUSH) check(world, 0, world.options.sectors);
    else if ((op.flags & REQ_FLAG.FUA) !== 0) check(world, op.sector, op.sector + op.sectors);
  },
};

/** Whatever a power cut may leave on a leg that would be believed, the model must allow. */
function check(world: World, first: number, end: number): void {
  for (const leg of believedLegs(world)) {
    if (isDisplaced(world, leg)) continue;
    const { medium } = at(world.disks, leg);
    for (let sector = first; sector < end; sector += 1) {
      medium.eachPossible(world.options.origin + sector, (value) => {
        if (world.model.allowsAfterCut(sector, value)) return;
        const allowed = world.model.describe(sector);
        fail(flushAll, `leg ${leg} may keep ${value} in sector ${sector}, of ${allowed}`);
      });
    }
  }
}
