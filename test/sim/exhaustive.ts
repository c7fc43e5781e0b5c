import { ERRNO } from '../../core/base/errno.ts';
import { REQ_FLAG, REQ_OP } from '../../core/block/op.ts';
import { at } from './at.ts';
import type { Fault, FaultKind } from './faults.ts';
import type { SimFailure } from './failure.ts';
import { drawOptions, type SimLog, type SimOptions } from './options.ts';
import { asFailure } from './run.ts';
import type { OpShape } from './workload.ts';
import { World, type Trace } from './world.ts';

/** Two legs or three, four regions of two sectors: every small story, once. */
const LEGS = [2, 3];
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
const FAULTS: readonly Plan[] = [
  { kind: 'write', errno: ERRNO.EIO, left: 1, ...EVERYWHERE },
  { kind: 'read', errno: ERRNO.EIO, left: Infinity, ...EVERYWHERE },
  { kind: 'flush', errno: ERRNO.EIO, left: 1, ...EVERYWHERE },
  { kind: 'zeroes', errno: ERRNO.EOPNOTSUPP, left: Infinity, ...EVERYWHERE },
];

/** A fault, and the leg that has it. */
interface Planted {
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

/** One or two writes, each fault of the metadata on each leg: what ends at the worst moment is believed? */
export function* metaStories(): Generator<SmallStory> {
  let seed = 0;
  for (const ops of sequences(2)) {
    if (!ops.some(({ op }) => op === REQ_OP.WRITE)) continue;
    for (const fault of META_FAULTS) {
      for (const leg of [0, 1]) {
        for (const power of [false, true]) {
          seed += 1;
          yield { legs: 2, ops, faults: [{ fault, leg }], power, seed, meta: true };
        }
      }
    }
  }
}

/** What clients ask for, and how all ends; the faults are still to be chosen. */
export interface SmallBase {
  readonly legs: number;
  readonly ops: readonly OpShape[];
  readonly power: boolean;
  readonly seed: number;
}

/** All sequences of up to `length` requests under way at once, of two legs and of three. */
export function* smallBases(length: number): Generator<SmallBase> {
  let seed = 0;
  for (const legs of LEGS) {
    for (const ops of sequences(length)) {
      for (const power of [false, true]) {
        seed += 1;
        yield { legs, ops, power, seed };
      }
    }
  }
}

/** How many choices of up to `most` faults `smallBases` has in all, by arithmetic. */
export function countStories(length: number, most: number): number {
  let count = 0;
  for (const legs of LEGS) {
    for (let long = 0; long <= length; long += 1) {
      const without = OPS.filter((op) => !isZeroing(op)).length ** long;
      const withZeroes = OPS.length ** long - without;
      count += 2 * (without * choicesOf(3, legs, most) + withZeroes * choicesOf(4, legs, most));
    }
  }
  return count;
}

/** How many choices of up to `most` faults the base has. */
export function storiesOf(base: SmallBase, most: number): number {
  return choicesOf(placesOf(base).length / base.legs, base.legs, most);
}

/** Of `kinds` kinds of faults, two of which come and go: none, one, two that differ, the same one twice. */
function choicesOf(kinds: number, legs: number, most: number): number {
  const places = kinds * legs;
  const pairs = (places * (places - 1)) / 2 + 2 * legs;
  return 1 + (most > 0 ? places : 0) + (most > 1 ? pairs : 0);
}

/** Faults of one kind on one leg. */
function placesOf({ ops, legs }: SmallBase): Planted[] {
  const kinds = FAULTS.filter(({ kind }) => kind !== 'zeroes' || hasZeroes(ops));
  return Array.from({ length: legs }, (_, leg) => kinds.map((fault) => ({ fault, leg }))).flat();
}

/** How a case went: whom its disks were asked for decides which other cases are the same. */
interface Told {
  readonly isOver: boolean;
  /** By leg: the bios that a fault of each kind would have struck. */
  readonly asked: readonly Readonly<Record<FaultKind, number>>[];
}

export interface Plays {
  stories: number;
  cases: number;
  played: number;
  failed: number;
}

/**
 * Every choice of up to `most` faults with a crash after every event. A case whose added fault would have
 * struck nothing is the case without it, event by event: the draws are the base's, and a fault that
 * strikes nothing changes nothing. It is counted, not played. `tell` gets what failed.
 */
export class BasePlayer {
  private readonly base: SmallBase;
  private readonly log: SimLog;
  private readonly plays: Plays;
  private readonly tell: (line: string) => void;
  /** What would be left out is played all the same, and held against what it is said to be. */
  private readonly isDoubted: boolean;

