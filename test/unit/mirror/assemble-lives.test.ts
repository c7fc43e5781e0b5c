// Every way three legs can live three lives: each life starts on some of the legs, and ends with a
// superblock that came to some of those it was for. What a start of all then decides is held against
// what was acknowledged: a life whose first superblock came to all of its legs may have acknowledged.
import {
  assembleNative,
  RULES,
  type NativeAssembly,
  type NativeLegPlan,
} from '../../../core/mirror/assemble-native.ts';
import { MAX_HISTORY, type LegEntry, type Superblock } from '../../../core/mirror/superblock.ts';
import { at } from '../../sim/at.ts';
import { entry, mark, runOf, superblock } from './native-fixture.ts';

const LEGS = [0, 1, 2] as const;
const FIRST = runOf(1);

/** A life and the one it goes back to. */
interface Life {
  readonly run: string;
  readonly parent: Life | null;
  /** It may have told a client of a write. */
  readonly mayAcknowledge: boolean;
  /** The legs it was for. */
  readonly slots: readonly number[];
}

interface State {
  /** What is on each leg. */
  readonly legs: readonly Superblock[];
  readonly lives: ReadonlyMap<string, Life>;
}

/** `first`, `second`: which of the legs of the life got its superblocks; null: it died before. */
interface Step {
  readonly present: readonly number[];
  readonly first: readonly number[];
  readonly second: readonly number[] | null;
}

function subsets(items: readonly number[]): number[][] {
  const [item, ...rest] = items;
  if (item === undefined) return [[]];
  return subsets(rest).flatMap((each) => [each, [item, ...each]]);
}

const STEPS: readonly Step[] = subsets(LEGS).flatMap((present) => {
  if (present.length === 0) return [];
  const all = subsets(present);
  const whole = present;
  const partly = all.filter(({ length }) => length < present.length);
  return [
    ...partly.map((first) => ({ present, first, second: null })),
    ...all.map((second) => ({ present, first: whole, second })),
  ];
});

const decide = (legs: readonly Superblock[], present: readonly number[]): NativeAssembly =>
  assembleNative(
    present.map((i) => ({
      name: `leg${i}`,
      metadata: { kind: 'superblock', superblock: at(legs, i), copy: 'a' },
    })),
  );

function firstState(): State {
  const legs = LEGS.map((slot) =>
    superblock(slot, {
      sequence: 1,
      generation: 1,
      clearedGeneration: 1,
      runStart: 1,
      runGeneration: 0,
      clean: true,
      legs: LEGS.map((each) => entry(each, 'in-sync', { last: mark(1, 1) })),
    }),
  );
  const life: Life = { run: FIRST, parent: null, mayAcknowledge: true, slots: LEGS };
  return { legs, lives: new Map([[FIRST, life]]) };
}

/** As native-start.ts and native-recorder.ts have it: what the table of a new life says of a leg. */
function entryOf({ entry: old, own, standing }: NativeLegPlan, generation: number): LegEntry {
  const states = { member: 'in-sync', joining: 'resyncing', stale: 'stale' } as const;
  const state = standing === 'missing' || standing === 'failed' ? 'missing' : states[standing];
  const isOut = state === 'stale' || state === 'missing';
  const wasIn = old.state === 'in-sync' || old.state === 'resyncing';
  let last = old.last;
  if (own !== null) {
    const { run, sequence } = own.superblock;
    const isRolledBack = run === old.last.run ? sequence < old.last.sequence : standing === 'stale';
    if (!isRolledBack) last = { run, sequence };
  }
  return {
    ...old,
    state,
    last,
    changedGeneration: state === old.state ? old.changedGeneration : generation,
    clearedWhenLeft: isOut && wasIn ? 1 : old.clearedWhenLeft,
  };
}

