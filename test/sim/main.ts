import { parseArgs } from 'node:util';
import { metaStories, runSmall, smallStories } from './exhaustive.ts';
import { apartStories, runApart } from './apart.ts';
import { LEG_MUTANTS } from './leg-mutants.ts';
import { MUTANTS } from './mutants.ts';
import { FAULT_MUTANTS } from './mutants-faults.ts';
import { DISK_MUTANTS } from './mutants-disk.ts';
import { NATIVE_MUTANTS } from './mutants-native.ts';
import { RECOVERY_MUTANTS } from './mutants-recovery.ts';
import {
  drawLegOptions,
  drawOptions,
  SIM_LOGS,
  withMetaFaults,
  type SimLog,
  type SimOptions,
} from './options.ts';
import { uproot, type Mutant } from './plant.ts';
import { runSeed, type SimResult } from './run.ts';
import { runScrubStory } from './scrub-story.ts';

/** Seeds a planted bug may hide for. */
const MUTANT_SEEDS = 2500;
/** Of the stories apart a hunt plays one in so many. */
const APART_STEP = 37;

type Draw = (seed: number) => SimOptions;

const USAGE = `usage: main.js [--seed N] [--count K] [--trace] [--legs] [--log native]
                                                       play seeds N .. N+K-1;
                                                       --legs: legs come and go meanwhile;
                                                       --log native: metadata on the legs;
                                                       --log disk: the kernel's dirty log
                                                       --meta: and faults in the native metadata
       main.js --scrub [--seed N] [--count K]    damaged legs under a scrub
       main.js --small N                         every story of up to N requests;
                                                 --log native --meta: of two, around a fault there
       main.js --apart                           every story of a set started in two parts
       main.js --mutants                         find every planted bug
The exit code is 1 if something failed.`;

/** Returns how many seeds failed. */
function playSeeds(first: number, count: number, trace: boolean, draw: Draw): number {
  const startedMs = performance.now();
  let failed = 0;
  for (let seed = first; seed < first + count; seed += 1) {
    const options = draw(seed);
    if (count === 1) console.log(JSON.stringify(options));
    const { failure } = runSeed(options, trace ? (line) => console.log(line) : null);
    if (failure === null) continue;
    failed += 1;
    console.log(`seed ${seed} (${options.log}, ${options.atlas}) failed: ${failure.message}`);
    if (count === 1 && failure.checker === 'exception') console.log(failure.stack);
  }
  const seconds = (performance.now() - startedMs) / 1000;
  const rate = (count / seconds).toFixed(1);
  console.log(`${count} seeds, ${failed} failed, ${seconds.toFixed(1)} s, ${rate} seeds/s`);
  return failed;
}

function playScrubs(first: number, count: number, trace: boolean): number {
  let failed = 0;
  for (let seed = first; seed < first + count; seed += 1) {
    const { failure } = runScrubStory(seed, trace ? (line) => console.log(line) : null);
    if (failure === null) continue;
    failed += 1;
    console.log(`scrub story ${seed} failed: ${failure.message}`);
    if (count === 1 && failure.checker === 'exception') console.log(failure.stack);
  }
  console.log(`${count} scrub stories, ${failed} failed`);
  return failed;
}

function playSmall(length: number, log: SimLog, meta: boolean): number {
  let cases = 0;
  let failed = 0;
  for (const story of meta ? metaStories() : smallStories(length)) {
    for (let crashAt = 0; ; crashAt += 1) {
      const { failure, isOver } = runSmall({ ...story, crashAt }, log);
      cases += 1;
      if (failure !== null) {
        failed += 1;
        console.log(`${JSON.stringify({ ...story, crashAt })} failed: ${failure.message}`);
      }
      if (isOver || failure !== null) break;
    }
  }
  console.log(`${cases} small cases, ${failed} failed`);
  return failed;
}

function playApart(): number {
  let cases = 0;
  let failed = 0;
  for (const story of apartStories()) {
    cases += 1;
    const failure = runApart(story);
    if (failure === null) continue;
    failed += 1;
    console.log(`${JSON.stringify(story)} failed: ${failure.message}`);
  }
  console.log(`${cases} stories apart, ${failed} failed`);
  return failed;
}

function playMutants(log: SimLog): number {
  let survived = 0;
  console.log('| planted bug | found by | seeds |\n|---|---|---|');
  const mutants = [...MUTANTS, ...LEG_MUTANTS, ...RECOVERY_MUTANTS, ...FAULT_MUTANTS];
  const onDisk = log === 'disk' ? DISK_MUTANTS : NATIVE_MUTANTS;
  for (const mutant of log === 'core' ? mutants : onDisk) {
    const found = hunt(mutant, log);
    if (found === null) survived += 1;
    console.log(`| ${mutant.bug} | ${found ?? 'SURVIVED | -'} |`);
  }
  return survived;
}

function hunt(mutant: Mutant, log: SimLog): string | null {
  const play = mutant.play ?? ((seed: number): SimResult => runSeed(drawForHunt(seed, log)));
  if (log === 'native') {
    const story = huntApart(mutant);
    if (story !== null) return story;
  }
  for (let seed = 1; seed <= MUTANT_SEEDS; seed += 1) {
    mutant.plant();
    try {
      const { failure } = play(seed);
      if (failure !== null) return `${failure.checker} | ${seed}`;
    } finally {
      uproot();
    }
  }
  return null;
}

/** Bugs of the native log are hunted in every other seed with faults in the metadata. */
function drawForHunt(seed: number, log: SimLog): SimOptions {
  const options = drawOptions(seed, log);
  return log === 'native' && seed % 2 === 0 ? withMetaFaults(options) : options;
}

/** Stories apart are few and short, but only some bugs have to do with them. */
function huntApart({ plant }: Mutant): string | null {
  let stories = 0;
  for (const story of apartStories()) {
    stories += 1;
    if (stories % APART_STEP !== 0) continue;
    plant();
    try {
      const failure = runApart(story);
      if (failure !== null) return `${failure.checker} | story ${stories} apart`;
    } finally {
      uproot();
    }
  }
  return null;
}

function main(): number {
  const { values } = parseArgs({
    options: {
      seed: { type: 'string', default: '1' },
      count: { type: 'string', default: '1' },
      trace: { type: 'boolean', default: false },
      small: { type: 'string' },
      log: { type: 'string', default: 'core' },
      scrub: { type: 'boolean', default: false },
      mutants: { type: 'boolean', default: false },
      apart: { type: 'boolean', default: false },
      legs: { type: 'boolean', default: false },
      meta: { type: 'boolean', default: false },
      help: { type: 'boolean', default: false },
    },
  });
  const log = SIM_LOGS.find((each) => each === values.log);
  if (log === undefined) throw new Error(`--log is one of ${SIM_LOGS.join(', ')}`);
  if (values.help) console.log(USAGE);
  else if (values.mutants) return playMutants(log);
  else if (values.apart) return playApart();
  else if (values.scrub) return playScrubs(Number(values.seed), Number(values.count), values.trace);
  else if (values.small !== undefined) return playSmall(Number(values.small), log, values.meta);
  else {
    if (values.meta && log !== 'native') throw new Error('--meta goes with --log native');
    const drawn: Draw = (seed) => (values.legs ? drawLegOptions : drawOptions)(seed, log);
    const draw: Draw = values.meta ? (seed) => withMetaFaults(drawn(seed)) : drawn;
    return playSeeds(Number(values.seed), Number(values.count), values.trace, draw);
  }
  return 0;
}

if (main() > 0) process.exitCode = 1;
