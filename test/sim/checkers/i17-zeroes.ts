import { ERRNO } from '../../../core/base/errno.ts';
import { REQ_OP } from '../../../core/block/op.ts';
import { ZEROS } from '../content.ts';
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
      const wanted = op.op === REQ_OP.DISCARD ? shown[0] : ZEROS;
      if (shown.every((value) => value === wanted)) continue;
      fail(zeroes, `${String(op)}: sector ${sector} shows ${shown.join(', ')}`);
    }
  },
};
