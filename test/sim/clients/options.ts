import { Prng } from '../../../core/base/prng.ts';
import { drawOptions, type SimOptions } from '../options.ts';
import type { ClientMix } from './client.ts';
import type { ClientsMix } from './front.ts';

const CONTEXTS = ['base:allocation', 'x-dmiod:mirror'] as const;
/** What an arena has beside room for the whole device, with the edges of a range. */
const EDGES_BYTES = 2 * 4096;
/** What a reply to BLOCK_STATUS takes. */
const STATUS_BYTES = 2 ** 15;
/** What stuck legs may still use is nobody else's (D5): with less everybody would wait for them. */
const STALLED_BYTES = 2 ** 18;

/**
 * The same seed as of the core log, or for a third of them of the native log, with its clients on connections.
 * Draws of their own: what other kinds mean stays what it was.
 */
export function drawClientOptions(seed: number): SimOptions {
  const prng = new Prng(seed + 2 ** 52 + 2 ** 21);
  const base = drawOptions(seed, prng.ratio(1, 3) ? 'native' : 'core');
  // READs long enough to have holes, on devices long enough for them.
  const isLong = prng.ratio(1, 4);
  const times = isLong ? prng.pick([2, 4]) : 1;
  const regionSectors = base.regionSectors * times;
  const sectors = base.sectors * times;
  const hasLargeBlocks = base.blockSizes.includes(4096);
  const isUnaligned = hasLargeBlocks && prng.ratio(2, 3);
  // A TRIM beside a read-modify-write leaves any of what was there: which, no model says (core/export).
  const { discard, zeroes, ...others } = base.weights;
  const weights = {
    ...others,
    discard: isUnaligned ? 0 : discard,
    zeroes: Math.max(1, zeroes),
  };
  return {
    ...base,
    regionSectors,
    sectors,
    weights,
    maxOpSectors: isLong && prng.ratio(1, 2) ? sectors : base.maxOpSectors,
    tellsZeroes: prng.pick(['never', 'at once', 'at once'] as const),
    clients: drawClients(prng, { ...base, sectors }, isUnaligned),
  };
}

/**
 * The same with a leg that is stuck again and again, a good one beside it, and an arena that one request
 * of the whole device may need all of: memory that a stuck leg has is missed at once.
 */
export function drawStuckClientOptions(seed: number): SimOptions {
  const drawn = drawClientOptions(seed);
  const { clients } = drawn;
  if (clients === undefined) throw new Error('clients without connections');
  return {
    ...drawn,
    atlas: 'anchor',
    recorderFailureRate: 0,
    legTimeoutMs: 500,
    stallEvery: 20,
    suspendEvery: 0,
    crashEvery: 0,
    actions: 250,
    clients: { ...clients, troubleEvery: 8, arenaBytes: leastArena(drawn.sectors) },
  };
}

function leastArena(sectors: number): number {
  return 2 ** Math.ceil(Math.log2(Math.max(STATUS_BYTES, sectors * 512 + EDGES_BYTES)));
}

function drawClients(
  prng: Prng,
  { sectors, stallEvery }: SimOptions,
  isUnaligned: boolean,
): ClientsMix {
  const mayStall = stallEvery > 0;
  const least = leastArena(sectors);
  return {
    clients: Array.from({ length: prng.pick([1, 1, 2, 3]) }, () => drawClient(prng)),
    arenaBytes: Math.max(least * prng.pick([1, 1, 2, 8]), mayStall ? STALLED_BYTES : 0),
    isUnaligned,
    byteReads: prng.ratio(1, 2),
    troubleEvery: prng.pick([0, 8, 8, 25]),
  };
}

function drawClient(prng: Prng): ClientMix {
  const style = prng.pick(['simple', 'structured', 'structured', 'extended'] as const);
  const contexts = style === 'simple' ? [] : CONTEXTS.slice(0, prng.below(3));
  return {
    style,
    contexts,
    isOld: style === 'simple' && prng.ratio(1, 3),
    asksUnknown: prng.ratio(1, 4),
    connections: prng.pick([1, 2, 4]),
    depth: prng.pick([1, 4, 32]),
  };
}
