// Seeds played by several processes, and what is written down of them.
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { PATIENCE_MS, sim } from './cli.ts';
import { SeedPool } from './jobs.ts';
import type { Played } from './tally.ts';

const dir = mkdtempSync(join(tmpdir(), 'dmiod-sim-'));
afterAll(() => rmSync(dir, { recursive: true }));

interface Summary {
  readonly isOver: boolean;
  readonly seeds: Readonly<Record<'first' | 'last' | 'played' | 'next', number>>;
  readonly kinds: Readonly<Record<string, { readonly played: number }>>;
  readonly failures: readonly unknown[];
}

describe('seeds, played by several processes', () => {
  it(
    'are each played once, and the summary says so',
    () => {
      const file = join(dir, 'report.json');
      const { status, stdout } = sim(
        ...['--mix', '--seed', '3000', '--count', '60', '--jobs', '2', '--report', file],
      );
      expect(stdout).toMatch(/^60 seeds, 0 failed/m);
      expect(status).toBe(0);
      const { isOver, seeds, kinds, failures } = JSON.parse(readFileSync(file, 'utf8')) as Summary;
      expect(isOver).toBe(true);
      expect(seeds).toEqual({ first: 3000, last: 3059, played: 60, next: 3060 });
      expect(Object.values(kinds).reduce((sum, { played }) => sum + played, 0)).toBe(60);
      expect(failures).toEqual([]);
    },
    PATIENCE_MS,
  );

  it(
    'are played by another where a process dies',
    async () => {
      const played: Played[] = [];
      let isKilled = false;
      const pool = new SeedPool('scrub', 1, 100, (some) => {
        played.push(...some);
        const [pid] = pool.pids;
        if (isKilled || pid === undefined) return;
        isKilled = true;
        process.kill(pid, 'SIGKILL');
      });
      await pool.run(2);
      expect(isKilled).toBe(true);
      expect(pool.next).toBe(101);
      const seeds = played.map(({ seed }) => seed).sort((a, b) => a - b);
      expect(seeds).toEqual(Array.from({ length: 100 }, (_, i) => i + 1));
      expect(played.every(({ failure }) => failure === null)).toBe(true);
    },
    PATIENCE_MS,
  );
});
