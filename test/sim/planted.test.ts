// The judge is judged: bugs are planted into core one by one, and each must be found.
import { PATIENCE_MS, sim } from './cli.ts';
import { HUNTS } from './hunt.ts';

describe('the simulator', () => {
  it('is given at least 25 bugs to find', () => {
    expect(HUNTS.core.length).toBeGreaterThanOrEqual(25);
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
