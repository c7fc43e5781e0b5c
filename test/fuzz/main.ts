/** `npm run fuzz -- [--end server|client|both] [--seed N] [--bytes B] [--mutants]`: README.md says what is judged. */
import { isMainThread, parentPort, Worker, workerData } from 'node:worker_threads';
import { parseArgs } from 'node:util';

import { parseSize } from '../../core/base/units.ts';
import { ENDS, playSeed, type End } from './ends.ts';
import { Tally } from './finding.ts';
import { huntMutants } from './mutants.ts';

const USAGE = `usage: npm run fuzz -- [--end server|client|both] [--seed N] [--bytes B]   seeds from N on, until an end was given B bytes
       npm run fuzz -- --mutants                                              planted bugs, and the seed that finds each
example: npm run fuzz -- --seed 1 --bytes 24M`;

/** A story takes milliseconds. One that says nothing for so long never ends. */
const HANG_MS = 120_000;

interface Job {
  readonly end: End;
  readonly seed: number;
  readonly bytes: number;
}

interface Progress {
  /** The seed that is about to be played. */
  readonly seed: number;
  readonly report?: string;
  readonly failed?: number;
}

/** In a thread of its own, so that a story that hangs can be named. */
function work({ end, seed, bytes }: Job): void {
  const tally = new Tally();
  const startedMs = performance.now();
  let failed = 0;
  let next = seed;
  let saidMs = 0;
  while (tally.bytes < bytes) {
    if (performance.now() - saidMs > 1000) {
      saidMs = performance.now();
      parentPort?.postMessage({ seed: next } satisfies Progress);
    }
    const failure = playSeed(end, next, tally);
    if (failure !== null) {
      failed += 1;
      console.log(`${end} seed ${next} failed: ${failure.stack ?? failure.message}`);
    }
    next += 1;
  }
  const seconds = (performance.now() - startedMs) / 1000;
  const rate = (tally.bytes / seconds / 1e6).toFixed(2);
  const places = [...tally.places].sort(([a], [b]) => (a < b ? -1 : 1));
  const report = [
    `${end}: seeds ${seed} to ${next - 1}, ${tally.bytes} bytes on ${tally.streams} connections, ` +
      `${failed} failed, ${seconds.toFixed(1)} s, ${rate} MB/s`,
    ...places.map(([place, count]) => `  ${String(count).padStart(8)} ${place}`),
  ].join('\n');
  parentPort?.postMessage({ seed: next, report, failed } satisfies Progress);
}

/** True: nothing was found. */
function watch(job: Job): Promise<boolean> {
  const worker = new Worker(new URL(import.meta.url), { workerData: job });
  return new Promise((resolve) => {
    let last = job.seed;
    const onHang = (): void => {
      console.log(`${job.end}: a story from seed ${last} on does not end`);
      resolve(false);
      void worker.terminate();
    };
    let timer = setTimeout(onHang, HANG_MS);
    worker.on('message', ({ seed, report, failed }: Progress) => {
      last = seed;
      clearTimeout(timer);
      if (report === undefined) {
        timer = setTimeout(onHang, HANG_MS);
        return;
      }
      console.log(report);
      resolve(failed === 0);
    });
    worker.on('error', (error) => {
      clearTimeout(timer);
      console.log(`${job.end}: ${error.stack ?? error.message}`);
      resolve(false);
    });
  });
}

async function main(): Promise<number> {
  const { values } = parseArgs({
    options: {
      end: { type: 'string', default: 'both' },
      seed: { type: 'string', default: '1' },
      bytes: { type: 'string', default: '1M' },
      mutants: { type: 'boolean', default: false },
      help: { type: 'boolean', default: false },
    },
  });
  const ends = ENDS.filter((end) => values.end === 'both' || values.end === end);
  const [seed, bytes] = [Number(values.seed), parseSize(values.bytes)];
  if (values.help || ends.length === 0 || !Number.isSafeInteger(seed) || bytes === undefined) {
    console.log(USAGE);
    return values.help ? 0 : 2;
  }
  if (values.mutants) return huntMutants(ends) === 0 ? 0 : 1;
  let isWell = true;
  for (const end of ends) if (!(await watch({ end, seed, bytes }))) isWell = false;
  return isWell ? 0 : 1;
}

if (isMainThread) process.exitCode = await main();
else work(workerData as Job);
