import type { Bio } from '../../../core/block/bio.ts';
import { fail, type Checker } from './checker.ts';

/**
 * Two halves. A request whose last byte had not come when its connection ended never happens: the model
 * is told so (World.neverDone), and whoever shows it breaks I15 or I5. And here: a connection with
 * nothing under way sends no bio.
 */
export const afterEnd: Checker = {
  name: 'C2',
  sentence: 'after the end of a connection nothing of it reaches the device',
};

interface Parted {
  readonly bornAfter: number;
  readonly bornBefore: number;
}

export function checkAfterEnd(parted: readonly Parted[], bio: Bio): void {
  const born = bio.loan?.issuer.born ?? 0;
  for (const { bornAfter, bornBefore } of parted) {
    if (bornAfter < born && born < bornBefore)
      fail(afterEnd, `op ${bio.op} ${bio.sector}+${bio.sectors} of a connection that is over`);
  }
}
