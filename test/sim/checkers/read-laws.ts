import type { EndedOp, Judged } from '../tell-model.ts';
import type { Checker } from './checker.ts';
import { readFreshness } from './i01-read-freshness.ts';
import { readMonotonic } from './i02-read-monotonic.ts';
import { powerCut } from './i03-power-cut.ts';
import { noFlip } from './i06-no-flip.ts';
import { noInvention } from './i15-no-invention.ts';

/** A law of what clients read: all it needs is the model, so it judges any world. */
export interface ReadLaw extends Checker {
  opEnded(world: Judged, op: EndedOp): void;
}

export const READ_LAWS: readonly ReadLaw[] = [
  readFreshness,
  readMonotonic,
  powerCut,
  noFlip,
  noInvention,
];
