import type { ReadLaw } from './read-laws.ts';
import { checkVerdicts } from './verdicts.ts';

export const readFreshness: ReadLaw = {
  name: 'I1',
  sentence:
    'a read returns, per sector, the latest write acknowledged before it began, or one concurrent with it',
  opEnded(world, op) {
    checkVerdicts(this, world, op, 'stale');
  },
};
