import { ERRNO } from '../../core/base/errno.ts';
import { REQ_FLAG, REQ_OP } from '../../core/block/op.ts';
import { at } from './at.ts';
import type { Fault } from './faults.ts';
import type { SimFailure } from './failure.ts';
import { drawOptions, type SimLog, type SimOptions } from './options.ts';
import { asFailure } from './run.ts';
import type { OpShape } from './workload.ts';
import { World, type Trace } from './world.ts';

/** Two legs, four regions of two sectors: every small story, once. */
const REGION = 2;
const SECTORS = 8;

const OPS: readonly OpShape[] = [
  { op: REQ_OP.WRITE, flags: REQ_FLAG.NONE, sector: 0, sectors: 2 },
  { op: REQ_OP.WRITE, flags: REQ_FLAG.NONE, sector: 1, sectors: 4 },
  { op: REQ_OP.WRITE, flags: REQ_FLAG.FUA, sector: 0, sectors: 3 },
  { op: REQ_OP.WRITE_ZEROES, flags: REQ_FLAG.NONE, sector: 0, sectors: 2 },
  { op: REQ_OP.DISCARD, flags: REQ_FLAG.NONE, sector: 1, sectors: 2 },
  { op: REQ_OP.READ, flags: REQ_FLAG.NONE, sector: 0, sectors: 4 },
  { op: REQ_OP.FLUSH, flags: REQ_FLAG.NONE, sector: 0, sectors: 0 },
];

type Plan = Omit<Fault, 'left'> & { readonly left: number };
/** Behind the data of the two legs, which have 4 KiB of them at most: the metadata, all of it. */
const METADATA = { first: SECTORS, last: Infinity };
/** With the native log: of the metadata of one leg, once it has begun. */
const META_FAULTS: readonly Plan[] = [
  { kind: 'write', errno: ERRNO.EIO, left: 1, ...METADATA },
  { kind: 'write', errno: ERRNO.EIO, left: Infinity, ...METADATA },
  { kind: 'write', errno: ERRNO.ENOSPC, left: 1, ...METADATA },
  { kind: 'read', errno: ERRNO.EIO, left: Infinity, ...METADATA },
];
/** The first start's records are done by then. */
const BEGUN_EVENTS = 60;
const EVERYWHERE = { first: 0, last: SECTORS - 1 };
const FAULTS: readonly (Plan | null)[] = [
  null,
  { kind: 'write', errno: ERRNO.EIO, left: 1, ...EVERYWHERE },
  { kind: 'read', errno: ERRNO.EIO, left: Infinity, ...EVERYWHERE },
  { kind: 'flush', errno: ERRNO.EIO, left: 1, ...EVERYWHERE },
  { kind: 'zeroes', errno: ERRNO.EOPNOTSUPP, left: Infinity, ...EVERYWHERE },
];

export interface SmallCase {
  readonly ops: readonly OpShape[];
  readonly fault: Plan | null;
  readonly leg: number;
  /** A second one, on the same leg or on the other. */
  readonly second?: { readonly fault: Plan; readonly leg: number };
  readonly power: boolean;
  /** Events before the crash. */
  readonly crashAt: number;
  readonly seed: number;
  /** The fault comes when the set has begun, and is of the metadata. */
  readonly meta?: boolean;
}

/** One or two writes, each fault of the metadata on each leg: what ends at the worst moment is believed? */
export function* metaStories(): Generator<Omit<SmallCase, 'crashAt'>> {
  let seed = 0;
  for (const ops of sequences(2)) {
    if (!ops.some(({ op }) => op === REQ_OP.WRITE)) continue;
    for (const fault of META_FAULTS) {
      for (const leg of [0, 1]) {
        for (const power of [false, true]) {
          seed += 1;
          yield { ops, fault, leg, power, seed, meta: true };
        }
      }
    }
  }
}

/** All sequences of up to `length` requests under way at once, each with every fault on each leg. */
export function* smallStories(length: number): Generator<Omit<SmallCase, 'crashAt'>> {
  let seed = 0;
  for (const ops of sequences(length)) {
    for (const fault of FAULTS) {
      for (const leg of fault === null ? [0] : [0, 1]) {
        for (const power of [false, true]) {
          seed += 1;
          yield { ops, fault, leg, power, seed };
        }
      }
    }
  }
}

/** The same with each pair of faults. */
export function* twiceFaultyStories(length: number): Generator<Omit<SmallCase, 'crashAt'>> {
  let seed = 0;
  const planted = FAULTS.flatMap((fault) =>
    fault === null ? [] : [0, 1].map((leg) => ({ fault, leg })),
  );
  for (const ops of sequences(length)) {
    for (const [i, one] of planted.entries()) {
      for (const second of planted.slice(i + 1)) {
        for (const power of [false, true]) {
          seed += 1;
          yield { ops, ...one, second, power, seed };
        }
      }
    }
  }
}

function* sequences(length: number): Generator<readonly OpShape[]> {
  yield [];
  if (length === 0) return;
  for (const op of OPS) for (const rest of sequences(length - 1)) yield [op, ...rest];
}

/** Plays one case. `isOver`: all had ended before the crash, so a later crash is no other story. */
export function runSmall(
  small: SmallCase,
  log: SimLog,
  trace: Trace = null,
): { failure: SimFailure | null; isOver: boolean } {
  let isOver = false;
  const world = new World(optionsOf(small, log), trace);
  try {
    const { fault, second } = small;
    if (small.meta === true) {
      world.start();
      for (let i = 0; i < BEGUN_EVENTS && world.clock.busy > 0; i += 1) world.advance();
    }
    if (fault !== null) at(world.disks, small.leg).faults.add({ ...fault });
    if (second !== undefined) at(world.disks, second.leg).faults.add({ ...second.fault });
    if (small.meta !== true) world.start();
    for (const op of small.ops) world.submit(op);
    for (let i = 0; i < small.crashAt && !isOver; i += 1) isOver = !stepUnlessIdle(world);
    world.crash(small.power);
    world.restart([true, true]);
    const all = { op: REQ_OP.READ, flags: REQ_FLAG.NONE, sector: 0, sectors: SECTORS };
    world.submit(all);
    world.rest();
    world.submit(all);
    world.stopCleanly();
  } catch (error) {
    return { failure: asFailure(error), isOver };
  }
  return { failure: null, isOver };
}

function stepUnlessIdle(world: World): boolean {
  if (world.clock.busy === 0) return false;
  world.advance();
  return true;
}

function optionsOf({ seed, leg, second, meta }: SmallCase, log: SimLog): SimOptions {
  return {
    ...drawOptions(seed, log),
    // With a fault on each leg none is left that anybody could rely on.
    atlas: second === undefined || second.leg === leg ? 'anchor' : 'broken',
    legs: 2,
    anchor: 1 - leg,
    membersAtFirst: [0, 1],
    regionSectors: REGION,
    sectors: SECTORS,
    blockSizes: [512, 512],
    maxSectors: [2, 65536],
    maxSegments: 64,
    noZeroes: [false, false],
    noDiscard: false,
    origin: 0,
    latencyUs: [50, 50],
    recorderLatencyUs: 50,
    recorderFailureRate: 0,
    readPolicy: { kind: 'round-robin' },
    cleanAfterMs: 1,
    rotPercent: 0,
    rollbackPercent: 0,
    // Legs whose metadata cannot be read are brought again when they can be.
    metaFaultEvery: meta === true ? 1 : 0,
  };
}
