// The judge is judged: every planted bug must be found, by whom and how soon is the table.
import { apartStories, runApart } from './apart.ts';
import { drawClientOptions } from './clients/options.ts';
import type { SimFailure } from './failure.ts';
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

/**
 * Hunts one in `parts` of the bugs, beginning with the `part`-th, so that processes can share the
 * work. Returns how many survived.
 */
export function playMutants(log: HuntName, part: number, parts: number): number {
  let survived = 0;
  console.log('| planted bug | found by | seeds needed |\n|---|---|---|');
  for (const [i, mutant] of HUNTS[log].entries()) {
    if (i % parts !== part) continue;
    const found = hunt(mutant, log);
    if (found === null) survived += 1;
    console.log(`| ${mutant.bug} | ${found ?? 'SURVIVED | -'} |`);
  }
  return survived;
}

function hunt(mutant: Mutant, log: HuntName): string | null {
  const play = mutant.play ?? ((seed: number): SimResult => runSeed(drawForHunt(seed, log)));
  if (log === 'native') {
    const story = huntApart(mutant);
    if (story !== null) return story;
  }
  for (let seed = 1; seed <= MUTANT_SEEDS; seed += 1) {
    const failure = failureWith(mutant, () => play(seed).failure);
    // A seed that fails anyway has not found this bug.
    if (failure === null || play(seed).failure !== null) continue;
    return `${failure.checker} | ${seed}`;
  }
  return null;
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
  let stories = 0;
  for (const story of apartStories()) {
    stories += 1;
    if (stories % APART_STEP !== 0) continue;
    const failure = failureWith(mutant, () => runApart(story));
    if (failure === null || runApart(story) !== null) continue;
    return `${failure.checker} | story ${stories} apart`;
  }
  return null;
}
