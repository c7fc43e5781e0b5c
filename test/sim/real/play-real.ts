// Seeds over the real engines, as the command line and the tests play them.
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { asFailure } from '../run.ts';
import { playReal, type RealSeed, type RealTally } from './real-story.ts';

export interface RealRun {
  readonly engine: string;
  /** Null: every other seed. */
  readonly log: RealSeed['log'] | null;
  readonly first: number;
  readonly count: number;
}

/** Plays one after the other; the folder of one that fails is kept. Returns how many failed. */
export async function playRealSeeds(run: RealRun): Promise<number> {
  const root = mkdtempSync(join(tmpdir(), 'dmiod-real-'));
  const sum: RealTally = { acknowledged: 0, reads: 0, kills: 0, cutShort: 0 };
  let failed = 0;
  const { engine, first, count } = run;
  for (let seed = first; seed < first + count; seed += 1) {
    const log = run.log ?? (seed % 2 === 0 ? 'native' : 'core');
    const folder = join(root, String(seed));
    mkdirSync(folder);
    try {
      const tally = await playReal({ seed, engine, log, folder });
      for (const name of ['acknowledged', 'reads', 'kills', 'cutShort'] as const)
        sum[name] += tally[name];
      rmSync(folder, { recursive: true });
    } catch (error) {
      failed += 1;
      const { message, checker, stack } = asFailure(error);
      console.log(`real seed ${seed}, ${engine}, ${log} log, failed: ${message}`);
      if (checker === 'exception') console.log(stack);
      console.log(
        `  npm run sim -- --engine ${engine} --log ${log} --seed ${seed}; files: ${folder}`,
      );
    }
  }
  if (failed === 0) rmSync(root, { recursive: true });
  console.log(
    `${count} real seeds, ${failed} failed: ${sum.kills} kills with ${sum.cutShort} requests under way, ` +
      `${sum.acknowledged} writes acknowledged, ${sum.reads} reads and flushes answered`,
  );
  return failed;
}