/** null: the start is refused, so there is no such life. */
function live({ legs, lives }: State, step: Step, run: string): State | null {
  const assembly = decide(legs, step.present);
  if (assembly.kind === 'refused') return null;
  const { ruler } = assembly;
  const generation = ruler.generation + 1;
  const active = assembly.legs.filter(
    ({ standing }) => standing === 'member' || standing === 'joining',
  );
  const slots = active.map(({ entry: { slot } }) => slot);
  const came = (got: readonly number[]): readonly number[] => slots.filter((i) => got.includes(i));
  const first = { run, sequence: assembly.lastSequence + 1 };
  const common: Partial<Superblock> = {
    ...first,
    generation,
    clearedGeneration: 1,
    runStart: first.sequence,
    runGeneration: ruler.generation,
    history: [{ run: ruler.run, sequence: ruler.sequence }, ...ruler.history].slice(0, MAX_HISTORY),
    legs: assembly.legs.map((plan) => entryOf(plan, generation)),
  };
  const next = [...legs];
  for (const i of came(step.first)) next[i] = superblock(i, common);
  const isComplete = came(step.first).length === slots.length;
  if (isComplete && step.second !== null) {
    const table = (common.legs ?? []).map((each) =>
      slots.includes(each.slot) ? { ...each, last: first } : each,
    );
    const more = {
      ...common,
      sequence: first.sequence + 1,
      generation: generation + 1,
      legs: table,
    };
    for (const i of came(step.second)) next[i] = superblock(i, more);
  }
  const parent = lives.get(ruler.run) ?? null;
  const life = { run, parent, mayAcknowledge: isComplete, slots };
  return { legs: next, lives: new Map([...lives, [run, life]]) };
}

function goesBack(life: Life | undefined, run: string): boolean {
  for (let each = life ?? null; each !== null; each = each.parent)
    if (each.run === run) return true;
  return false;
}

/** Neither goes back to the other. */
function areBeside(one: Life, other: Life): boolean {
  return !goesBack(one, other.run) && !goesBack(other, one.run);
}

/** Both may have acknowledged; or no leg of the one was there in the other, so that nobody can know. */
function mayBeRefused(one: Life, other: Life): boolean {
  if (!areBeside(one, other)) return false;
  if (one.mayAcknowledge && other.mayAcknowledge) return true;
  return one.slots.every((slot) => !other.slots.includes(slot));
}

interface Counts {
  assembled: number;
  apart: number;
  noMember: number;
}

/** What a start of all legs decides, against what was acknowledged. */
function judge({ legs, lives }: State, counts: Counts): void {
  const assembly = decide(legs, LEGS);
  const told = [...lives.values()].filter(({ mayAcknowledge }) => mayAcknowledge);
  if (assembly.kind === 'refused') {
    if (assembly.reason.startsWith('split brain')) {
      counts.apart += 1;
      const all = [...lives.values()];
      const isTrue = all.some((one) => all.some((other) => mayBeRefused(one, other)));
      if (!isTrue) throw new Error('a false split brain');
    } else {
      counts.noMember += 1;
    }
    return;
  }
  counts.assembled += 1;
  // Nothing that may have been acknowledged is left out of what rules.
  const life = lives.get(assembly.ruler.run);
  const lost = told.find(({ run }) => !goesBack(life, run));
  if (lost !== undefined) throw new Error(`life ${lost.run} is lost under ${assembly.ruler.run}`);
  // A member has seen every change of who is in sync.
  for (const { standing, own } of assembly.legs) {
    if (standing !== 'member') continue;
    if (own?.superblock.generation !== assembly.ruler.generation) throw new Error('an old member');
  }
}

function playAll(depth: number, counts: Counts): void {
  const play = (state: State, left: number, story: string): void => {
    for (const [i, step] of STEPS.entries()) {
      const next = live(state, step, runOf(1000 * left + i));
      if (next === null) continue;
      const told = `${story} ${JSON.stringify(step)}`;
      try {
        judge(next, counts);
      } catch (error) {
        throw new Error(`${String(error)} after${told}`, { cause: error });
      }
      if (left > 1) play(next, left - 1, told);
    }
  };
  play(firstState(), depth, '');
}

describe('lives of three legs, in every order and with every end', () => {
  it('never merges two that may both have acknowledged, nor parts two that did not', () => {
    const counts: Counts = { assembled: 0, apart: 0, noMember: 0 };
    playAll(2, counts);
    expect(counts.assembled).toBeGreaterThan(100);
    expect(counts.apart).toBeGreaterThan(50);
  });

  it('would be caught by this if it did', () => {
    const { isBehind } = RULES;
    try {
      RULES.isBehind = () => true;
      expect(() => playAll(2, { assembled: 0, apart: 0, noMember: 0 })).toThrow(/is lost under/);
      RULES.isBehind = (other, one) => other.run === one.run;
      expect(() => playAll(2, { assembled: 0, apart: 0, noMember: 0 })).toThrow(
        /false split brain/,
      );
    } finally {
      RULES.isBehind = isBehind;
    }
  });
});
