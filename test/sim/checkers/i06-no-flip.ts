import type { ReadLaw } from './read-laws.ts';
import { checkVerdicts } from './verdicts.ts';

export const noFlip: ReadLaw = {
  name: 'I6',
  sentence: 'after an unclean stop two reads of one sector give the same value, from whatever leg',
  opEnded(world, op) {
    checkVerdicts(this, world, op, 'flipped');
  },
};
