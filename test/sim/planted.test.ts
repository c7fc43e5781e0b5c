// The judge is judged: bugs are planted into core one by one, and each must be found.
import { PATIENCE_MS, sim } from './cli.ts';
import { HUNTS, type HuntName } from './hunt.ts';
import { uproot } from './plant.ts';

describe('the simulator', () => {
  it('is given at least 25 bugs to find', () => {
    expect(HUNTS.core.length).toBeGreaterThanOrEqual(25);
  });

  // Bugs are planted into methods by their names: one that was renamed would only be missed by the hunt.
  it.each(Object.keys(HUNTS) as HuntName[])('can plant every bug of %s', (name) => {
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

  it(
    'finds every planted bug',
    () => {
      const { status, stdout } = sim('--mutants');
      console.log(stdout);
      expect(stdout).not.toContain('SURVIVED');
      // A line a bug, and the head of the table.
      expect(stdout.trim().split('\n').length).toBe(HUNTS.core.length + 2);
      expect(status).toBe(0);
    },
    PATIENCE_MS,
  );
});
