// Interleaves the turns of contestants, A B C A B C, and keeps every sample.
import { loadavg } from 'node:os';

import type { Cell, Contestant, Outcome, Sample } from './types.ts';

/** One bad turn may be the machine's; a second one is the contestant's, and ends its part. */
const FAILURES_UNTIL_OUT = 2;

interface OpenCell {
  readonly label: string;
  readonly samples: Sample[];
  readonly failures: string[];
}

/** Ends early, with the samples so far, when the signal is aborted. */
export async function runContest(
  name: string,
  contestants: readonly Contestant[],
  rounds: number,
  signal: AbortSignal,
): Promise<Outcome> {
  const cells = contestants.map(({ label }): OpenCell => ({ label, samples: [], failures: [] }));
  for (let round = 1; round <= rounds; round += 1) {
    for (const [i, { turn }] of contestants.entries()) {
      const cell = cells[i];
      if (cell === undefined || cell.failures.length >= FAILURES_UNTIL_OUT) continue;
      if (signal.aborted) return { name, cells: cells.map(closed) };
      const loadAverage = loadavg()[0] ?? NaN;
      try {
        cell.samples.push({ round, loadAverage, ...(await turn(round)) });
      } catch (error) {
        // What the interrupt broke is nobody's failure.
        if (signal.aborted) return { name, cells: cells.map(closed) };
        cell.failures.push(`round ${round}: ${oneLine(error)}`);
      }
    }
  }
  return { name, cells: cells.map(closed) };
}

function closed({ label, samples, failures }: OpenCell): Cell {
  return { label, samples, failure: failures.length === 0 ? null : failures.join('; ') };
}

function oneLine(error: unknown): string {
  const text = error instanceof Error ? error.message : String(error);
  return text.replace(/\s+/g, ' ').trim();
}
