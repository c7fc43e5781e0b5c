import { ERRNO } from '../../core/base/errno.ts';
import { REQ_FLAG, REQ_OP } from '../../core/block/op.ts';
import { at } from './at.ts';
import type { FaultKind } from './faults.ts';
import type { SimLog } from './options.ts';
import {
  marksOf,
  runSmall,
  SECTORS,
  type Asked,
  type Mark,
  type Plan,
  type Planted,
  type SmallStory,
  type Told,
} from './small-case.ts';
import type { OpShape } from './workload.ts';

/** Two legs or three: every small story, once. */
const LEGS = [2, 3];

const OPS: readonly OpShape[] = [
  { op: REQ_OP.WRITE, flags: REQ_FLAG.NONE, sector: 0, sectors: 2 },
  { op: REQ_OP.WRITE, flags: REQ_FLAG.NONE, sector: 1, sectors: 4 },
  { op: REQ_OP.WRITE, flags: REQ_FLAG.FUA, sector: 0, sectors: 3 },
  { op: REQ_OP.WRITE_ZEROES, flags: REQ_FLAG.NONE, sector: 0, sectors: 2 },
  { op: REQ_OP.DISCARD, flags: REQ_FLAG.NONE, sector: 1, sectors: 2 },
  { op: REQ_OP.READ, flags: REQ_FLAG.NONE, sector: 0, sectors: 4 },
  { op: REQ_OP.FLUSH, flags: REQ_FLAG.NONE, sector: 0, sectors: 0 },
];

/** Behind the data of the two legs, which have 4 KiB of them at most: the metadata, all of it. */
const METADATA = { first: SECTORS, last: Infinity };
/** With the native log: of the metadata of one leg, once it has begun. */
const META_FAULTS: readonly Plan[] = [
  { kind: 'write', errno: ERRNO.EIO, left: 1, ...METADATA },
  { kind: 'write', errno: ERRNO.EIO, left: Infinity, ...METADATA },
  { kind: 'write', errno: ERRNO.ENOSPC, left: 1, ...METADATA },
  { kind: 'read', errno: ERRNO.EIO, left: Infinity, ...METADATA },
];
const EVERYWHERE = { first: 0, last: SECTORS - 1 };
const FAULTS: readonly Plan[] = [
  { kind: 'write', errno: ERRNO.EIO, left: 1, ...EVERYWHERE },
  { kind: 'read', errno: ERRNO.EIO, left: Infinity, ...EVERYWHERE },
  { kind: 'flush', errno: ERRNO.EIO, left: 1, ...EVERYWHERE },
  { kind: 'zeroes', errno: ERRNO.EOPNOTSUPP, left: Infinity, ...EVERYWHERE },
];

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

export interface Plays {
  stories: number;
  cases: number;
  played: number;
  failed: number;
}

/**
 * Every choice of up to `most` faults with a crash after every event. Counted, not played, is a case
 * - whose added fault would have struck nothing: it is the case without it, event by event. The draws
 *   are the base's, and a fault that strikes nothing changes nothing;
 * - whose last event before the crash has changed nothing that a crash leaves: it is the one before.
 * `tell` gets what failed.
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
    let marks: readonly Mark[] | null | undefined;
    plays.stories += 1;
    for (let crashAt = 0; ; crashAt += 1) {
      plays.cases += 1;
      let known = same(crashAt);
      if (known === undefined && crashAt > 0) {
        marks ??= marksOf({ ...this.base, faults }, this.log);
        known = this.asBefore(marks, at(told, crashAt - 1), crashAt);
      }
      const one = known ?? this.case(faults, crashAt);
      if (one === null) return told;
      if (known !== undefined && this.isDoubted) this.compare(known, faults, crashAt);
      told.push(one);
      if (one.isOver) return told;
    }
  }

  /** The event before this crash has changed nothing that a crash leaves: it is the crash `before`. */
  private asBefore(marks: readonly Mark[] | null, before: Told, crashAt: number): Told | undefined {
    // Legs with metadata are read and written by more than the disks' own draws.
    if (marks === null || this.log !== 'core') return undefined;
    const isOver = crashAt === marks.length;
    const then = at(marks, crashAt - 1);
    const now = isOver ? then : at(marks, crashAt);
    if (now.touched !== then.touched) return undefined;
    return { isOver, asked: askedAlso(before.asked, then.asked, now.asked) };
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

/** What was asked after the crash is the same; what was asked before it has become more. */
function askedAlso(before: Asked, then: Asked, now: Asked): Asked {
  return before.map((all, leg) => {
    const [a, b] = [at(then, leg), at(now, leg)];
    const more = (kind: FaultKind): number => all[kind] + b[kind] - a[kind];
    return {
      read: more('read'),
      write: more('write'),
      flush: more('flush'),
      zeroes: more('zeroes'),
    };
  });
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
