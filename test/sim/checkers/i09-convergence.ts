import { at } from '../at.ts';
import { fail, members, shownBy, type Checker } from './checker.ts';

export const convergence: Checker = {
  name: 'I9',
  sentence: 'when faults stop, all legs of the set become byte-equal, also under a hot load',
  converged(world) {
    const { set } = world.daemon;
    const joining = set.legs.filter((leg) => leg.state === 'resyncing');
    if (joining.length > 0) fail(convergence, `${at(joining, 0).name} never joined`);
    for (const { name, standing, replaces } of set.legs) {
      const old = set.legs.find(({ slot }) => slot === replaces);
      if (standing !== 'member' || old === undefined) continue;
      fail(convergence, `${name} is in sync, but ${old.name} that it replaces is still there`);
    }
    const [first = 0, ...others] = members(world);
    for (let sector = 0; sector < world.options.sectors; sector += 1) {
      const shown = shownBy(world, first, sector);
      const different = others.find((leg) => shownBy(world, leg, sector) !== shown);
      if (different === undefined) continue;
      const pair = `${shown} and ${shownBy(world, different, sector)}`;
      fail(convergence, `legs ${first} and ${different} hold ${pair} in sector ${sector}`);
    }
  },
};