  constructor(
    base: SmallBase,
    log: SimLog,
    plays: Plays,
    tell: (line: string) => void,
    isDoubted = false,
  ) {
    this.isDoubted = isDoubted;
    this.base = base;
    this.log = log;
    this.plays = plays;
    this.tell = tell;
  }

  play(most: number): void {
    const none = this.story([], () => undefined);
    if (most < 1) return;
    const places = placesOf(this.base);
    const singles = places.map((one) =>
      this.story([one], (k) => (isAsked(none[k], one, 1) ? undefined : none[k])),
    );
    if (most < 2) return;
    for (const [i, one] of places.entries()) {
      const single = at(singles, i);
      // A sticky fault twice is that fault.
      if (one.fault.left === 1) {
        this.story([one, one], (k) => (isAsked(single[k], one, 2) ? undefined : single[k]));
      }
      for (let j = i + 1; j < places.length; j += 1) {
        const other = at(places, j);
        const second = at(singles, j);
        this.story([one, other], (k) => {
          if (!isAsked(single[k], other, 1)) return single[k];
          return isAsked(second[k], one, 1) ? undefined : second[k];
        });
      }
    }
  }

  /** One choice of faults; `same`: the case that this one is the same as, as far as is known. */
  private story(faults: readonly Planted[], same: (crashAt: number) => Told | undefined): Told[] {
    const { plays } = this;
    const told: Told[] = [];
    plays.stories += 1;
    for (let crashAt = 0; ; crashAt += 1) {
      plays.cases += 1;
      const known = same(crashAt);
      const one = known ?? this.case(faults, crashAt);
      if (one === null) return told;
      if (known !== undefined && this.isDoubted) this.compare(known, faults, crashAt);
      told.push(one);
      if (one.isOver) return told;
    }
  }

  /** Null: it failed. */
  private case(faults: readonly Planted[], crashAt: number): Told | null {
    this.plays.played += 1;
    const small = { ...this.base, faults, crashAt };
    const { failure, isOver, asked } = runSmall(small, this.log);
    if (failure === null) return { isOver, asked };
    this.plays.failed += 1;
    this.tell(`${JSON.stringify(small)} failed: ${failure.message}`);
    return null;
  }

  private compare(known: Told, faults: readonly Planted[], crashAt: number): void {
    const told = JSON.stringify(this.case(faults, crashAt));
    if (told === JSON.stringify(known)) return;
    this.plays.failed += 1;
    this.tell(`not the same: ${JSON.stringify({ faults, crashAt, known })} and ${told}`);
  }
}

/** Undefined: nobody knows, as the other story was over before. */
function isAsked(told: Told | undefined, { fault, leg }: Planted, times: number): boolean {
  return told === undefined || at(told.asked, leg)[fault.kind] >= times;
}

/** Only clients ask for zeroes or a discard here: without such a request this fault is none. */
function hasZeroes(ops: readonly OpShape[]): boolean {
  return ops.some(isZeroing);
}

function isZeroing({ op }: OpShape): boolean {
  return op === REQ_OP.WRITE_ZEROES || op === REQ_OP.DISCARD;
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
): { failure: SimFailure | null } & Told {
  let isOver = false;
  const world = new World(optionsOf(small, log), trace);
  const asked = world.disks.map(({ faults }) => faults.asked);
  try {
    if (small.meta === true) {
      world.start();
      for (let i = 0; i < BEGUN_EVENTS && world.clock.busy > 0; i += 1) world.advance();
    }
    for (const { fault, leg } of small.faults) at(world.disks, leg).faults.add({ ...fault });
    if (small.meta !== true) world.start();
    for (const op of small.ops) world.submit(op);
    for (let i = 0; i < small.crashAt && !isOver; i += 1) isOver = !stepUnlessIdle(world);
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

function stepUnlessIdle(world: World): boolean {
  if (world.clock.busy === 0) return false;
  world.advance();
  return true;
}

function optionsOf({ seed, legs, faults, meta }: SmallCase, log: SimLog): SimOptions {
  const each = <T>(of: (leg: number) => T): T[] =>
    Array.from({ length: legs }, (_, leg) => of(leg));
  const good = each((leg) => leg).find((leg) => faults.every((planted) => planted.leg !== leg));
  return {
    ...drawOptions(seed, log),
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
