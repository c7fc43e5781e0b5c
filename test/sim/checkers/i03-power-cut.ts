import type { ReadLaw } from './read-laws.ts';
import { checkVerdicts } from './verdicts.ts';

export const powerCut: ReadLaw = {
  name: 'I3',
  sentence:
    'after a power cut a flushed sector holds that value or a later one, an unflushed one the old or any newer issued',
  opEnded(world, op) {
    checkVerdicts(this, world, op, 'lost');
  },
};
