import type { LegState } from '../../../core/mirror/leg.ts';
import type { LegEntry, RunMark, Superblock } from '../../../core/mirror/superblock.ts';

const NO_ERRORS = { read: 0, write: 0, flush: 0, resync: 0 };

export const uuidOf = (n: number): string =>
  `00000000-0000-4000-8000-${n.toString(16).padStart(12, '0')}`;
export const runOf = (n: number): string => n.toString(16).padStart(16, '0');

export function entry(slot: number, state: LegState, more: Partial<LegEntry> = {}): LegEntry {
  return {
    uuid: uuidOf(slot),
    slot,
    state,
    writeMostly: false,
    failedByHand: false,
    replaces: null,
    errors: NO_ERRORS,
    changedGeneration: 1,
    clearedWhenLeft: 0,
    last: { run: runOf(0), sequence: 0 },
    name: `leg${slot}`,
    ...more,
  };
}

/** The superblock of leg `slot` in a set of 1000 sectors, 8 to a region. */
export function superblock(slot: number, more: Partial<Superblock> = {}): Superblock {
  return {
    setUuid: uuidOf(0xfff),
    setName: 'data',
    legUuid: uuidOf(slot),
    slot,
    sequence: 10,
    generation: 5,
    clearedGeneration: 3,
    run: runOf(1),
    runStart: 8,
    runGeneration: 4,
    history: [],
    clean: false,
    zeroed: false,
    writtenAtMs: Date.UTC(2026, 1, 28, 23, 59, 58),
    dataSectors: 1000,
    deviceSectors: 2000,
    regionSectors: 8,
    scrub: null,
    legs: [entry(0, 'in-sync'), entry(1, 'in-sync')],
    ...more,
  };
}

export const mark = (run: number, sequence: number): RunMark => ({ run: runOf(run), sequence });
