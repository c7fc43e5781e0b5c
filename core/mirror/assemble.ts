import { assert } from '../base/assert.ts';
import { STANDING, type LegState, type Standing } from './leg.ts';
import type { MirrorRecord } from './record.ts';

/** How a set starts from what the last run left behind. */
export type Assembly =
  | {
      readonly kind: 'assembled';
      /** One for each leg of the record, in its order. */
      readonly standings: readonly Standing[];
      readonly membersEqual: boolean;
      readonly generation: number;
    }
  | { readonly kind: 'refused'; readonly reason: string };

/**
 * The decision table. A leg is what the record says it is, never what its device looks like.
 *
 * | recorded as   | device there | device not there | because                                      |
 * |---------------|--------------|------------------|----------------------------------------------|
 * | in-sync       | MEMBER       | MISSING          | it holds every acknowledged write            |
 * | resyncing     | JOINING      | MISSING          | it lacks some regions, nobody knows which    |
 * | failed        | STALE        | MISSING          | it misses writes                             |
 * | missing       | STALE        | MISSING          | it may miss writes of the run it was not in  |
 * | stale         | STALE        | MISSING          | it misses writes                             |
 *
 * A leg that was resyncing is MISSING when it is not there, and so STALE when it is back.
 */
const STANDING_OF: Readonly<Record<LegState, Standing>> = {
  'in-sync': STANDING.MEMBER,
  resyncing: STANDING.JOINING,
  failed: STANDING.STALE,
  missing: STANDING.STALE,
  stale: STANDING.STALE,
};

/**
 * `present[i]`: the device of leg i could be opened. Without a leg that was recorded as in sync the
 * set is refused: whatever else is there misses acknowledged writes (I7, I10).
 */
export function assembleFromRecord(record: MirrorRecord, present: readonly boolean[]): Assembly {
  assert(present.length === record.legs.length, 'a record of other legs');
  const standings = record.legs.map(({ state }, i) =>
    present[i] === true ? STANDING_OF[state] : STANDING.MISSING,
  );
  if (!standings.includes(STANDING.MEMBER)) {
    return { kind: 'refused', reason: 'no leg in sync is there' };
  }
  return {
    kind: 'assembled',
    standings,
    membersEqual: record.clean,
    generation: record.generation,
  };
}
