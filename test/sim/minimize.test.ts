// A failing seed is made small: the planted bug stands for one of ours.
import { minimize, replaySmallest } from './minimize.ts';
import { MUTANTS } from './mutants.ts';
import { drawOptions } from './options.ts';
import { uproot } from './plant.ts';
import { runSeed } from './run.ts';

const BUG = 'forget FUA on the way to the legs';
const SEED = 1;

describe('minimize', () => {
  afterEach(uproot);

  it('leaves of a failing seed what is needed to break the same law, and it plays again', () => {
    const options = drawOptions(SEED);
    MUTANTS.find(({ bug }) => bug === BUG)?.plant();
    const { failure } = runSeed(options);
    expect(failure?.checker).toBe('I4');
    const smallest = minimize(options);
    if (smallest === null) throw new Error('the seed did not fail when it was recorded');
    expect(smallest.steps).toBeGreaterThan(smallest.keep.length);
    expect(smallest.keep.length).toBeLessThanOrEqual(3);
    expect(smallest.failure.checker).toBe('I4');
    const lines: string[] = [];
    const again = replaySmallest(options, smallest.keep, smallest.set, (line) => lines.push(line));
    expect(again?.message).toBe(smallest.failure.message);
    expect(lines.filter((line) => line.includes('call ')).length).toBeLessThanOrEqual(3);
  });

  it('says of a seed that does not fail that there is nothing to shrink', () => {
    expect(minimize(drawOptions(SEED))).toBeNull();
  });
});
