// The part of the simulator that every run of the tests plays. For more: `npm run sim -- --count N`.
import { runSmall, smallStories } from './exhaustive.ts';
import { drawOptions } from './options.ts';
import { REGRESSIONS } from './regressions.ts';
import { runSeed } from './run.ts';

const FIRST_SEED = 1;
const SEEDS = 3000;
const SMALL_OPS = 2;

describe('the mirror, simulated', () => {
  it.each(REGRESSIONS)('seed $seed ($law): $bug', ({ seed }) => {
    expect(runSeed(drawOptions(seed)).failure).toBeNull();
  });

  it(`holds in seeds ${FIRST_SEED}..${FIRST_SEED + SEEDS - 1}`, () => {
    const failed: string[] = [];
    for (let seed = FIRST_SEED; seed < FIRST_SEED + SEEDS; seed += 1) {
      const { failure } = runSeed(drawOptions(seed));
      if (failure !== null) failed.push(`seed ${seed}: ${failure.message}`);
    }
    expect(failed).toEqual([]);
  });

  it(`holds in every story of up to ${SMALL_OPS} requests, one fault, one crash`, () => {
    const failed: string[] = [];
    let cases = 0;
    for (const story of smallStories(SMALL_OPS)) {
      for (let crashAt = 0; ; crashAt += 1) {
        const { failure, isOver } = runSmall({ ...story, crashAt });
        cases += 1;
        if (failure !== null) {
          const { ops, fault, leg, power } = story;
          failed.push(`${JSON.stringify({ ops, fault, leg, power, crashAt })}: ${failure.message}`);
        }
        if (isOver || failure !== null) break;
      }
    }
    console.log(`${cases} small cases`);
    expect(failed).toEqual([]);
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
