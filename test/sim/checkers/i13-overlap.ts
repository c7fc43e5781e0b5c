import type { World } from '../world.ts';
import { fail, goodLegs, isQuiet, shownBy, type Checker } from './checker.ts';

export const overlap: Checker = {
  name: 'I13',
  sentence: 'overlapping writes leave all legs that are good for the region equal',
  opEnded(world, op) {
    if (op.isWrite) check(world, op.sector, op.sector + op.sectors);
  },
  idle(world) {
    check(world, 0, world.options.sectors);
  },
};

function check(world: World, first: number, end: number): void {
  for (let sector = first; sector < end; sector += 1) {
    if (!isQuiet(world, sector)) continue;
    const good = goodLegs(world, sector);
    const one = good[0];
    if (one === undefined) continue;
    const shown = shownBy(world, one, sector);
    for (const other of good) {
      if (shownBy(world, other, sector) === shown) continue;
      const values = `${shown} and ${shownBy(world, other, sector)}`;
      fail(overlap, `legs ${one} and ${other} show ${values} in sector ${sector}`);
    }
  }
}
