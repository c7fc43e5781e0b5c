import { assert } from '../base/assert.ts';
import type { BlockDevice } from '../block/device.ts';
import type { NativeAssembly, NativeLegPlan } from './assemble-native.ts';
import { STANDING } from './leg.ts';
import { regionsOf } from './native-describe.ts';
import { NativeRecorder, type LegPast } from './native-recorder.ts';
import { NativeStore } from './native-store.ts';
import type { MirrorLegOptions, MirrorOptions } from './options.ts';
import { RegionBits } from './region-bits.ts';
import { REGION_STATE, type RegionMap } from './region-map.ts';
import { isMemberBySelf, MAX_HISTORY, type RunMark } from './superblock.ts';

/** What the world gives when a native set starts. */
export interface NativeStartOptions {
  readonly assembly: Extract<NativeAssembly, { kind: 'assembled' }>;
  /** Of the members, joined: `readMap` of the devices of `assembly.mapInputs`. */
  readonly map: Pick<RegionMap, 'states' | 'lackOf'>;
  /** For each input of the assembly its device and its name. */
  readonly devices: readonly BlockDevice[];
  readonly names: readonly string[];
  /** 16 hex digits, drawn at random for this start. */
  readonly run: string;
  readonly wallClockMs: () => number;
  readonly cleanAfterMs?: number;
}

/** The parts of `MirrorOptions` that the metadata decides. */
export type NativeParts = Pick<
  MirrorOptions,
  | 'recorder'
  | 'sectors'
  | 'regionSectors'
  | 'legs'
  | 'generation'
  | 'membersEqual'
  | 'regionLog'
  | 'clearedGeneration'
  | 'scrubPlace'
> & { readonly recorder: NativeRecorder };

/** Slots whose lack bits the assembly needs: those of all legs that are no members. */
export function slotsToRead(assembly: Extract<NativeAssembly, { kind: 'assembled' }>): number[] {
  return assembly.legs
    .filter(({ standing }) => standing !== STANDING.MEMBER)
    .map(({ entry }) => entry.slot);
}

/** From what was decided and read to what a MirrorSet is made of. */
export function nativeParts(options: NativeStartOptions): NativeParts {
  const { assembly, map } = options;
  const { ruler } = assembly;
  const regions = regionsOf(ruler);
  const here: RunMark = { run: ruler.run, sequence: ruler.sequence };
  const recorder = new NativeRecorder(
    {
      setUuid: ruler.setUuid,
      setName: ruler.setName,
      zeroed: ruler.zeroed,
      run: options.run,
      history: [here, ...ruler.history].slice(0, MAX_HISTORY),
      generation: ruler.generation,
      sequence: assembly.lastSequence,
      wallClockMs: options.wallClockMs,
    },
    assembly.legs.map(pastOf),
  );
  const { cleanAfterMs } = options;
  const store = new NativeStore(regions, ruler.setUuid);
  return {
    recorder,
    sectors: ruler.dataSectors,
    regionSectors: ruler.regionSectors,
    legs: assembly.legs.map((plan) => legOptions(plan, options, regions)),
    generation: ruler.generation,
    clearedGeneration: ruler.clearedGeneration,
    scrubPlace: ruler.scrub,
    membersEqual: assembly.membersEqual,
    regionLog: {
      store,
      states: map.states,
      zeroed: ruler.zeroed,
      ...(cleanAfterMs === undefined ? {} : { cleanAfterMs }),
    },
  };
}

/** The newest superblock a leg is known to have had: its own, where it was found. */
function pastOf({ entry, own, standing }: NativeLegPlan): LegPast {
  if (own === null) return { entry, last: entry.last, copy: 'b', found: null };
  const { run, sequence } = own.superblock;
  const isOfLast = run === entry.last.run;
  const isRolledBack = isOfLast ? sequence < entry.last.sequence : standing === STANDING.STALE;
  return { entry, last: isRolledBack ? entry.last : { run, sequence }, copy: own.copy, found: own };
}

/** Of a set that was made of zeros. */
export const NEVER_RULE = {
  /**
   * True: the leg has been in sync, in a past that the set goes back to. Then it reads zeros where
   * nobody has ever written; one that was still being filled, or went on by itself, may hold anything.
   */
  readsZeros({ own, isOfOurPast }: NativeLegPlan): boolean {
    return isOfOurPast && own !== null && isMemberBySelf(own.superblock);
  },
};

function legOptions(
  plan: NativeLegPlan,
  { assembly, map, devices, names }: NativeStartOptions,
  regions: number,
): MirrorLegOptions {
  const { entry, input, standing, deltaPossible, own } = plan;
  const { zeroed } = assembly.ruler;
  const device = input === null ? null : (devices[input] ?? null);
  assert(input === null || device !== null, 'a leg was found on no device');
  const base = {
    name: input === null ? entry.name : (names[input] ?? entry.name),
    startSector: 0,
    device,
    standing,
    errors: entry.errors,
    slot: entry.slot,
    uuid: entry.uuid,
    writeMostly: entry.writeMostly,
    failedByHand: entry.failedByHand,
    replaces: entry.replaces,
    deltaPossible,
  };
  if (standing === STANDING.MEMBER) return base;
  const lacks = new RegionBits(regions);
  if (!deltaPossible) {
    if (!zeroed || own === null || !NEVER_RULE.readsZeros(plan)) return base;
    for (const [region, state] of map.states.entries()) {
      if (state !== REGION_STATE.NEVER) lacks.setRange(region, region);
    }
    return { ...base, lacks };
  }
  lacks.addAll(map.lackOf(entry.slot));
  for (const [region, state] of map.states.entries()) {
    if (state === REGION_STATE.DIRTY) lacks.setRange(region, region);
  }
  return { ...base, lacks };
}
