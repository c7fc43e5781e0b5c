// Who is in sync when another table takes a device's place: the table of succession.ts, line by line.
import { ControlError } from '../../../core/control/error.ts';
import { NO_LEG_ERRORS } from '../../../core/control/status.ts';
import type { LegState } from '../../../core/mirror/leg.ts';
import type { LegRecord, MirrorRecord } from '../../../core/mirror/record.ts';
import { readTable } from '../../../daemon/devices/assemble.ts';
import { succeed } from '../../../daemon/devices/succession.ts';

const SECTORS = 4096;

function mirror(legs: string, log = '1 64', sectors = SECTORS): string {
  const words = legs
    .split(' ')
    .map((leg) => (leg.includes('@') ? leg.replace('@', ' ') : `${leg} 0`));
  return `0 ${sectors} mirror core ${log} ${words.length} ${words.join(' ')}`;
}

let slots = 0;

function legRecord(path: string, state: LegState): LegRecord {
  slots += 1;
  const flags = { writeMostly: false, failedByHand: false, replaces: null, reason: null };
  return { path, state, slot: slots % 64, startSector: 0, ...flags, errors: NO_LEG_ERRORS };
}

function record(states: Readonly<Record<string, LegState>>, clean = true): MirrorRecord {
  const legs = Object.entries(states).map(([path, state]) => {
    return legRecord(path, state);
  });
  return { generation: 7, clean, legs };
}

interface Case {
  readonly from: string;
  readonly known?: MirrorRecord;
  readonly to: string;
  readonly force?: boolean;
}

function successor({ from, known, to, force = false }: Case): MirrorRecord | null {
  const before = { spec: readTable(from), mirror: known ?? null };
  return succeed('d', before, { spec: readTable(to), lines: [to], force });
}

function statesOf(one: Case): string {
  return (successor(one)?.legs ?? []).map(({ path, state }) => `${path} ${state}`).join(', ');
}

const AB = mirror('/a /b');
const GOOD = record({ '/a': 'in-sync', '/b': 'in-sync' });
const LATE = record({ '/a': 'in-sync', '/b': 'failed' });
const linear = (leg: string, offset = 0): string => `0 ${SECTORS} linear ${leg} ${offset}`;

describe('succeed', () => {
  it.each<[string, Case, string]>([
    ['the same table', { from: AB, known: GOOD, to: AB }, '/a in-sync, /b in-sync'],
    ['legs in another order', { from: AB, known: GOOD, to: mirror('/b /a') }, '/b in-sync, /a in-sync'],
    ['one leg replaced', { from: AB, known: GOOD, to: mirror('/c /b') }, '/c resyncing, /b in-sync'],
    ['a failed leg comes back first', { from: AB, known: LATE, to: mirror('/b /a') }, '/b resyncing, /a in-sync'],
    ['a leg that was joining', { from: AB, known: record({ '/a': 'in-sync', '/b': 'resyncing' }), to: AB }, '/a in-sync, /b resyncing'],
    ['nosync of a mirror that knows better', { from: AB, known: LATE, to: mirror('/a /b /c', '2 64 nosync') }, '/a in-sync, /b resyncing, /c resyncing'],
    ['sync', { from: AB, known: GOOD, to: mirror('/b /a', '2 64 sync') }, '/b in-sync, /a resyncing'],
    ['another place on the same leg', { from: AB, known: GOOD, to: mirror('/a@8 /b') }, '/a resyncing, /b in-sync'],
    ['a longer mirror', { from: AB, known: GOOD, to: mirror('/a /b', '1 64', 8192) }, '/a in-sync, /b resyncing'],
    ['a disk', { from: linear('/b'), to: AB }, '/a resyncing, /b in-sync'],
    ['a disk, and the word of the user', { from: linear('/b'), to: mirror('/a /b', '2 64 nosync') }, '/a in-sync, /b in-sync'],
    ['a disk from another place', { from: linear('/b', 8), to: AB }, '/a in-sync, /b resyncing'],
    ['two lines', { from: '0 8 zero\n8 8 error', to: AB }, '/a in-sync, /b resyncing'],
    ['other legs, as new ones', { from: AB, known: GOOD, to: mirror('/c /d') }, '/c in-sync, /d resyncing'],
    ['a stale leg by force', { from: AB, known: LATE, to: mirror('/b /c'), force: true }, '/b in-sync, /c resyncing'],
    ['no mirror', { from: AB, known: GOOD, to: linear('/b') }, ''],
    ['no mirror, by force', { from: AB, known: LATE, to: linear('/b'), force: true }, ''],
  ])('%s', (_name, one, wanted) => {
    expect(statesOf(one)).toBe(wanted);
  }); // prettier-ignore

  it.each<[string, Case]>([
    ['a mirror whose truth would be a stale leg', { from: AB, known: LATE, to: mirror('/b /c') }],
    ['a disk that is a stale leg', { from: AB, known: LATE, to: linear('/b') }],
    ['a disk that has a stale leg somewhere', { from: AB, known: LATE, to: `${linear('/a')}\n4096 8 linear /b 0` }],
  ])('refuses %s', (_name, one) => {
    expect(() => successor(one)).toThrow(ControlError);
    expect(() => successor(one)).toThrow('leg /b of d is failed: clients would read old data');
  }); // prettier-ignore

  it('goes on in generations, doubts and errors', () => {
    const errors = { ...NO_LEG_ERRORS, write: 3 };
    const known: MirrorRecord = {
      generation: 7,
      clean: false,
      legs: [
        { ...legRecord('/a', 'in-sync'), slot: 5, writeMostly: true, errors },
        legRecord('/b', 'in-sync'),
      ],
    };
    const next = successor({ from: AB, known, to: mirror('/c /a') });
    expect(next).toMatchObject({ generation: 8, clean: false });
    expect(next?.legs[1]).toMatchObject({ errors, slot: 5, writeMostly: true });
    expect(next?.legs[0]).toMatchObject({ slot: 0, writeMostly: false });
  });
});
