import { ERRNO } from '../../../core/base/errno.ts';
import { REQ_OP } from '../../../core/block/op.ts';
import { fail, type Checker } from './checker.ts';

export const memory: Checker = {
  name: 'memory',
  sentence: 'memory of a request is left alone from its end on, or it is no answer',
  opEnded(world, op) {
    const isAnswer = op.op === REQ_OP.READ && op.error === ERRNO.OK;
    if (isAnswer && op.isMemoryOut) fail(memory, `${String(op)}: its answer may still change`);
    for (const op of world.poisoned) {
      if (!op.isStillPoisoned()) fail(memory, `${String(op)}: written to after its end`);
    }
  },
};
