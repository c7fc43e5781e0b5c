/**
 * How a set with the native log starts: its legs say who is in sync.
 *
 *   control thread   opens the legs, reads superblocks -> decides (core/mirror/assemble-native.ts)
 *                    -> reads the members' maps -> a NativePlan, plain data
 *   data plane       makes the set of the plan and of the devices as it has them
 *
 * Legs are matched by uuid; paths only say where to look. The state directory is told who is in sync after
 * the legs have it and before anything is acknowledged that depends on it (GuardedRecorder): a leg
 * that missed that is then not believed alone, whatever it says of itself.
 */
import { randomBytes } from 'node:crypto';
import type { Log } from '../../core/base/ports.ts';
import { errnoName } from '../../core/base/errno.ts';
import type { BlockDevice } from '../../core/block/device.ts';
import type { Loop } from '../../core/block/loop.ts';
import { ControlError } from '../../core/control/error.ts';
import { formatMirrorArgs } from '../../core/dm/target-mirror.ts';
import {
  assembleNative,
  type LegMetadata,
  type NativeAssembly,
} from '../../core/mirror/assemble-native.ts';
import { STANDING, type Leg, type LegState, type Standing } from '../../core/mirror/leg.ts';
import { regionsOf } from '../../core/mirror/native-describe.ts';
import { nativeParts, slotsToRead } from '../../core/mirror/native-start.ts';
import type { NativeRecorder } from '../../core/mirror/native-recorder.ts';
import type { LegRecord, MirrorRecord, MirrorRecorder } from '../../core/mirror/record.ts';
import { RegionBits } from '../../core/mirror/region-bits.ts';
import type { MirrorSet } from '../../core/mirror/set.ts';
import { mapAt, metadataAt } from './native-metadata.ts';
import type { LegPlace, MirrorStart } from './standing.ts';

type Assembled = Extract<NativeAssembly, { kind: 'assembled' }>;

/** What a start decided and read. Plain data: it crosses threads. */
export interface NativePlan {
  readonly assembly: Assembled;
  readonly states: Uint8Array;
  /** By slot: the regions its section of the map names. */
  readonly lacks: readonly (readonly [slot: number, regions: Uint32Array])[];
  /** For each leg of the assembly what the daemon calls it, and what it remembers of it. */
  readonly legs: readonly LegRecord[];
  /** For each input of the assembly its path. */
  readonly paths: readonly string[];
  /** 16 hex digits, drawn for this start. */
  readonly run: string;
}

/** What the daemon knows of a set beside what its legs say. */
export interface NativeKnown {
  readonly setUuid: string | null;
  /** The last record the daemon was told; null: it never saw the set. */
  readonly record: MirrorRecord | null;
}

/**
 * Reads the legs and decides; nothing is written.
 * @throws ControlError bad-leg: no set; would-lose-data: a set that must not be started of these
 */
export async function planNative(
  devices: ReadonlyMap<string, BlockDevice>,
  known: NativeKnown,
  loop: Loop,
): Promise<NativePlan> {
  const paths = [...devices.keys()];
  const opened = [...devices.values()];
  const metadata = await metadataAt(opened, loop);
  const inputs = metadata.map((found, i) => ({ name: paths[i] ?? '', metadata: found }));
  const assembly = assembleNative(inputs);
  if (assembly.kind === 'refused') {
    const code = assembly.wouldLoseData === true ? 'would-lose-data' : 'bad-leg';
    throw new ControlError(code, assembly.reason);
  }
  refuseOtherSet(assembly, known, paths);
  refuseOutdated(assembly, known, paths);
  const { ruler } = assembly;
  const members = assembly.mapInputs.flatMap((input) => opened[input] ?? []);
  const geometry = { setUuid: ruler.setUuid, regions: regionsOf(ruler) };
  const slots = slotsToRead(assembly);
  const map = await mapAt(members, loop, geometry, slots);
  return {
    assembly,
    states: map.states,
    lacks: slots.map((slot) => [slot, numbersOf(map.lackOf(slot))]),
    legs: legRecords(assembly, known, paths),
    paths,
    run: drawRun(),
  };
}

