import { assert } from '../base/assert.ts';
import { BioVec } from '../block/bio.ts';

/**
 * Fills `out` with the pieces of `vecs` behind the first `skipBytes`; returns how many there are.
 * Pieces, not bytes: both tables show the same memory. Off the hot path.
 */
export function sliceVecs(
  vecs: readonly BioVec[],
  vecCount: number,
  skipBytes: number,
  out: BioVec[],
): number {
  let skip = skipBytes;
  let count = 0;
  for (const vec of vecs.slice(0, vecCount)) {
    if (skip >= vec.length) {
      skip -= vec.length;
      continue;
    }
    out[count] = new BioVec(vec.page, vec.offset + skip, vec.length - skip);
    count += 1;
    skip = 0;
  }
  assert(count > 0, 'nothing is left of the memory of a read');
  return count;
}
