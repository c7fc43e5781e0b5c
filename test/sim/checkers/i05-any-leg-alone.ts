import { ERRNO } from '../../../core/base/errno.ts';
import { at } from '../at.ts';
import type { World } from '../world.ts';
import { believedLegs, fail, hasLost, isQuiet, shownBy, type Checker } from './checker.ts';

export const anyLegAlone: Checker = {
  name: 'I5',
  sentence: 'at each acknowledgement a restart with any one in-sync leg alone gives I1 and I2',
  opEnded(world, op) {
    if (op.error === ERRNO.OK) check(world, op.sector, op.sector + op.sectors);
  },
  idle(world) {
    check(world, 0, world.options.sectors);
  },
};

function check(world: World, first: number, end: number): void {
  const legs = believedLegs(world);
  for (let sector = first; sector < end; sector += 1) {
    if (!isQuiet(world, sector)) continue;
    for (const leg of legs) {
      if (!at(world.present, leg) || hasLost(world, leg)) continue;
      const shown = shownBy(world, leg, sector);
      if (world.model.allows(sector, shown)) continue;
      const allowed = world.model.describe(sector);
      fail(anyLegAlone, `leg ${leg} alone shows ${shown} in sector ${sector}, of ${allowed}`);
    }
  }
}