export function drawRun(): string {
  return randomBytes(8).toString('hex');
}

function refuseOtherSet(
  { ruler, rulerInput }: Assembled,
  { setUuid }: NativeKnown,
  paths: readonly string[],
): void {
  if (setUuid === null || ruler.setUuid === setUuid) return;
  const whose = `${ruler.setName} (set ${ruler.setUuid})`;
  const path = paths[rulerInput] ?? '';
  throw new ControlError('bad-leg', `leg ${path} belongs to ${whose}, not to set ${setUuid}`);
}

/** The legs at hand have missed what the daemon has seen others of the set go through. */
function refuseOutdated(
  { ruler, rulerInput }: Assembled,
  { record }: NativeKnown,
  paths: readonly string[],
): void {
  if (record === null || ruler.generation >= record.generation) return;
  const wanted = record.legs.filter(({ state }) => state === 'in-sync').map(({ path }) => path);
  throw new ControlError(
    'would-lose-data',
    `leg ${paths[rulerInput] ?? ''} is of generation ${ruler.generation}, the daemon has seen ${record.generation}: ` +
      `wanted is ${wanted.join(' or ')}; dmio remove and dmio assemble start what is there all the same`,
  );
}

/** What each leg is called: where it was found, else as the daemon knows it, else its own hint. */
function legRecords(
  assembly: Assembled,
  { record }: NativeKnown,
  paths: readonly string[],
): readonly LegRecord[] {
  const remembered = new Map(record?.legs.map((leg) => [leg.slot, leg]));
  const taken = new Set(assembly.legs.flatMap(({ input }) => pathOf(paths, input) ?? []));
  return assembly.legs.map(({ entry, input, standing }) => {
    const before = remembered.get(entry.slot);
    let path = pathOf(paths, input);
    if (path === undefined) {
      path = before?.path ?? entry.name;
      // Somebody else is there now, or two names were cut alike.
      if (path === '' || taken.has(path)) path = `/missing/${entry.uuid}`;
      taken.add(path);
    }
    return {
      path,
      slot: entry.slot,
      startSector: 0,
      writeMostly: entry.writeMostly,
      failedByHand: entry.failedByHand,
      replaces: entry.replaces,
      state: STATE_OF[standing],
      reason: standing === STANDING.MEMBER ? null : reasonFor(standing, before),
      errors: entry.errors,
    };
  });
}

const STATE_OF: Readonly<Record<Standing, LegState>> = {
  member: 'in-sync',
  joining: 'resyncing',
  failed: 'failed',
  missing: 'missing',
  stale: 'stale',
};

function reasonFor(standing: Standing, before: LegRecord | undefined): string | null {
  if (standing === STANDING.MISSING) return 'not found among the legs';
  if (standing === STANDING.STALE) {
    const known = before?.state === 'missing' ? null : before?.reason;
    return known ?? 'it was out when others were written';
  }
  return null;
}

function pathOf(paths: readonly string[], input: number | null): string | undefined {
  return input === null ? undefined : paths[input];
}

function numbersOf(bits: RegionBits): Uint32Array {
  const numbers = new Uint32Array(bits.count);
  let region = bits.next(0);
  for (let i = 0; region >= 0; i += 1) {
    numbers[i] = region;
    region = bits.next(region + 1);
  }
  return numbers;
}

/** Inputs that are no legs of the set, to be closed; with the reason. */
export function excludedOf(
  plan: NativePlan,
): readonly { readonly path: string; readonly reason: string }[] {
  return plan.assembly.excluded.map(({ input, reason }) => {
    return { path: plan.paths[input] ?? '', reason };
  });
}

/** The set as the daemon records it before it has begun. */
export function recordOfPlan({ assembly, legs }: NativePlan): MirrorRecord {
  return { generation: assembly.ruler.generation, clean: assembly.membersEqual, legs };
}

