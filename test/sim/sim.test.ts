// The part of the simulator that every run of the tests plays, with variants.test.ts, small.test.ts and
// planted.test.ts, which may run beside it; for more, see README.md.
import { PATIENCE_MS, sim } from './cli.ts';
import {
  drawCutOptions,
  drawLegOptions,
  drawOptions,
  drawRemoteOptions,
  withMetaFaults,
} from './options.ts';
import {
  CUT_REGRESSIONS,
  NATIVE_REGRESSIONS,
  REGRESSIONS,
  REMOTE_REGRESSIONS,
} from './regressions.ts';
import { runSeed } from './run.ts';

const SEEDS = 4000;

describe('the mirror, simulated', () => {
  it.each(REGRESSIONS)('seed $seed ($law): $bug', ({ seed }) => {
    expect(runSeed(drawOptions(seed)).failure).toBeNull();
  });

  it(
    `holds in the first ${SEEDS} seeds`,
    () => {
      const { status, stdout } = sim('--count', String(SEEDS), '--jobs', '1');
      expect(stdout).toMatch(/^4000 seeds, 0 failed/m);
      expect(status).toBe(0);
    },
    PATIENCE_MS,
  );

  it.each(NATIVE_REGRESSIONS)('native seed $seed ($law): $bug', ({ seed, legs, meta }) => {
    const options = (legs ? drawLegOptions : drawOptions)(seed, 'native');
    const played = meta === true ? withMetaFaults(options) : options;
    expect(runSeed(played).failure).toBeNull();
  });

  it.each(REMOTE_REGRESSIONS)('remote seed $seed ($law): $bug', ({ seed }) => {
    expect(runSeed(drawRemoteOptions(seed)).failure).toBeNull();
  });

  it.each(CUT_REGRESSIONS)('cut seed $seed ($law): $bug', ({ seed }) => {
    expect(runSeed(drawCutOptions(seed)).failure).toBeNull();
  });
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
});
