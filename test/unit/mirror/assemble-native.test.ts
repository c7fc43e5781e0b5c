// Every input of the decision, in the small: two legs, what each calls itself and the other, and how
// their superblocks stand to each other. Then the stories that the table was made for.
import { assembleNative, type NativeLegInput } from '../../../core/mirror/assemble-native.ts';
import type { LegState } from '../../../core/mirror/leg.ts';
import { MAX_HISTORY, type Superblock } from '../../../core/mirror/superblock.ts';
import { entry, mark, runOf, superblock, uuidOf } from './native-fixture.ts';

const STATES: readonly LegState[] = ['in-sync', 'resyncing', 'failed', 'missing', 'stale'];
const input = (sb: Superblock): NativeLegInput => ({
  name: `/dev/${sb.slot}`,
  metadata: { kind: 'superblock', superblock: sb, copy: 'a' },
});
const decide = (...superblocks: Superblock[]) => assembleNative(superblocks.map(input));
/** `0:member 1:joining+`: `+` is a delta. Or `refused`, or the reason's first words. */
const told = (result: ReturnType<typeof assembleNative>): string =>
  result.kind === 'refused'
    ? `refused: ${result.reason.split(':')[0] ?? ''}`
    : result.legs
        .map((leg) => `${leg.entry.slot}:${leg.standing}${leg.deltaPossible ? '+' : ''}`)
        .join(' ');

/** How leg 1's superblock stands to leg 0's; leg 0 is at run 1, sequence 10, generation 5, cleared 3. */
const RELATIONS: Readonly<Record<string, Partial<Superblock>>> = {
  'same superblock': {},
  'same generation, one behind': { sequence: 9 },
  'older, not cleared since': { sequence: 9, generation: 4 },
  'older, cleared since': { sequence: 5, generation: 2 },
  'of an earlier run': { run: runOf(7), sequence: 6, generation: 4, runStart: 6 },
  'older than all runs known': { run: runOf(99), sequence: 1, generation: 1, runStart: 1 },
  'gone on alone in the same past run': { run: runOf(7), sequence: 9, generation: 6, runStart: 6 },
  'of a life apart': { run: runOf(8), sequence: 12, generation: 7, history: [mark(7, 7)] },
};
const HISTORY = [mark(7, 7), ...Array.from({ length: 13 }, (_, i) => mark(20 + i, 6 - i / 10))].map(
  (each) => ({ ...each, sequence: Math.max(2, Math.floor(each.sequence)) }),
);

describe('two legs, every word of each about each', () => {
  for (const [relation, more] of Object.entries(RELATIONS)) {
    it(`holds where leg 1 is ${relation}`, () => {
      let assembled = 0;
      let refused = 0;
      for (const s00 of STATES) {
        for (const s01 of STATES) {
          for (const s10 of STATES) {
            for (const s11 of STATES) {
              const zero = superblock(0, {
                history: HISTORY,
                legs: [entry(0, s00), entry(1, s01)],
              });
              const one = superblock(1, { legs: [entry(0, s10), entry(1, s11)], ...more });
              const result = decide(zero, one);
              const turned = decide(one, zero);
              // The order in which legs are named decides nothing.
              if (relation !== 'same superblock') expect(told(turned)).toBe(told(result));
              if (result.kind === 'refused') {
                refused += 1;
                continue;
              }
              assembled += 1;
              const members = result.legs.filter(({ standing }) => standing === 'member');
              expect(members.length).toBeGreaterThan(0);
              for (const { entry: word, own } of members) {
                expect(word.state).toBe('in-sync');
                expect(own?.superblock.generation).toBe(result.ruler.generation);
              }
              // A life apart is never merged where each side has gone on without the other.
              const mutual =
                s00 === 'in-sync' && s11 === 'in-sync' && s01 !== 'in-sync' && s10 !== 'in-sync';
              if (mutual)
                expect(['of a life apart', 'gone on alone in the same past run']).not.toContain(
                  relation,
                );
            }
          }
        }
      }
      expect(assembled + refused).toBe(5 ** 4);
      expect(assembled).toBeGreaterThan(0);
      expect(refused).toBeGreaterThan(0);
    });
  }
});

