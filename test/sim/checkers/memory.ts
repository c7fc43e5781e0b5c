import { fail, type Checker } from './checker.ts';

export const memory: Checker = {
  name: 'memory',
  sentence: 'memory of a request is left alone from its end on',
  opEnded(world) {
    for (const op of world.poisoned) {
      if (!op.isStillPoisoned()) fail(memory, `${String(op)}: written to after its end`);
    }
  },
};
