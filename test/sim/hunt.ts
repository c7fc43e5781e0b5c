// The judge is judged: every planted bug must be found, by whom and how soon is the table.
import { apartStories, runApart, type ApartCase } from './apart.ts';
import { drawClientOptions } from './clients/options.ts';
import type { SimFailure } from './failure.ts';
import { FOUND_BY, type FoundBy } from './found-by.ts';
import { LEG_MUTANTS } from './leg-mutants.ts';
import { MUTANTS } from './mutants.ts';
import { DISK_MUTANTS } from './mutants-disk.ts';
import { CLIENT_MUTANTS } from './mutants-clients.ts';
import { NATIVE_MUTANTS } from './mutants-native.ts';
import { FAULT_MUTANTS } from './mutants-faults.ts';
import { RECOVERY_MUTANTS } from './mutants-recovery.ts';
import { REMOTE_MUTANTS } from './mutants-remote.ts';
import { drawOptions, withMetaFaults, type SimLog, type SimOptions } from './options.ts';
import { uproot, type Mutant } from './plant.ts';
import { runSeed, type SimResult } from './run.ts';

/** Seeds a planted bug may hide for. */
const MUTANT_SEEDS = 2500;
/** Of the stories apart a hunt plays one in so many. */
const APART_STEP = 37;

/** Bugs of a log, and with it of what all logs share; and of what serves clients. */
export type HuntName = SimLog | 'clients';

/** Which bugs are planted. */
export const HUNTS: Readonly<Record<HuntName, readonly Mutant[]>> = {
  clients: CLIENT_MUTANTS,
  core: [...MUTANTS, ...LEG_MUTANTS, ...RECOVERY_MUTANTS, ...REMOTE_MUTANTS, ...FAULT_MUTANTS],
  disk: DISK_MUTANTS,
  native: NATIVE_MUTANTS,
};

export interface HuntPlan {
  /** Hunts one in `parts` of the bugs, beginning with the `part`-th, so that processes can share the work. */
  readonly part: number;
  readonly parts: number;
  /** Without what has found each before (found-by.ts). */
  readonly isAfresh: boolean;
}

/** Returns how many survived. */
export function playMutants(log: HuntName, { part, parts, isAfresh }: HuntPlan): number {
  let survived = 0;
  console.log('| planted bug | found by | seed |\n|---|---|---|');
  for (const [i, mutant] of HUNTS[log].entries()) {
    if (i % parts !== part) continue;
    const known = isAfresh ? undefined : FOUND_BY[log][mutant.bug];
    const found = (known === undefined ? null : tryOne(mutant, log, known)) ?? hunt(mutant, log);
    if (found === null) survived += 1;
    console.log(`| ${mutant.bug} | ${found ?? 'SURVIVED | -'} |`);
  }
  return survived;
}

/** What has found it before. */
function tryOne(mutant: Mutant, log: HuntName, known: FoundBy): string | null {
  if (typeof known === 'number') return trySeed(mutant, log, known);
  for (const story of apartStories())
    if (story.seed === known.apart) return tryApart(mutant, story);
  return null;
}

function hunt(mutant: Mutant, log: HuntName): string | null {
  if (log === 'native') {
    const story = huntApart(mutant);
    if (story !== null) return story;
  }
  for (let seed = 1; seed <= MUTANT_SEEDS; seed += 1) {
    const found = trySeed(mutant, log, seed);
    if (found !== null) return found;
  }
  return null;
}

/** A seed that fails anyway has not found this bug. */
function trySeed(mutant: Mutant, log: HuntName, seed: number): string | null {
  const play = mutant.play ?? ((each: number): SimResult => runSeed(drawForHunt(each, log)));
  const failure = failureWith(mutant, () => play(seed).failure);
  if (failure === null || play(seed).failure !== null) return null;
  return `${failure.checker} | ${seed}`;
}

function failureWith({ plant }: Mutant, play: () => SimFailure | null): SimFailure | null {
  plant();
  try {
    return play();
  } finally {
    uproot();
  }
}

/** Bugs of the native log are hunted in every other seed with faults in the metadata. */
function drawForHunt(seed: number, log: HuntName): SimOptions {
  if (log === 'clients') return drawClientOptions(seed);
  const options = drawOptions(seed, log);
  return log === 'native' && seed % 2 === 0 ? withMetaFaults(options) : options;
}

/** Stories apart are few and short, but only some bugs have to do with them. */
function huntApart(mutant: Mutant): string | null {
  for (const story of apartStories()) {
    if (story.seed % APART_STEP !== 0) continue;
    const found = tryApart(mutant, story);
    if (found !== null) return found;
  }
  return null;
}

function tryApart(mutant: Mutant, story: ApartCase): string | null {
  const failure = failureWith(mutant, () => runApart(story));
  if (failure === null || runApart(story) !== null) return null;
  return `${failure.checker} | story ${story.seed} apart`;
}