/** The table of assemble-native.ts, row by row: leg 0 rules, leg 1 is judged. */
describe('what the ruler calls a leg, and how it stands', () => {
  const judged = (state: LegState, more: Partial<Superblock>, clearedWhenLeft = 3): string => {
    // It was put aside as it left, unless it went on by itself.
    const { run, sequence } = superblock(1, more);
    const last = more === beside ? {} : { last: { run, sequence } };
    const left = { clearedWhenLeft, changedGeneration: 4, ...last };
    const legs = [entry(0, 'in-sync'), entry(1, state, left)];
    const result = decide(
      superblock(0, { legs, history: HISTORY }),
      superblock(1, { legs: [entry(0, 'in-sync'), entry(1, 'in-sync')], ...more }),
    );
    return told(result).replace(/^0:member\+ 1:/, '');
  };
  const same = RELATIONS['same generation, one behind'] ?? {};
  const older = RELATIONS['older, not cleared since'] ?? {};
  const cleared = RELATIONS['older, cleared since'] ?? {};
  const past = RELATIONS['of an earlier run'] ?? {};
  const beside = RELATIONS['gone on alone in the same past run'] ?? {};
  const ancient = RELATIONS['older than all runs known'] ?? {};

  it.each([
    ['in-sync', same, 'member+'],
    ['in-sync', older, 'joining+'],
    ['in-sync', past, 'joining+'],
    ['in-sync', cleared, 'joining'],
    ['in-sync', ancient, 'joining'],
    ['resyncing', same, 'joining+'],
    ['resyncing', older, 'joining+'],
    ['resyncing', cleared, 'joining'],
    ['resyncing', beside, 'joining+'],
    ['failed', same, 'stale+'],
    ['failed', older, 'stale+'],
    ['failed', past, 'stale+'],
    ['failed', cleared, 'stale'],
    ['missing', beside, 'stale'],
    ['missing', past, 'stale+'],
    ['stale', cleared, 'stale'],
  ] as const)('%s %j: %s', (state, more, wanted) => {
    expect(judged(state, more)).toBe(wanted);
  });

  it('says missing of a leg that is not there, whatever it was', () => {
    for (const state of STATES) {
      const legs = [entry(0, 'in-sync'), entry(1, state)];
      expect(told(decide(superblock(0, { legs })))).toBe('0:member+ 1:missing+');
    }
  });

  it('demands everything of a leg that left before bits were cleared', () => {
    expect(judged('failed', older, 5)).toBe('stale');
  });
});

