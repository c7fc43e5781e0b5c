// Builders of measured cells.
import { NOTHING } from '../../bench/turn.ts';
import type { Cell } from '../../bench/types.ts';

/** A cell with `requestsPerSecond` by round. */
export function cellOf(
  label: string,
  byRound: Readonly<Record<number, number>>,
  failure: string | null = null,
): Cell {
  const samples = Object.entries(byRound).map(([round, requestsPerSecond]) => ({
    ...NOTHING,
    round: Number(round),
    loadAverage: 1,
    requestsPerSecond,
  }));
  return { label, samples, failure };
}
