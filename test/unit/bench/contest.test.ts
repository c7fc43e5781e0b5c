import { runContest } from '../../bench/contest.ts';
import { NOTHING } from '../../bench/turn.ts';
import type { Contestant } from '../../bench/types.ts';

const NEVER = new AbortController().signal;

/** Contestants that write down their turns; `turns` decides what each does. */
function contestants(
  log: string[],
  turns: Readonly<Record<string, (round: number) => void>>,
): Contestant[] {
  return Object.entries(turns).map(([label, turn]) => ({
    label,
    turn: async (round) => {
      log.push(`${label}${round}`);
      turn(round);
      return { ...NOTHING, requestsPerSecond: round };
    },
  }));
}

const fine = (): void => undefined;
const broken = (): never => {
  throw new Error('did not\n start');
};

describe('runContest', () => {
  it('interleaves: A B C A B C', async () => {
    const log: string[] = [];
    const all = contestants(log, { a: fine, b: fine, c: fine });
    const outcome = await runContest('row', all, 2, NEVER);
    expect(log).toEqual(['a1', 'b1', 'c1', 'a2', 'b2', 'c2']);
    expect(outcome.name).toBe('row');
    expect(outcome.cells.map(({ label }) => label)).toEqual(['a', 'b', 'c']);
    expect(outcome.cells[1]?.samples).toMatchObject([
      { round: 1, requestsPerSecond: 1 },
      { round: 2, requestsPerSecond: 2 },
    ]);
    expect(outcome.cells[1]?.failure).toBeNull();
  });

  it('says why a cell failed, gives it up after two turns, and goes on with the others', async () => {
    const log: string[] = [];
    const all = contestants(log, { a: broken, b: fine });
    const { cells } = await runContest('row', all, 4, NEVER);
    expect(log).toEqual(['a1', 'b1', 'a2', 'b2', 'b3', 'b4']);
    expect(cells[0]?.failure).toBe('round 1: did not start; round 2: did not start');
    expect(cells[1]?.samples).toHaveLength(4);
  });

  it('counts a cell with one bad turn as failed, with its good samples kept', async () => {
    const all = contestants([], { a: (round) => (round === 2 ? broken() : undefined) });
    const { cells } = await runContest('row', all, 3, NEVER);
    expect(cells[0]?.failure).toBe('round 2: did not start');
    expect(cells[0]?.samples.map(({ round }) => round)).toEqual([1, 3]);
  });

  it('ends at an interrupt with the samples so far, and blames nobody', async () => {
    const interrupt = new AbortController();
    const interrupted = (round: number): void => {
      if (round < 2) return;
      interrupt.abort();
      throw new Error('its server was ended');
    };
    const log: string[] = [];
    const all = contestants(log, { a: fine, b: interrupted, c: fine });
    const { cells } = await runContest('row', all, 5, interrupt.signal);
    expect(log).toEqual(['a1', 'b1', 'c1', 'a2', 'b2']);
    expect(cells.map(({ samples }) => samples.length)).toEqual([2, 1, 1]);
    expect(cells.map(({ failure }) => failure)).toEqual([null, null, null]);
  });
});
