// Every record of up to three legs against every set of devices that are there.
import { assembleFromRecord } from '../../../core/mirror/assemble.ts';
import { STANDING, type LegState, type Standing } from '../../../core/mirror/leg.ts';
import type { MirrorRecord } from '../../../core/mirror/record.ts';

const STATES: readonly LegState[] = ['in-sync', 'resyncing', 'failed', 'missing', 'stale'];

function recordOf(states: readonly LegState[], clean: boolean): MirrorRecord {
  const errors = { read: 0, write: 0, flush: 0, resync: 0 };
  const rest = { startSector: 0, writeMostly: false, failedByHand: false, replaces: null };
  const legs = states.map((state, slot) => {
    return { path: `/leg${slot}`, slot, state, reason: null, errors, ...rest };
  });
  return { generation: 7, clean, legs };
}

function* words<T>(letters: readonly T[], length: number): Generator<readonly T[]> {
  if (length === 0) yield [];
  else
    for (const rest of words(letters, length - 1)) for (const one of letters) yield [...rest, one];
}

describe('assembleFromRecord', () => {
  it.each<[LegState, Standing]>([
    ['in-sync', STANDING.MEMBER],
    ['resyncing', STANDING.JOINING],
    ['failed', STANDING.STALE],
    ['missing', STANDING.STALE],
    ['stale', STANDING.STALE],
  ])('a leg recorded as %s that is there is %s', (state, standing) => {
    const assembly = assembleFromRecord(recordOf(['in-sync', state], true), [true, true]);
    expect(assembly).toMatchObject({ standings: [STANDING.MEMBER, standing] });
  });

  it('takes generation and cleanness from the record', () => {
    const assembly = assembleFromRecord(recordOf(['in-sync', 'in-sync'], false), [true, true]);
    expect(assembly).toMatchObject({ generation: 7, membersEqual: false });
  });

  it('refuses exactly when no leg recorded as in sync is there, and believes no other leg', () => {
    let refused = 0;
    let assembled = 0;
    for (const length of [2, 3]) {
      for (const states of words(STATES, length)) {
        for (const present of words([true, false], length)) {
          const assembly = assembleFromRecord(recordOf(states, true), present);
          const believable = states.map((state, i) => state === 'in-sync' && present[i] === true);
          if (assembly.kind === 'refused') {
            refused += 1;
            expect(believable).not.toContain(true);
            continue;
          }
          assembled += 1;
          const { standings } = assembly;
          expect(standings.map((standing) => standing === STANDING.MEMBER)).toEqual(believable);
          expect(standings.map((standing) => standing !== STANDING.MISSING)).toEqual(present);
        }
      }
    }
    expect(refused + assembled).toBe(5 ** 2 * 4 + 5 ** 3 * 8);
    expect(assembled).toBeGreaterThan(100);
  });

  it('refuses a record of other legs as a mistake of the caller', () => {
    expect(() => assembleFromRecord(recordOf(['in-sync', 'stale'], true), [true])).toThrow();
  });
});
