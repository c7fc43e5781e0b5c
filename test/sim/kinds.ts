import { drawClientOptions } from './clients/options.ts';
import {
  drawCutOptions,
  drawLegOptions,
  drawOptions,
  drawRemoteOptions,
  withMetaFaults,
  type SimOptions,
} from './options.ts';
import { runSeed, type SimResult } from './run.ts';
import { runScrubStory } from './scrub-story.ts';
import type { Trace } from './world.ts';

/** What a seed is drawn as. Those of the swarm have options, so that they can be shrunk. */
export interface Kind {
  /** The flags of `npm run sim` that choose it. */
  readonly flags: string;
  /** Null: a story of its own. */
  readonly draw: ((seed: number) => SimOptions) | null;
  readonly play: (seed: number, trace: Trace) => SimResult;
  /** Of so many seeds of a mixed run. */
  readonly share: number;
}

function swarm(flags: string, share: number, draw: (seed: number) => SimOptions): Kind {
  return { flags, share, draw, play: (seed, trace) => runSeed(draw(seed), trace) };
}

export const KINDS = {
  core: swarm('', 9, (seed) => drawOptions(seed)),
  legs: swarm('--legs', 2, (seed) => drawLegOptions(seed)),
  disk: swarm('--log disk', 2, (seed) => drawOptions(seed, 'disk')),
  'disk-legs': swarm('--legs --log disk', 1, (seed) => drawLegOptions(seed, 'disk')),
  native: swarm('--log native', 3, (seed) => drawOptions(seed, 'native')),
  'native-legs': swarm('--legs --log native', 1, (seed) => drawLegOptions(seed, 'native')),
  'native-meta': swarm('--log native --meta', 2, (seed) =>
    withMetaFaults(drawOptions(seed, 'native')),
  ),
  'native-meta-legs': swarm('--legs --log native --meta', 1, (seed) =>
    withMetaFaults(drawLegOptions(seed, 'native')),
  ),
  remote: swarm('--remote', 3, (seed) => drawRemoteOptions(seed)),
  'remote-swaps': swarm('--remote --swaps', 1, (seed) => drawRemoteOptions(seed, true)),
  clients: swarm('--clients', 3, (seed) => drawClientOptions(seed)),
  cut: swarm('--cut', 1, (seed) => drawCutOptions(seed)),
  scrub: { flags: '--scrub', share: 2, draw: null, play: runScrubStory },
} as const satisfies Readonly<Record<string, Kind>>;
export type KindName = keyof typeof KINDS;
export const KIND_NAMES = Object.keys(KINDS) as readonly KindName[];

const MIX: readonly KindName[] = KIND_NAMES.flatMap((name) =>
  new Array<KindName>(KINDS[name].share).fill(name),
);

/** The kind of a seed of a mixed run: by its number alone. */
export function kindOfMixed(seed: number): KindName {
  // 7 and the number of shares, 31, have no divisor in common: neighbours are of different kinds.
  return MIX[(seed * 7) % MIX.length] ?? 'core';
}
