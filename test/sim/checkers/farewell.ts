import { STANDING } from '../../../core/mirror/leg.ts';
import { diskOf } from '../disk-of.ts';
import { fail, type Checker } from './checker.ts';

export const farewell: Checker = {
  name: 'farewell',
  sentence: 'a leg that has left and can be written does not call itself in sync (I7)',
  idle(world) {
    const { native, daemon, options } = world;
    // A leg whose superblock fails, or that does not answer, cannot be told.
    if (native === null || options.metaFaultEvery > 0 || options.stallEvery > 0) return;
    if (daemon.set.journal.isBehind) return;
    for (const leg of daemon.set.legs) {
      if (leg.standing !== STANDING.FAILED || leg.device === null) continue;
      if (leg.isLeaving || leg.isStranger) continue;
      const found = native.metadata(diskOf(leg.name));
      if (found.kind !== 'superblock') continue;
      const { superblock } = found;
      const itself = superblock.legs.find(({ uuid }) => uuid === superblock.legUuid);
      if (itself?.state !== 'in-sync') continue;
      fail(farewell, `${leg.name} is out, and was not told`);
    }
  },
};
