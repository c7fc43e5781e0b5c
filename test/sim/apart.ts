// Two parts of one set, started apart from each other: what law I11 is about. The model knows one
// truth only, so nobody judges reads here; the one question is what the next start of all decides.
import { REQ_FLAG, REQ_OP } from '../../core/block/op.ts';
import { checkApart, type Side } from './checkers/i11-split-brain.ts';
import type { SimFailure } from './failure.ts';
import { asFailure } from './run.ts';
import { drawOptions, type SimOptions } from './options.ts';
import { World, type Trace } from './world.ts';

/** How a life ends: cleanly, or by a kill after so many events. */
type End = 'clean' | number;

export interface ApartCase {
  readonly legs: number;
  readonly common: End;
  readonly first: readonly number[];
  readonly firstEnd: End;
  readonly second: readonly number[];
  readonly secondEnd: End;
  readonly seed: number;
}

const KILLS: readonly End[] = ['clean', 0, 1, 2, 3, 5, 8, 12, 18, 26, 40, 60];
const SIDES: readonly (readonly [number, readonly number[], readonly number[]])[] = [
  [2, [0], [1]],
  [3, [0], [1]],
  [3, [0], [1, 2]],
  [3, [1, 2], [0]],
];

/** Every way to end three lives, of every split of two and three legs. */
export function* apartStories(): Generator<ApartCase> {
  let seed = 0;
  for (const [legs, first, second] of SIDES) {
    for (const common of KILLS) {
      for (const firstEnd of KILLS) {
        for (const secondEnd of KILLS) {
          seed += 1;
          yield { legs, common, first, firstEnd, second, secondEnd, seed };
        }
      }
    }
  }
}

export function runApart(story: ApartCase, trace: Trace = null): SimFailure | null {
  try {
    const world = new World(optionsOf(story), trace);
    world.isBlind = true;
    world.start();
    writeAndEnd(world, story.common);
    const first = liveAlone(world, story.legs, story.first, story.firstEnd);
    const second = liveAlone(world, story.legs, story.second, story.secondEnd);
    checkApart(world, first, second);
  } catch (error) {
    return asFailure(error);
  }
  return null;
}

/** Starts with these legs only. How many writes were acknowledged; -1: it was refused. */
function liveAlone(world: World, legs: number, side: readonly number[], end: End): Side {
  const present = Array.from({ length: legs }, (_, i) => side.includes(i));
  if (!world.restartStrictly(present)) return { legs: side, acknowledged: -1 };
  return { legs: side, acknowledged: writeAndEnd(world, end) };
}

function writeAndEnd(world: World, end: End): number {
  const before = world.acknowledgedWrites;
  const write = { op: REQ_OP.WRITE, flags: REQ_FLAG.FUA, sector: 0, sectors: 2 };
  world.submit(write);
  if (end === 'clean') {
    world.rest();
    world.stopCleanly();
  } else {
    for (let i = 0; i < end && world.clock.busy > 0; i += 1) world.advance();
    world.crash(false);
  }
  return world.acknowledgedWrites - before;
}

function optionsOf({ seed, legs }: ApartCase): SimOptions {
  const each = <T>(value: T): T[] => Array.from({ length: legs }, () => value);
  return {
    ...drawOptions(seed, 'native'),
    atlas: 'calm',
    legs,
    anchor: 0,
    membersAtFirst: Array.from({ length: legs }, (_, i) => i),
    regionSectors: 2,
    sectors: 8,
    blockSizes: each(512),
    maxSectors: each(65536),
    maxSegments: 64,
    noZeroes: each(false),
    latencyUs: each(50),
    readPolicy: { kind: 'round-robin' },
    cleanAfterMs: 1,
    rotPercent: 0,
    rollbackPercent: 0,
  };
}
