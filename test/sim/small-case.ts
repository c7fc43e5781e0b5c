// One small story with a crash at one of its events: how it is played, and what a crash there leaves.
import { REQ_FLAG, REQ_OP } from '../../core/block/op.ts';
import { at } from './at.ts';
import type { Fault, FaultKind } from './faults.ts';
import type { SimFailure } from './failure.ts';
import { drawOptions, type SimLog, type SimOptions } from './options.ts';
import { asFailure } from './run.ts';
import type { OpShape } from './workload.ts';
import { World, type Trace } from './world.ts';

/** Four regions of two sectors. */
const REGION = 2;
export const SECTORS = 8;
/** The first start's records are done by then. */
const BEGUN_EVENTS = 60;

export type Plan = Omit<Fault, 'left'> & { readonly left: number };

/** A fault, and the leg that has it. */
export interface Planted {
  readonly fault: Plan;
  readonly leg: number;
}

export interface SmallCase {
  readonly legs: number;
  readonly ops: readonly OpShape[];
  readonly faults: readonly Planted[];
  readonly power: boolean;
  /** Events before the crash. */
  readonly crashAt: number;
  readonly seed: number;
  /** The fault comes when the set has begun, and is of the metadata. */
  readonly meta?: boolean;
}
export type SmallStory = Omit<SmallCase, 'crashAt'>;

/** By leg: the bios that a fault of each kind would have struck. */
export type Asked = readonly Readonly<Record<FaultKind, number>>[];

/** How a case went: whom its disks were asked for decides which other cases are the same. */
export interface Told {
  readonly isOver: boolean;
  readonly asked: Asked;
}

/** A story as it stands after so many events, without a crash. */
export interface Mark {
  /** As long as this number is the same a crash leaves the same (World.touched). */
  readonly touched: number;
  readonly asked: Asked;
}

/**
 * Plays one case. `isOver`: all had ended before the crash, so a later crash is no other story. From the
 * crash on all draws depend on what the crash leaves, not on what was drawn before.
 */
export function runSmall(
  small: SmallCase,
  log: SimLog,
  trace: Trace = null,
): { failure: SimFailure | null } & Told {
  let isOver = false;
  const world = new World(optionsOf(small, log), trace);
  const asked = world.disks.map(({ faults }) => faults.asked);
  try {
    begin(world, small);
    for (let i = 0; i < small.crashAt && !isOver; i += 1) isOver = !stepUnlessIdle(world);
    world.reseed(world.touched);
    world.crash(small.power);
    world.restart(world.disks.map(() => true));
    const all = { op: REQ_OP.READ, flags: REQ_FLAG.NONE, sector: 0, sectors: SECTORS };
    world.submit(all);
    world.rest();
    world.submit(all);
    world.stopCleanly();
  } catch (error) {
    return { failure: asFailure(error), isOver, asked };
  }
  return { failure: null, isOver, asked };
}

/** The marks of a story before each of its events, and when the last is over. Null: it fails before any crash. */
export function marksOf(story: SmallStory, log: SimLog): readonly Mark[] | null {
  const world = new World(optionsOf(story, log), null);
  const marks: Mark[] = [];
  try {
    begin(world, story);
    do {
      const asked = world.disks.map(({ faults }) => ({ ...faults.asked }));
      marks.push({ touched: world.touched, asked });
    } while (stepUnlessIdle(world));
  } catch {
    return null;
  }
  return marks;
}

function begin(world: World, { faults, ops, meta }: SmallStory): void {
  if (meta === true) {
    world.start();
    for (let i = 0; i < BEGUN_EVENTS && world.clock.busy > 0; i += 1) world.advance();
  }
  for (const { fault, leg } of faults) at(world.disks, leg).faults.add({ ...fault });
  if (meta !== true) world.start();
  for (const op of ops) world.submit(op);
}

function stepUnlessIdle(world: World): boolean {
  if (world.clock.busy === 0) return false;
  world.advance();
  return true;
}

/** The last draw: all cases of a story have the same. */
let drawn: SimOptions | null = null;

function drawnFor(seed: number, log: SimLog): SimOptions {
  if (drawn?.seed !== seed || drawn.log !== log) drawn = drawOptions(seed, log);
  return drawn;
}

function optionsOf({ seed, legs, faults, meta }: SmallStory, log: SimLog): SimOptions {
  const each = <T>(of: (leg: number) => T): T[] =>
    Array.from({ length: legs }, (_, leg) => of(leg));
  const good = each((leg) => leg).find((leg) => faults.every((planted) => planted.leg !== leg));
  return {
    ...drawnFor(seed, log),
    // With a fault on each leg none is left that anybody could rely on.
    atlas: good === undefined ? 'broken' : 'anchor',
    legs,
    anchor: good ?? 0,
    membersAtFirst: each((leg) => leg),
    regionSectors: REGION,
    sectors: SECTORS,
    blockSizes: each(() => 512),
    maxSectors: each((leg) => (leg === 0 ? 2 : 65536)),
    maxSegments: 64,
    noZeroes: each(() => false),
    noDiscard: false,
    origin: 0,
    latencyUs: each(() => 50),
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
