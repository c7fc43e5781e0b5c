// Seeds as the command line plays them: one, a swarm, a night; a failing one made smaller.
import { KINDS, kindOfMixed, type KindName } from './kinds.ts';
import { minimize, replaySmallest } from './minimize.ts';
import type { SimOptions } from './options.ts';
import type { Trace } from './world.ts';

export type KindOf = (seed: number) => KindName;
export const mixed: KindOf = kindOfMixed;

/** How often a long run says how far it is. */
const PROGRESS_MS = 60_000;

const toConsole: Trace = (line) => {
  console.log(line);
};

/** The flags that play this seed again. */
export function again(kind: KindName, seed: number): string {
  const { flags } = KINDS[kind];
  return `npm run sim -- ${flags === '' ? '' : `${flags} `}--seed ${seed}`;
}

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

/** Plays until `count` seeds are done or `hours` are over. Returns how many failed. */
export function playSeeds(first: number, count: number, hours: number, kindOf: KindOf): number {
  const startedMs = performance.now();
  const endMs = startedMs + hours * 3_600_000;
  let toldMs = startedMs;
  let failed = 0;
  let done = 0;
  const rate = (): string => {
    const seconds = (performance.now() - startedMs) / 1000;
    return `${seconds.toFixed(1)} s, ${(done / seconds).toFixed(1)} seeds/s`;
  };
  while (done < count && performance.now() < endMs) {
    const seed = first + done;
    const kind = kindOf(seed);
    const { failure } = KINDS[kind].play(seed, null);
    done += 1;
    if (failure !== null) {
      failed += 1;
      console.log(`${kind} seed ${seed} failed: ${failure.message}\n  ${again(kind, seed)}`);
    }
    if (performance.now() - toldMs < PROGRESS_MS) continue;
    toldMs = performance.now();
    console.log(`... ${first}..${seed}: ${done} seeds, ${failed} failed, ${rate()}`);
  }
  console.log(`${done} seeds, ${failed} failed, ${rate()}`);
  return failed;
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
