import { Prng } from '../../core/base/prng.ts';
import type { ReadPolicy } from '../../core/mirror/options.ts';
import { DEFAULT_PACE, type PaceLimits } from '../../core/mirror/resync-pace.ts';
import type { ClientsMix } from './clients/front.ts';
import type { TellsZeroes } from './disk.ts';

/**
 * What the fault atlas allows.
 * calm: no faults. anchor: one member never has any, the others have all kinds. latent: reads may
 * fail anywhere, but each sector can be read from some member. broken: anything, anywhere.
 */
type Atlas = 'calm' | 'anchor' | 'latent' | 'broken';

/** Which legs are remote, and how often a network or a server fails: one action in so many; 0: never. */
interface RemoteMix {
  readonly legs: readonly boolean[];
  readonly links: number;
  readonly timeoutMs: number;
  readonly troubleEvery: number;
  /** Servers come back with another content than they had. */
  readonly swaps: boolean;
}

/** The mix of one seed. */
export interface SimOptions {
  readonly seed: number;
  readonly atlas: Atlas;
  readonly legs: number;
  readonly anchor: number;
  /** Legs that are in sync at the beginning; the others have to be filled. */
  readonly membersAtFirst: readonly number[];
  readonly regionSectors: number;
  readonly sectors: number;
  readonly blockSizes: readonly number[];
  readonly maxSectors: readonly number[];
  readonly maxSegments: number;
  readonly noZeroes: readonly boolean[];
  readonly noDiscard: boolean;
  readonly origin: number;
  readonly latencyUs: readonly number[];
  readonly recorderLatencyUs: number;
  readonly recorderFailureRate: number;
  readonly readPolicy: ReadPolicy;
  readonly depth: number;
  readonly actions: number;
  readonly maxOpSectors: number;
  /** Percent of requests that aim at one hot place. */
  readonly hotPercent: number;
  readonly weights: {
    readonly read: number;
    readonly write: number;
    readonly zeroes: number;
    readonly discard: number;
    readonly flush: number;
  };
  readonly fuaPercent: number;
  /** One action in so many; 0: never. */
  readonly faultEvery: number;
  readonly crashEvery: number;
  readonly operatorEvery: number;
  readonly suspendEvery: number;
  readonly restEvery: number;
  readonly powerCutPercent: number;
  readonly absentPercent: number;
  readonly readdPercent: number;
  /** Where the set keeps its record and its dirty regions. */
  readonly log: SimLog;
  /** native, disk: how long a region is left dirty. */
  readonly cleanAfterMs: number;
  /** native: chances that metadata rots, or a leg is put back to an earlier day, while all is down. */
  readonly rotPercent: number;
  readonly rollbackPercent: number;
  /** native: one action in so many breaks something in the metadata of a leg; 0: never. */
  readonly metaFaultEvery: number;
  /** native: of a thousand metadata writes so many are followed by a crash. */
  readonly metaCrashPermille: number;
  /** native: every leg reads zeros at first, and the set knows. */
  readonly zeroed: boolean;
  /** Legs come and go while the set serves: one action in so many; 0: never. */
  readonly legChangeEvery: number;
  /** Disks that are no legs at first. */
  readonly spares: number;
  /** Of every leg; 0: none. */
  readonly legTimeoutMs: number;
  /** One action in so many makes a leg stuck for a while, or lets it go; 0: never. */
  readonly stallEvery: number;
  /** One action in so many makes a leg's device shorter, or as long again; absent: never. */
  readonly cutEvery?: number;
  readonly pace: PaceLimits;
  /** One action in so many begins, stops or resumes a scrub; 0: never. */
  readonly scrubEvery: number;
  /** Whether disks say what reads as zeros; never: as if it were not there. */
  readonly tellsZeroes?: TellsZeroes;
  /** Legs that other servers serve; null: none. */
  readonly remote: RemoteMix | null;
  /** Clients on connections; absent: requests enter at the mapped device. */
  readonly clients?: ClientsMix;
  /** Percent of scrubs that repair. Nobody damages legs here, so they find nothing to repair. */
  readonly repairPercent: number;
}

export const SIM_LOGS = ['core', 'native', 'disk'] as const;
export type SimLog = (typeof SIM_LOGS)[number];

const ATLASES: readonly Atlas[] = ['calm', 'anchor', 'anchor', 'anchor', 'latent', 'broken'];

