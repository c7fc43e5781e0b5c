import { ERRNO } from '../../../core/base/errno.ts';
import { REQ_OP } from '../../../core/block/op.ts';
import { ZEROS, type Value } from '../content.ts';
import type { World } from '../world.ts';
import { fail, goodLegs, isQuiet, shownBy, type Checker } from './checker.ts';

export const zeroes: Checker = {
  name: 'I17',
  sentence: 'after WRITE_ZEROES every leg holds zeros; after DISCARD all legs hold the same',
  opEnded(world, op) {
    const isZeroing = op.op === REQ_OP.WRITE_ZEROES || op.op === REQ_OP.DISCARD;
    if (!isZeroing || op.error !== ERRNO.OK) return;
    for (let sector = op.sector; sector < op.sector + op.sectors; sector += 1) {
      if (!isQuiet(world, sector)) continue;
      const shown = goodLegs(world, sector).map((leg) => shownBy(world, leg, sector));
      const isAny = op.op === REQ_OP.DISCARD || isOverwritten(world, sector, shown[0]);
      const wanted = isAny ? shown[0] : ZEROS;
      if (shown.every((value) => value === wanted)) continue;
      fail(zeroes, `${String(op)}: sector ${sector} shows ${shown.join(', ')}`);
    }
  },
};

/** Over a connection the answer comes late: another write may have ended since. */
function isOverwritten(world: World, sector: number, shown: Value | undefined): boolean {
  return world.front !== null && shown !== undefined && world.model.allows(sector, shown);
}
