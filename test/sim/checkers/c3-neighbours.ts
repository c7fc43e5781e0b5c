import { fail, type Checker } from './checker.ts';

/** As I14's, for each leg. */
const PER_LEG = 1.25;
/** What healthy parts take all together, and one who holds memory up until the daemon drops him. */
const WORK_MS = 60_000;

/**
 * Clients that misbehave come and go in the story (clients/rogue.ts). Whoever does nothing wrong is
 * answered in time whatever they do, and is not hung up on; what they damage is the model's to see.
 */
export const neighbours: Checker = {
  name: 'C3',
  sentence: 'a client that misbehaves neither delays nor ends what another does',
  opEnded(world, op) {
    const { front, options } = world;
    const isAnyoneStuck = options.stallEvery > 0 && options.atlas !== 'anchor';
    if (front === null || isAnyoneStuck || op.from <= world.heldAt) return;
    const tookMs = world.tookMs(op);
    const boundMs = PER_LEG * options.legTimeoutMs * options.latencyUs.length + WORK_MS;
    if (tookMs > boundMs) fail(neighbours, `${String(op)} took ${tookMs} ms of ${boundMs}`);
  },
};

export function hungUpOn(link: string, why: string): never {
  fail(neighbours, `${link} was hung up on for nothing: ${why}`);
}