export function drawOptions(seed: number, log: SimLog = 'core'): SimOptions {
  const options = drawCommon(seed);
  // Draws of its own: what the core log's seeds mean stays what it was.
  const prng = new Prng(seed + 2 ** 45);
  const native = {
    ...options,
    log,
    // A leg may be stuck for half an hour: not a million turns of the cleaner.
    cleanAfterMs: Math.max(prng.pick([1, 10, 100, 5000]), options.legTimeoutMs),
    rotPercent: prng.pick([0, 0, 20, 50]),
    rollbackPercent: prng.pick([0, 0, 20]),
    metaFaultEvery: 0,
    metaCrashPermille: 0,
    zeroed: false,
  };
  return log !== 'native' ? native : { ...native, origin: 0, recorderFailureRate: 0 };
}

/** The same seed with faults in the metadata of its native legs, or with legs of zeros; draws of its own. */
export function withMetaFaults(options: SimOptions): SimOptions {
  const prng = new Prng(options.seed + 2 ** 52);
  return {
    ...options,
    metaFaultEvery: prng.pick([5, 15, 50]),
    metaCrashPermille: prng.pick([0, 5, 20, 60]),
    zeroed: prng.ratio(1, 3),
  };
}

type Native =
  | 'log'
  | 'cleanAfterMs'
  | 'rotPercent'
  | 'rollbackPercent'
  | 'metaFaultEvery'
  | 'metaCrashPermille'
  | 'zeroed';
type Common = Omit<SimOptions, Native>;

function drawCommon(seed: number): Common {
  const prng = new Prng(seed);
  const atlas = prng.pick(ATLASES);
  const legs = prng.pick([2, 2, 2, 3, 3, 4]);
  const each = <T>(draw: () => T): T[] => Array.from({ length: legs }, draw);
  const bigBlocks = prng.ratio(1, 4);
  const blockSizes = each(() => (bigBlocks && prng.ratio(1, 2) ? 4096 : 512));
  const block = Math.max(...blockSizes) / 512;
  const regionSectors = Math.max(block, prng.pick([2, 4, 8, 16]));
  const regions = prng.between(2, 12);
  const shorter = prng.ratio(1, 3) ? block * prng.below(regionSectors / block) : 0;
  const anchor = prng.below(legs);
  const fresh = prng.ratio(1, 4);
  const membersAtFirst = each(() => 0)
    .map((_, i) => i)
    .filter((i) => i === anchor || !fresh || prng.ratio(1, 3));
  return {
    seed,
    atlas,
    legs,
    anchor,
    membersAtFirst,
    regionSectors,
    sectors: regions * regionSectors - shorter,
    blockSizes,
    maxSectors: each(() => prng.pick([block, block * 2, block * 4, 65536])),
    maxSegments: prng.pick([8, 9, 64]),
    noZeroes: each(() => prng.ratio(1, 6)),
    noDiscard: prng.ratio(1, 4),
    origin: prng.ratio(1, 4) ? block * 8 : 0,
    latencyUs: each(() => prng.pick([20, 100, 100, 1000])),
    recorderLatencyUs: prng.pick([1, 50, 500, 5000]),
    recorderFailureRate: prng.ratio(1, 6) ? prng.pick([2, 5, 10]) : 0,
    readPolicy: drawPolicy(prng, legs),
    depth: prng.pick([1, 2, 4, 8, 16]),
    actions: prng.pick([100, 250, 600]),
    maxOpSectors: prng.pick([regionSectors, regionSectors * 2, regionSectors * 3]),
    hotPercent: prng.pick([0, 30, 80]),
    weights: {
      read: prng.pick([2, 4, 8]),
      write: prng.pick([2, 4, 8]),
      zeroes: prng.pick([0, 1, 2]),
      discard: prng.pick([0, 1]),
      flush: prng.pick([0, 1, 2]),
    },
    fuaPercent: prng.pick([0, 10, 50]),
    faultEvery: atlas === 'calm' ? 0 : prng.pick([20, 60, 200]),
    crashEvery: prng.pick([0, 0, 100, 300, 600]),
    operatorEvery: prng.pick([0, 100, 400]),
    // Of its own generator: what else a seed means stays as it was.
    suspendEvery: new Prng(seed + 2 ** 48).pick([0, 0, 40, 150]),
    restEvery: prng.pick([0, 100, 300]),
    powerCutPercent: prng.pick([0, 50, 100]),
    absentPercent: prng.pick([0, 0, 20]),
    readdPercent: prng.pick([0, 50, 90]),
    legChangeEvery: 0,
    spares: 0,
    ...drawStalls(seed, atlas),
    remote: null,
    ...drawBackground(seed),
  };
}

