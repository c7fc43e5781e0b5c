import type { Checker } from './checker.ts';
import { checkVerdicts } from './verdicts.ts';

export const noFlip: Checker = {
  name: 'I6',
  sentence: 'after an unclean stop two reads of one sector give the same value, from whatever leg',
  opEnded(world, op) {
    checkVerdicts(this, world, op, 'flipped');
  },
};
