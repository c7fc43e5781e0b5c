import type { LegState } from '../../core/mirror/leg.ts';
import type { MirrorRecord } from '../../core/mirror/record.ts';
import type { SimOptions } from './options.ts';

/** A leg as a restart would find it. */
export interface RecordedLeg {
  readonly path: string;
  readonly state: LegState;
}

/** With the core log: what is on record before the first life. */
export function firstRecord(options: SimOptions): MirrorRecord {
  return {
    generation: 0,
    clean: true,
    legs: Array.from({ length: options.legs }, (_, i) => ({
      path: `leg${i}`,
      slot: i,
      startSector: options.origin,
      writeMostly: false,
      failedByHand: false,
      replaces: null,
      state: options.membersAtFirst.includes(i) ? 'in-sync' : 'resyncing',
      reason: null,
      errors: { read: 0, write: 0, flush: 0, resync: 0 },
    })),
  };
}

export function withState(record: MirrorRecord, leg: number, state: LegState): MirrorRecord {
  const legs = record.legs.map((each, i) => (i === leg ? { ...each, state } : each));
  return { ...record, legs };
}