/** `metadataFolder`: of a set whose metadata is not on the legs. */
export function tableOfPlan({ assembly, legs }: NativePlan, metadataFolder: string | null): string {
  const { dataSectors, regionSectors } = assembly.ruler;
  const words = formatMirrorArgs({
    logType: 'native',
    logDevice: null,
    regionSectors,
    sync: undefined,
    metadataFolder,
    legs,
    features: { handleErrors: true, keepLog: false },
  });
  return `0 ${dataSectors} mirror ${words}`;
}

/** Makes the parts of the set where it lives. `places` are in the order of the plan's legs. */
export function startOfPlan(
  plan: NativePlan,
  places: readonly LegPlace[],
  guard: MirrorRecorder,
  log: Log,
): MirrorStart {
  const byPath = new Map(places.map((place) => [place.path, place]));
  const regions = plan.states.length;
  const lacks = new Map(plan.lacks);
  const parts = nativeParts({
    assembly: plan.assembly,
    map: { states: plan.states, lackOf: (slot) => bitsOf(regions, lacks.get(slot)) },
    devices: plan.paths.map((path) => deviceAt(path, byPath)),
    names: plan.paths,
    run: plan.run,
    wallClockMs: () => Date.now(),
  });
  const legs = parts.legs.map((leg, i) => {
    const known = plan.legs[i];
    if (known === undefined) return leg;
    const { path, writeMostly, failedByHand, replaces, reason } = known;
    const why = reason === null ? {} : { reason: byPath.get(path)?.absence ?? reason };
    return { ...leg, ...why, name: path, writeMostly, failedByHand, replaces };
  });
  const { generation, membersEqual, regionLog, clearedGeneration, scrubPlace, recorder } = parts;
  return {
    legs,
    generation,
    membersEqual,
    ...(regionLog !== undefined && { regionLog }),
    ...(clearedGeneration !== undefined && { clearedGeneration }),
    ...(scrubPlace !== undefined && { scrubPlace }),
    recorder: new GuardedRecorder(recorder, guard, log),
    native: recorder,
  };
}

/** Inputs that are no legs have been closed: nobody asks for their device. */
function deviceAt(path: string, places: ReadonlyMap<string, LegPlace>): BlockDevice {
  return places.get(path)?.device as BlockDevice;
}

function bitsOf(regions: number, numbers: Uint32Array | undefined): RegionBits {
  const bits = new RegionBits(regions);
  for (const region of numbers ?? []) bits.setRange(region, region);
  return bits;
}

/** The record is on the legs; who is in sync is told to the daemon, too, as a guard. */
class GuardedRecorder implements MirrorRecorder {
  private readonly legs: NativeRecorder;
  private readonly guard: MirrorRecorder;
  private readonly log: Log;
  private told = '';

  constructor(legs: NativeRecorder, guard: MirrorRecorder, log: Log) {
    this.legs = legs;
    this.guard = guard;
    this.log = log;
  }

  attach(set: MirrorSet): void {
    this.legs.attach(set);
  }

  strangeness(leg: Leg, found: LegMetadata): string | null {
    return this.legs.strangeness(leg, found);
  }

  settle(done: () => void): void {
    this.legs.settle(done);
  }

  record(state: MirrorRecord, done: (errno: number) => void): void {
    this.legs.record(state, (errno) => {
      const who = whoIsIn(state);
      if (errno !== 0 || who === this.told) {
        done(errno);
        return;
      }
      this.guard.record(state, (guardErrno) => {
        // The legs have it, and they are what counts.
        if (guardErrno === 0) this.told = who;
        else this.log.warn({ errno: errnoName(guardErrno) }, 'the state directory is not told');
        done(0);
      });
    });
  }
}

/** Generations come and go with each pass of the cleaner; a guard is wanted when somebody leaves. */
function whoIsIn({ clean, legs }: MirrorRecord): string {
  return JSON.stringify([
    clean,
    legs.map(({ slot, path, state, writeMostly, failedByHand, replaces }) => [
      slot,
      path,
      state,
      writeMostly,
      failedByHand,
      replaces,
    ]),
  ]);
}
