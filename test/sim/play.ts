// Seeds as the command line plays them: one, a swarm, a night; a failing one made smaller.
import { playChunk, SeedPool } from './jobs.ts';
import { KINDS, type KindName } from './kinds.ts';
import { minimize, replaySmallest } from './minimize.ts';
import type { SimOptions } from './options.ts';
import { again, Tally } from './tally.ts';
import type { Trace } from './world.ts';

const toConsole: Trace = (line) => {
  console.log(line);
};

/** One seed, with all that it drew, and on demand all that happened. */
export function playOne(seed: number, kind: KindName, trace: boolean): number {
  const { draw, play } = KINDS[kind];
  if (draw !== null) console.log(JSON.stringify(draw(seed)));
  const { failure } = play(seed, trace ? toConsole : null);
  if (failure === null) {
    console.log(`${kind} seed ${seed}: well`);
    return 0;
  }
  console.log(`${kind} seed ${seed} failed: ${failure.message}`);
  if (failure.checker === 'exception') console.log(failure.stack);
  return 1;
}

export interface Run {
  readonly kind: KindName | 'mix';
  readonly first: number;
  readonly count: number;
  readonly hours: number;
  /** Processes; 1: this one. */
  readonly jobs: number;
  /** Where the summary goes; null: nowhere. */
  readonly report: string | null;
}

/** Plays until `count` seeds are done or `hours` are over, or somebody asks for the end. Returns how many failed. */
export async function playSeeds(run: Run): Promise<number> {
  const { first, hours, jobs, report } = run;
  const tally = new Tally(first, jobs, report);
  const next = jobs > 1 ? await playByMany(run, tally) : playHere(run, tally);
  tally.end(next);
  if (hours === Infinity && next < first + run.count)
    console.log(`stopped: go on with --seed ${next}`);
  return tally.failed;
}

function playHere({ kind, first, count, hours }: Run, tally: Tally): number {
  const endMs = hours * 3_600_000;
  let seed = first;
  while (seed < first + count && tally.elapsedMs < endMs) {
    const played = playChunk({ first: seed, count: 1, kind });
    seed += 1;
    tally.note(played, seed, process.memoryUsage.rss());
  }
  return seed;
}

async function playByMany({ kind, first, count, hours, jobs }: Run, tally: Tally): Promise<number> {
  const pool = new SeedPool(kind, first, count, (played, next, rss) => {
    tally.note(played, next, rss);
    if (tally.elapsedMs > hours * 3_600_000) pool.stop();
  });
  const stop = (): void => {
    console.log('asked to stop: what is being played is played to its end');
    pool.stop();
  };
  process.once('SIGINT', stop).once('SIGTERM', stop);
  await pool.run(jobs);
  process.off('SIGINT', stop).off('SIGTERM', stop);
  return pool.next;
}

/** Prints the smallest story that still breaks the same law, and how to play it. */
export function playMinimized(seed: number, kind: KindName): number {
  const options = optionsOf(seed, kind);
  const smallest = minimize(options);
  if (smallest === null) {
    console.log(`${kind} seed ${seed} does not fail`);
    return 0;
  }
  const { keep, steps, set, failure, plays } = smallest;
  replaySmallest(options, keep, set, (line) => {
    // What the legs were sent is for --trace.
    if (!line.includes('   leg ')) console.log(line);
  });
  console.log(
    `${failure.message}\n${keep.length} of ${steps} steps are left, after ${plays} plays:`,
  );
  const plainer = Object.keys(set).length === 0 ? '' : ` --set '${JSON.stringify(set)}'`;
  console.log(`${again(kind, seed)} --keep ${keep.join()}${plainer} --trace`);
  return 1;
}

/** What `--minimize` has printed. */
export function playKept(
  seed: number,
  kind: KindName,
  keep: string,
  set: string,
  trace: boolean,
): number {
  const change = JSON.parse(set) as Partial<SimOptions>;
  const options = optionsOf(seed, kind);
  const failure = replaySmallest(options, keep.split(','), change, trace ? toConsole : null);
  console.log(failure === null ? 'well' : `failed: ${failure.message}`);
  return failure === null ? 0 : 1;
}

function optionsOf(seed: number, kind: KindName): SimOptions {
  const { draw } = KINDS[kind];
  if (draw === null)
    throw new Error(`a seed of ${KINDS[kind].flags} is one story: nothing to leave out`);
  return draw(seed);
}
