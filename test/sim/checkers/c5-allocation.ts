import { ZEROS } from '../content.ts';
import type { World } from '../world.ts';
import { fail, type Checker } from './checker.ts';

/** base:allocation's bits. */
const ZERO = 2;

export const allocation: Checker = {
  name: 'C5',
  sentence: 'BLOCK_STATUS never says of data that it reads as zeros',
};

/** A reply, asked for at `from`, gives an extent of so many bytes these flags. */
export function checkAllocation(
  world: World,
  from: number,
  extent: { readonly offset: number; readonly bytes: number; readonly flags: number },
): void {
  if ((extent.flags & ZERO) === 0) return;
  const end = Math.min((extent.offset + extent.bytes) / 512, world.options.sectors);
  for (let sector = Math.floor(extent.offset / 512); sector < end; sector += 1) {
    if (world.model.mayHaveHeld(sector, ZEROS, from)) continue;
    fail(allocation, `sector ${sector} is called zeros, of ${world.model.describe(sector)}`);
  }
}