/** Legs that do not answer for minutes: of their own generator, as all that came later. */
function drawStalls(seed: number, atlas: Atlas): Pick<SimOptions, 'legTimeoutMs' | 'stallEvery'> {
  const prng = new Prng(seed + 2 ** 49);
  const mayStall = atlas === 'anchor' || atlas === 'broken';
  if (!mayStall || prng.ratio(3, 4)) return { legTimeoutMs: 0, stallEvery: 0 };
  return { legTimeoutMs: prng.pick([500, 2000, 5000]), stallEvery: prng.pick([20, 60, 150]) };
}

/** Drawn apart, so that seeds keep the rest of their story. */
function drawBackground(seed: number): Pick<SimOptions, 'pace' | 'scrubEvery' | 'repairPercent'> {
  const prng = new Prng(seed + 2 ** 45);
  const min = prng.pick([2 ** 18, DEFAULT_PACE.min, 2 ** 26]);
  return {
    pace: { min, max: prng.pick([Infinity, Infinity, min, min * 4]) },
    scrubEvery: prng.pick([0, 0, 40, 150]),
    repairPercent: prng.pick([0, 50, 100]),
  };
}

/**
 * The same seed with spare disks and an operator at work on the legs. The draws of `drawOptions` stay
 * what they are: its seeds are regressions.
 */
export function drawLegOptions(seed: number, log: SimLog = 'core'): SimOptions {
  const base = drawOptions(seed, log);
  const prng = new Prng(seed + 2 ** 46);
  const spares = prng.between(1, 3);
  const more = <T>(draw: () => T): T[] => Array.from({ length: spares }, draw);
  const block = Math.max(...base.blockSizes) / 512;
  return {
    ...base,
    // Where reads fail anywhere but each sector is left on some member, no leg can be spared.
    atlas: base.atlas === 'latent' ? 'anchor' : base.atlas,
    spares,
    blockSizes: [...base.blockSizes, ...more(() => 512 * prng.pick([1, block]))],
    maxSectors: [...base.maxSectors, ...more(() => prng.pick([block, block * 4, 65536]))],
    noZeroes: [...base.noZeroes, ...more(() => prng.ratio(1, 6))],
    latencyUs: [...base.latencyUs, ...more(() => prng.pick([20, 100, 1000]))],
    legChangeEvery: prng.pick([10, 30, 60]),
  };
}

/** The same seed with legs that are served by others, behind a network. */
export function drawRemoteOptions(seed: number, swaps = false): SimOptions {
  const base = drawOptions(seed);
  const prng = new Prng(seed + 2 ** 52);
  // A network takes a whole leg away, so none can be spared where each has something only it can read.
  const atlas = base.atlas === 'latent' ? 'anchor' : base.atlas;
  const legs = base.latencyUs.map((_, i) => prng.ratio(i === base.anchor ? 1 : 3, 4));
  if (!legs.includes(true)) legs[base.anchor === 0 ? 1 : 0] = true;
  const remote = {
    legs,
    links: prng.pick([1, 2, 2, 3]),
    timeoutMs: prng.pick([400, 2000, 10_000]),
    troubleEvery: atlas === 'calm' ? 0 : prng.pick([10, 40, 120]),
    swaps,
  };
  return { ...base, atlas, remote };
}

/** The same seed with an operator at work on the legs, and legs whose devices become shorter, and longer again. */
export function drawCutOptions(seed: number): SimOptions {
  const base = drawLegOptions(seed);
  const prng = new Prng(seed + 2 ** 52 + 2 ** 24);
  return { ...base, atlas: 'anchor', cutEvery: prng.pick([10, 30, 100]) };
}

function drawPolicy(prng: Prng, legs: number): ReadPolicy {
  const kind = prng.pick(['least-pending', 'round-robin', 'prefer'] as const);
  return kind === 'prefer' ? { kind, leg: prng.below(legs) } : { kind };
}
