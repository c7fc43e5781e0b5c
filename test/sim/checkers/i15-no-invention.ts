import type { ReadLaw } from './read-laws.ts';
import { checkVerdicts } from './verdicts.ts';

export const noInvention: ReadLaw = {
  name: 'I15',
  sentence: 'no read returns bytes that nobody has written there',
  opEnded(world, op) {
    checkVerdicts(this, world, op, 'invented');
  },
};
