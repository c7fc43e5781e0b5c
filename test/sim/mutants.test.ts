// The judge is judged: each planted bug must be found, or seed counts mean nothing.
import { MUTANTS, uproot, type Mutant } from './mutants.ts';
import { drawOptions } from './options.ts';
import { runSeed } from './run.ts';

/** Seeds a bug may hide for. */
const SEEDS = 1500;

interface Find {
  readonly checker: string;
  readonly seeds: number;
}

function hunt({ plant }: Mutant): Find | null {
  for (let seed = 1; seed <= SEEDS; seed += 1) {
    plant();
    try {
      const { failure } = runSeed(drawOptions(seed));
      if (failure !== null) return { checker: failure.checker, seeds: seed };
    } finally {
      uproot();
    }
  }
  return null;
}

const table: string[] = [];

afterAll(() => {
  console.log(`planted bug | found by | seeds needed\n${table.join('\n')}`);
});

describe('the simulator finds a planted bug', () => {
  it.each(MUTANTS)('$bug', (mutant) => {
    const find = hunt(mutant);
    table.push(`${mutant.bug} | ${find?.checker ?? 'SURVIVED'} | ${find?.seeds ?? '-'}`);
    expect(find).not.toBeNull();
  });

  it('and has forgotten it afterwards', () => {
    expect(runSeed(drawOptions(1)).failure).toBeNull();
  });
});
