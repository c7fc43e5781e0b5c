import type { ReadLaw } from './read-laws.ts';
import { checkVerdicts } from './verdicts.ts';

export const readMonotonic: ReadLaw = {
  name: 'I2',
  sentence:
    'once a read has returned a value, no later read returns an older one, also across a crash of the daemon',
  opEnded(world, op) {
    checkVerdicts(this, world, op, 'unseen');
  },
};
