import { fail, type Checker } from './checker.ts';

/** A look at what is under way comes an eighth of a time-out late at most; the rest is work. */
const PER_LEG = 1.25;
/** Queues, copies, the record, what a healthy leg takes: all of it is far below how long a leg is stuck. */
const WORK_MS = 15_000;

export const boundedWait: Checker = {
  name: 'I14',
  sentence:
    'with legs stuck, every client request ends within a time-out each and the time of a record, while a good leg is left',
  opEnded(world, op) {
    const { legTimeoutMs, latencyUs, stallEvery, atlas } = world.options;
    // Where the good leg is away, or all are held, nobody can answer.
    if (stallEvery === 0 || atlas !== 'anchor' || op.from <= world.heldAt) return;
    const boundMs = PER_LEG * legTimeoutMs * latencyUs.length + WORK_MS;
    const tookMs = world.tookMs(op);
    if (tookMs > boundMs) fail(boundedWait, `${String(op)} took ${tookMs} ms of ${boundMs}`);
  },
};
