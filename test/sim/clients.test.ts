// Clients on simulated connections, above core/export and core/nbd; and the bugs they have to find there.
import { PATIENCE_MS, sim } from './cli.ts';
import { drawClientOptions, drawStuckClientOptions } from './clients/options.ts';
import { HUNTS } from './hunt.ts';
import { minimize } from './minimize.ts';
import { uproot } from './plant.ts';
import { CLIENT_REGRESSIONS, STUCK_CLIENT_REGRESSIONS } from './regressions.ts';
import { runSeed } from './run.ts';

const SEEDS = 300;

describe('clients over connections, simulated', () => {
  it(
    `are told the truth in ${SEEDS} seeds`,
    () => {
      const { status, stdout } = sim('--clients', '--count', String(SEEDS));
      expect(stdout).toMatch(new RegExp(`^${SEEDS} seeds, 0 failed`, 'm'));
      expect(status).toBe(0);
    },
    PATIENCE_MS,
  );

  it.each(CLIENT_REGRESSIONS)('seed $seed ($law): $bug', ({ seed }) => {
    expect(runSeed(drawClientOptions(seed)).failure).toBeNull();
  });

  it.each(STUCK_CLIENT_REGRESSIONS)('stuck seed $seed ($law): $bug', ({ seed }) => {
    expect(runSeed(drawStuckClientOptions(seed)).failure).toBeNull();
  });

  it('is made small when a seed fails', () => {
    HUNTS.clients.find(({ bug }) => bug === 'FUA is dropped in the session')?.plant();
    const options = drawClientOptions(1);
    const smallest = minimize(options);
    uproot();
    expect(smallest?.failure.checker).toBe('I4');
    expect(smallest?.keep.length).toBeLessThanOrEqual(3);
    expect(minimize(options)).toBeNull();
  });

  it('plays a seed the same way twice', () => {
    const lines = (): string[] => {
      const trace: string[] = [];
      runSeed(drawClientOptions(7), (line) => trace.push(line));
      return trace;
    };
    const first = lines();
    expect(first.filter((line) => line.includes('nbd: ')).length).toBeGreaterThan(10);
    expect(lines()).toEqual(first);
  });
});