describe('stories', () => {
  const out = (slot: number, state: LegState, changedGeneration: number) =>
    entry(slot, state, { changedGeneration });

  it('refuses two halves that were started apart, and names both', () => {
    const history = [mark(1, 10)];
    const apart = (slot: number, run: number) =>
      superblock(slot, {
        run: runOf(run),
        sequence: 11,
        generation: 6,
        history,
        legs: [0, 1].map((each) =>
          each === slot ? entry(each, 'in-sync') : out(each, 'missing', 6),
        ),
      });
    const result = decide(apart(0, 2), apart(1, 3));
    expect(result.kind === 'refused' && result.reason).toMatch(
      /^split brain: \/dev\/0 \(generation 6, 2026-02-28T23:59:58Z\) and \/dev\/1 \(generation 6, .*one side only/,
    );
  });

  it('knows a superblock that one leg got and the other never saw', () => {
    // Leg 0 got a record with three changes at once, then all died; leg 1 was started alone.
    const half = superblock(0, {
      sequence: 11,
      generation: 9,
      legs: [entry(0, 'in-sync'), entry(1, 'in-sync'), out(2, 'failed', 9)],
    });
    const alone = superblock(1, {
      run: runOf(2),
      sequence: 11,
      generation: 6,
      history: [mark(1, 10)],
      legs: [
        { ...out(0, 'missing', 6), last: mark(1, 10) },
        entry(1, 'in-sync'),
        out(2, 'missing', 6),
      ],
    });
    expect(told(decide(half, alone))).toBe('0:stale+ 1:member+ 2:missing+');
  });

  it('goes back to the one before when a superblock reached no member', () => {
    // Leg 1 was behind and joined; the record that says so reached only leg 1.
    const member = superblock(0, { sequence: 10, generation: 5 });
    const joining = superblock(1, {
      run: runOf(2),
      sequence: 11,
      generation: 6,
      runStart: 11,
      runGeneration: 5,
      history: [mark(1, 10)],
      legs: [entry(0, 'in-sync'), out(1, 'resyncing', 6)],
    });
    expect(told(decide(member, joining))).toBe('0:member+ 1:joining+');
    // But a member that was rolled back further is not believed.
    const old = superblock(0, { sequence: 7, generation: 3 });
    expect(told(decide(old, joining))).toMatch(/^refused: no leg in sync is there/);
  });

  it('refuses what misses writes, and says what is wanted', () => {
    const legs = [out(0, 'in-sync', 1), out(1, 'failed', 5)];
    const result = decide(superblock(1, { legs }));
    expect(result).toEqual({
      kind: 'refused',
      reason: `no leg in sync is there: by /dev/1 (generation 5) wanted is leg0 (leg ${uuidOf(0)})`,
      wouldLoseData: true,
    });
  });

  it('refuses another set, a copy of a leg, and nothing at all', () => {
    const other = superblock(1, { setUuid: uuidOf(0xeee) });
    expect(told(decide(superblock(0), other))).toMatch(/belong to different sets/);
    expect(told(decide(superblock(0), superblock(0)))).toMatch(/are the same leg/);
    const none: NativeLegInput = { name: '/x', metadata: { kind: 'none' } };
    const bad: NativeLegInput = { name: '/y', metadata: { kind: 'invalid', reason: 'torn' } };
    expect(assembleNative([none, bad])).toEqual({
      kind: 'refused',
      reason: 'no leg carries metadata that can be read (/x: no metadata; /y: torn)',
      wouldLoseData: false,
    });
  });

  it('leaves out a device whose metadata is damaged, and goes on degraded', () => {
    const bad: NativeLegInput = { name: '/y', metadata: { kind: 'invalid', reason: 'torn' } };
    const result = assembleNative([bad, input(superblock(0))]);
    expect(told(result)).toBe('0:member+ 1:missing+');
    expect(result).toMatchObject({ excluded: [{ input: 0, reason: 'torn' }], mapInputs: [1] });
  });

  describe('a leg that is no member, where the member it names was removed', () => {
    /** Leg 1 has gone on; leg 2, a member once, was removed, and so was leg 0 while it could not be wiped. */
    const ruler = (more: Partial<Superblock> = {}) =>
      superblock(1, {
        run: runOf(3),
        sequence: 30,
        generation: 20,
        runStart: 20,
        history: [mark(2, 19), mark(1, 9)],
        legs: [entry(1, 'in-sync')],
        ...more,
      });
    const witness = (more: Partial<Superblock> = {}) =>
      superblock(0, {
        run: runOf(2),
        sequence: 20,
        generation: 12,
        runStart: 10,
        history: [mark(1, 9)],
        legs: [out(0, 'resyncing', 12), entry(2, 'in-sync')],
        ...more,
      });
    const isLeftOut = (one: Superblock, other: Superblock) => {
      expect(told(decide(one, other))).toBe('1:member+');
    };

    it('bears witness to nothing with a superblock that was cut short', () => {
      isLeftOut(ruler(), witness());
      // The first of its run; the runs between are gone, too.
      isLeftOut(ruler({ history: [mark(7, 19), mark(1, 9)] }), witness({ sequence: 10 }));
    });

    it('bears witness to a life apart with two of them', () => {
      expect(told(decide(ruler(), witness({ sequence: 21 })))).toBe('refused: split brain');
      const unknown = ruler({ history: [mark(7, 19), mark(6, 9)] });
      expect(told(decide(unknown, witness()))).toBe('refused: split brain');
    });

    it('bears witness to one of a member that is still a leg, or is there', () => {
      const left = { ...out(2, 'missing', 19), last: mark(2, 19) };
      const known = ruler({ legs: [entry(1, 'in-sync'), left] });
      expect(told(decide(known, witness()))).toBe('refused: split brain');
      const itself = superblock(2, { ...witness(), legUuid: uuidOf(2), slot: 2 });
      expect(told(decide(ruler(), itself))).toBe('refused: split brain');
    });

    it('is of a forgotten past as others are', () => {
      const history = Array.from({ length: MAX_HISTORY }, (_, i) => mark(90 - i, 60 - i));
      const legs = [out(0, 'missing', 15), entry(1, 'in-sync')];
      const later = ruler({ run: runOf(91), sequence: 70, history, legs });
      expect(told(decide(later, witness()))).toBe('0:stale 1:member+');
      // As a member by its own word it may have been started alone.
      const alone = witness({ legs: [entry(0, 'in-sync'), out(2, 'failed', 12)] });
      expect(told(decide(later, alone))).toBe('refused: split brain');
      // Or the member it names has.
      const named = ruler({
        ...later,
        legs: [...legs, { ...out(2, 'missing', 15), last: mark(1, 9) }],
      });
      expect(told(decide(named, witness()))).toBe('refused: split brain');
      // The run is not forgotten where any leg was given its last in it.
      const remembered = ruler({
        ...later,
        legs: [...legs, { ...out(3, 'stale', 15), last: mark(2, 20) }],
      });
      expect(told(decide(remembered, alone))).toBe('0:stale 1:member+ 3:missing+');
    });
  });

  it('demands everything of a member that shows a day before it was one', () => {
    // Nothing has been cleared since: the bits of what it was filled with went when it was in sync.
    const ruler = (changed: number) =>
      superblock(0, {
        clearedGeneration: 1,
        legs: [entry(0, 'in-sync'), entry(1, 'in-sync', { changedGeneration: changed })],
      });
    const old = superblock(1, { sequence: 9, generation: 3, clearedGeneration: 1 });
    expect(told(decide(ruler(3), old))).toBe('0:member+ 1:joining+');
    expect(told(decide(ruler(4), old))).toBe('0:member+ 1:joining');
  });

  it('leaves out a leg that was removed', () => {
    const result = decide(superblock(0), superblock(5, { sequence: 9, generation: 4 }));
    expect(result).toMatchObject({ excluded: [{ input: 1, reason: 'was removed from the set' }] });
  });
});
