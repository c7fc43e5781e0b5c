// The judge is judged: bugs are planted into core one by one, and each must be found.
import { PATIENCE_MS, sim } from './cli.ts';
import { FOUND_BY } from './found-by.ts';
import { HUNTS, type HuntName } from './hunt.ts';
import { uproot } from './plant.ts';

const NAMES = Object.keys(HUNTS) as HuntName[];
const FLAGS: Readonly<Record<HuntName, readonly string[]>> = {
  core: [],
  disk: ['--log', 'disk'],
  native: ['--log', 'native'],
  clients: ['--clients'],
};

describe('the simulator', () => {
  it('is given at least 25 bugs to find', () => {
    expect(HUNTS.core.length).toBeGreaterThanOrEqual(25);
  });

  // Bugs are planted into methods by their names: one that was renamed would only be missed by the hunt.
  it.each(NAMES)('can plant every bug of %s', (name) => {
    for (const { bug, plant } of HUNTS[name]) {
      try {
        plant();
      } catch (error) {
        throw new Error(bug, { cause: error });
      } finally {
        uproot();
      }
    }
    expect(HUNTS[name].length).toBeGreaterThan(0);
  });

  // A bug that found-by.ts knew by another name would be hunted from the first seed on, in every run.
  it.each(NAMES)('knows what has found each bug of %s', (name) => {
    expect(Object.keys(FOUND_BY[name]).sort()).toEqual(HUNTS[name].map(({ bug }) => bug).sort());
  });

  it.each(NAMES)(
    'finds every bug planted for %s',
    (name) => {
      const { status, stdout } = sim('--mutants', ...FLAGS[name]);
      console.log(stdout);
      expect(stdout).not.toContain('SURVIVED');
      // A line a bug, and the head of the table.
      expect(stdout.trim().split('\n').length).toBe(HUNTS[name].length + 2);
      expect(status).toBe(0);
    },
    PATIENCE_MS,
  );
});
