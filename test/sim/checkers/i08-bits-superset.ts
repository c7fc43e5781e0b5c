import { at } from '../at.ts';
import { diskOf } from '../disk-of.ts';
import type { World } from '../world.ts';
import { fail, goodLegs, isDisplaced, isQuiet, shownBy, type Checker } from './checker.ts';

export const bitsSuperset: Checker = {
  name: 'I8',
  sentence: 'a region without a bit holds the truth on that leg; when all is healed no bit is left',
  opEnded(world, op) {
    check(world, op.sector, op.sector + op.sectors);
  },
  idle(world) {
    check(world, 0, world.options.sectors);
    checkThoseOut(world);
  },
  converged(world) {
    for (const leg of world.daemon.set.legs) {
      if (leg.isActive && leg.lost.count > 0) fail(bitsSuperset, `${leg.name} has losses left`);
      if (!leg.isActive || leg.outOfSync.count === 0) continue;
      fail(bitsSuperset, `${leg.name} has ${leg.outOfSync.count} bits with nothing to heal`);
    }
  },
};

function check(world: World, first: number, end: number): void {
  for (let sector = first; sector < end; sector += 1) {
    if (!isQuiet(world, sector)) continue;
    for (const leg of goodLegs(world, sector)) {
      const shown = shownBy(world, leg, sector);
      if (world.model.allows(sector, shown)) continue;
      const allowed = world.model.describe(sector);
      fail(bitsSuperset, `leg ${leg} has no bit, ${shown} in sector ${sector}, of ${allowed}`);
    }
  }
}

/**
 * A leg that has left this run: what it missed since is marked, for a later delta. Nobody flushes it
 * any more, so what is not marked must be on its platter.
 */
function checkThoseOut(world: World): void {
  const { set } = world.daemon;
  for (const leg of set.legs) {
    if (leg.standing !== 'failed' || !at(world.wasMember, diskOf(leg.name))) continue;
    if (isDisplaced(world, diskOf(leg.name))) continue;
    const { medium } = at(world.disks, diskOf(leg.name));
    for (let sector = 0; sector < world.options.sectors; sector += 1) {
      if (leg.outOfSync.test(set.regionOf(sector))) continue;
      medium.eachPossible(world.options.origin + sector, (value) => {
        if (world.model.allows(sector, value)) return;
        const allowed = world.model.describe(sector);
        fail(bitsSuperset, `${leg.name}, out, may show ${value} in ${sector}, of ${allowed}`);
      });
    }
  }
}
