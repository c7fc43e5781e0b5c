// The part of the simulator that every run of the tests plays; for more, see README.md. It runs in a
// process of its own: Jest's sandbox makes every use of a global several times slower.
import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { ROOT } from '../support/root.ts';
import { drawLegOptions, drawOptions, withMetaFaults } from './options.ts';
import { NATIVE_REGRESSIONS, REGRESSIONS } from './regressions.ts';
import { runSeed } from './run.ts';

const SEEDS = 3000;
const SMALL_OPS = 2;
const PATIENCE_MS = 600_000;

function sim(...args: readonly string[]): { status: number | null; stdout: string } {
  const main = join(ROOT, 'dist/test/sim/main.js');
  return spawnSync(process.execPath, [main, ...args], { encoding: 'utf8' });
}

describe('the mirror, simulated', () => {
  it.each(REGRESSIONS)('seed $seed ($law): $bug', ({ seed }) => {
    expect(runSeed(drawOptions(seed)).failure).toBeNull();
  });

  it(
    `holds in the first ${SEEDS} seeds`,
    () => {
      const { status, stdout } = sim('--count', String(SEEDS));
      expect(stdout).toMatch(/^3000 seeds, 0 failed/);
      expect(status).toBe(0);
    },
    PATIENCE_MS,
  );

  it.each([
    ['the native log', 300, ['--log', 'native']],
    ['legs that come and go', 300, ['--legs']],
    ['both', 300, ['--legs', '--log', 'native']],
    ['faults in the native metadata', 200, ['--log', 'native', '--meta']],
    ['all of that', 100, ['--legs', '--log', 'native', '--meta']],
  ] as const)(
    'holds with %s in the first %i seeds',
    (_, count, args) => {
      const { status, stdout } = sim(...args, '--count', String(count));
      expect(stdout).toMatch(new RegExp(`^${count} seeds, 0 failed`));
      expect(status).toBe(0);
    },
    PATIENCE_MS,
  );

  it.each(NATIVE_REGRESSIONS)('native seed $seed ($law): $bug', ({ seed, legs, meta }) => {
    const options = (legs ? drawLegOptions : drawOptions)(seed, 'native');
    const played = meta === true ? withMetaFaults(options) : options;
    expect(runSeed(played).failure).toBeNull();
  });

  it(
    'scrubs damaged legs as it should, in the first 2000 scrub stories',
    () => {
      const { status, stdout } = sim('--scrub', '--count', '2000');
      expect(stdout).toMatch(/^2000 scrub stories, 0 failed/);
      expect(status).toBe(0);
    },
    PATIENCE_MS,
  );

  it(
    `holds in every story of up to ${SMALL_OPS} requests, one fault, one crash`,
    () => {
      const { status, stdout } = sim('--small', String(SMALL_OPS));
      expect(stdout).toMatch(/^\d{5} small cases, 0 failed$/m);
      expect(status).toBe(0);
    },
    PATIENCE_MS,
  );
});

describe('the simulator', () => {
  it('plays a seed the same way twice', () => {
    const lines = (): string[] => {
      const trace: string[] = [];
      runSeed(drawOptions(7), (line) => trace.push(line));
      return trace;
    };
    const first = lines();
    expect(first.length).toBeGreaterThan(100);
    expect(lines()).toEqual(first);
  });

  it(
    'finds every planted bug',
    () => {
      const { status, stdout } = sim('--mutants');
      console.log(stdout);
      expect(stdout).not.toContain('SURVIVED');
      expect(stdout.split('\n').length).toBeGreaterThan(12);
      expect(status).toBe(0);
    },
    PATIENCE_MS,
  );
});
