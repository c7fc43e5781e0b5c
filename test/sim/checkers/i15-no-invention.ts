import type { Checker } from './checker.ts';
import { checkVerdicts } from './verdicts.ts';

export const noInvention: Checker = {
  name: 'I15',
  sentence: 'no read returns bytes that nobody has written there',
  opEnded(world, op) {
    checkVerdicts(this, world, op, 'invented');
  },
};
