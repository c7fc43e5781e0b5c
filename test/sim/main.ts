import { availableParallelism } from 'node:os';
import { parseArgs } from 'node:util';
import { apartStories, runApart } from './apart.ts';
import { BasePlayer, metaStories, smallBases, type Plays } from './exhaustive.ts';
import { playMutants } from './hunt.ts';
import { KIND_NAMES, kindOfMixed, type KindName } from './kinds.ts';
import { SIM_LOGS, type SimLog } from './options.ts';
import { playRealSeeds } from './real/play-real.ts';
import { runSmall } from './small-case.ts';
import { playKept, playMinimized, playOne, playSeeds } from './play.ts';

const USAGE = `usage: main.js [KIND] [--seed N] [--count K] [--trace]   play seeds N .. N+K-1
       main.js [KIND] --hours H [--seed N]       as many as H hours hold
       with either: [--jobs J]                   by J processes; as many as there are CPUs
                    [--report FILE]              a summary as JSON, kept up to date
       main.js [KIND] --seed N --minimize        make a failing seed small
       main.js [KIND] --seed N --keep STEPS [--set OPTIONS]   what --minimize has printed
       main.js [--log L] --small N [--faults 2] [--part I/N]   every story of up to N requests
       main.js --apart                           every story of a set started in two parts
       main.js --engine uring|node [--log L] [--seed N] [--count K]   real daemons, files, kills
       main.js [--log L] --mutants [--part I/N]  find every planted bug; of --clients: those of core/export;
                    [--afresh]                   not by the seed that found it before (found-by.ts)
KIND: --log native (metadata on the legs), with --meta faults in it; --log disk (the kernel's dirty
log); --legs (legs come and go meanwhile); --scrub (damaged legs under a scrub); --remote (legs
behind a network), with --swaps to servers that come back with another content; --cut (legs that
become shorter); --clients (NBD over connections, above either); --mix (of everything). --hours
plays --mix. --small with --meta: two requests around a fault in the metadata.
--part 2/3 is the second of three parts. The exit code is 1 if something failed.`;

const OPTIONS = {
  seed: { type: 'string', default: '1' },
  count: { type: 'string', default: '1' },
  hours: { type: 'string' },
  jobs: { type: 'string' },
  report: { type: 'string' },
  trace: { type: 'boolean', default: false },
  minimize: { type: 'boolean', default: false },
  keep: { type: 'string' },
  set: { type: 'string', default: '{}' },
  small: { type: 'string' },
  faults: { type: 'string', default: '1' },
  part: { type: 'string', default: '1/1' },
  log: { type: 'string' },
  engine: { type: 'string' },
  scrub: { type: 'boolean', default: false },
  mix: { type: 'boolean', default: false },
  mutants: { type: 'boolean', default: false },
  afresh: { type: 'boolean', default: false },
  apart: { type: 'boolean', default: false },
  legs: { type: 'boolean', default: false },
  remote: { type: 'boolean', default: false },
  swaps: { type: 'boolean', default: false },
  clients: { type: 'boolean', default: false },
  cut: { type: 'boolean', default: false },
  meta: { type: 'boolean', default: false },
  help: { type: 'boolean', default: false },
} as const;

interface Part {
  /** From 0. */
  readonly part: number;
  readonly parts: number;
}

function partOf(text: string): Part {
  const [part = NaN, parts = NaN] = text.split('/').map(Number);
  if (!(part >= 1 && part <= parts)) throw new Error(`--part ${text}: 1/3 is the first of three`);
  return { part: part - 1, parts };
}

function numberOf(name: string, text: string): number {
  const value = Number(text);
  if (text === '' || !(value >= 0)) throw new Error(`--${name} ${text}: not a number`);
  return value;
}

function playSmall(length: number, most: number, log: SimLog, { part, parts }: Part): number {
  const plays: Plays = { stories: 0, cases: 0, played: 0, failed: 0 };
  let bases = 0;
  for (const base of smallBases(length)) {
    bases += 1;
    if (bases % parts !== part) continue;
    new BasePlayer(base, log, plays, (line) => console.log(line)).play(most);
  }
  const { stories, cases, played, failed } = plays;
  console.log(
    `${stories} small stories, ${cases} cases, ${played} of them played, ${failed} failed`,
  );
  return failed;
}

function playMeta(log: SimLog, { part, parts }: Part): number {
  let stories = 0;
  let cases = 0;
  let failed = 0;
  for (const story of metaStories()) {
    stories += 1;
    if (stories % parts !== part) continue;
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

interface KindFlags {
  readonly legs: boolean;
  readonly meta: boolean;
  readonly scrub: boolean;
  readonly remote: boolean;
  readonly swaps: boolean;
  readonly clients: boolean;
  readonly cut: boolean;
}

function kindNamed(log: SimLog, flags: KindFlags): KindName {
  const { legs, meta, scrub, remote, swaps, clients, cut } = flags;
  if (scrub) return 'scrub';
  if (swaps && !remote) throw new Error('--swaps goes with --remote');
  if (remote) return swaps ? 'remote-swaps' : 'remote';
  if (cut) return 'cut';
  if (clients) return 'clients';
  if (meta && log !== 'native') throw new Error('--meta goes with --log native');
  const words = [log === 'core' ? '' : log, meta ? 'meta' : '', legs ? 'legs' : ''];
  const name = words.filter((word) => word !== '').join('-');
  return KIND_NAMES.find((each) => each === name) ?? 'core';
}

async function main(): Promise<number> {
  const { values } = parseArgs({ options: OPTIONS });
  const log = SIM_LOGS.find((each) => each === (values.log ?? 'core'));
  if (log === undefined) throw new Error(`--log is one of ${SIM_LOGS.join(', ')}`);
  const part = partOf(values.part);
  const seed = numberOf('seed', values.seed);
  const count = numberOf('count', values.count);
  const kind = kindNamed(log, values);
  const isPlain = kind === 'core';
  if (values.help) console.log(USAGE);
  else if (values.engine !== undefined) {
    if (log === 'disk') throw new Error('--engine goes with --log core and --log native');
    const { engine } = values;
    return playRealSeeds({
      engine,
      log: values.log === undefined ? null : log,
      first: seed,
      count,
    });
  } else if (values.mutants)
    return playMutants(values.clients ? 'clients' : log, { ...part, isAfresh: values.afresh });
  else if (values.apart) return playApart();
  else if (values.small !== undefined) {
    const length = numberOf('small', values.small);
    const most = numberOf('faults', values.faults);
    if (most > 2) throw new Error('--faults: 0, 1 or 2');
    return values.meta ? playMeta(log, part) : playSmall(length, most, log, part);
  } else if (values.minimize) return playMinimized(seed, kind);
  else if (values.keep !== undefined) {
    return playKept(seed, kind, values.keep, values.set, values.trace);
  } else if (count === 1 && values.hours === undefined)
    return playOne(seed, values.mix ? kindOfMixed(seed) : kind, values.trace);
  else {
    const hours = numberOf('hours', values.hours ?? 'Infinity');
    const isMixed = values.mix || (values.hours !== undefined && isPlain);
    return playSeeds({
      kind: isMixed ? 'mix' : kind,
      first: seed,
      count: values.hours === undefined ? count : Infinity,
      hours,
      jobs: Math.max(1, numberOf('jobs', values.jobs ?? String(availableParallelism()))),
      report: values.report ?? null,
    });
  }
  return 0;
}

if ((await main()) > 0) process.exitCode = 1;
