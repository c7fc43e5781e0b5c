import { STANDING } from '../../../core/mirror/leg.ts';
import type { Bio } from '../../../core/block/bio.ts';
import { REQ_OP } from '../../../core/block/op.ts';
import { diskOf } from '../disk-of.ts';
import type { World } from '../world.ts';
import { fail, type Checker } from './checker.ts';

export const staleNeverServed: Checker = {
  name: 'I7',
  sentence: 'a leg that is out, or lacks the region, is never read for a client or for a copy',
};

/** Looks at each bio as it is sent to a leg. */
export function watchLeg(world: World, index: number, bio: Bio): void {
  if (bio.op !== REQ_OP.READ || bio.sector >= world.rawFrom) return;
  const { set } = world.daemon;
  const leg = set.legs.find(({ name }) => diskOf(name) === index);
  const first = set.regionOf(bio.sector - world.options.origin);
  const last = set.regionOf(bio.sector - world.options.origin + bio.sectors - 1);
  const isOut = leg?.isActive !== true;
  const isLacking = leg?.standing === STANDING.JOINING && leg.outOfSync.anyIn(first, last);
  if (isOut || isLacking) fail(staleNeverServed, `leg ${index} was read in ${first}..${last}`);
}
