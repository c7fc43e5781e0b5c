// Simulator and reality share one judge: the same workload, model and laws over real daemons, both engines.
import { mkdtempSync } from 'node:fs';
import { join } from 'node:path';
import { PATIENCE_MS } from './cli.ts';
import { engineInUse } from '../support/programs.ts';
import { tempDirectory } from '../support/temp.ts';
import { playReal } from './real/real-story.ts';

const folder = tempDirectory();
const SEED = 1 + (Date.now() % 2 ** 20);
const ENGINES = engineInUse() === 'uring' ? ['uring', 'node'] : ['node'];

describe.each(ENGINES)('a real daemon on the %s engine, killed at random', (engine) => {
  it.each(['core', 'native'] as const)(
    `answers what the model allows, with the %s log (seed ${SEED})`,
    async (log) => {
      const own = mkdtempSync(join(folder, 'd'));
      const { acknowledged, reads } = await playReal({ seed: SEED, engine, log, folder: own });
      expect(acknowledged).toBeGreaterThan(0);
      expect(reads).toBeGreaterThan(0);
    },
    PATIENCE_MS,
  );
});
