import type { SimFailure } from './failure.ts';
import type { SimOptions } from './options.ts';
import { recordSeed, replayScript } from './run.ts';
import { Script } from './script.ts';
import type { Trace } from './world.ts';

/** What is left of a failing seed. */
export interface Smallest {
  /** Steps that have to be kept, in order. */
  readonly keep: readonly string[];
  /** Steps there were. */
  readonly steps: number;
  /** Options that are not as they were drawn. */
  readonly set: Partial<SimOptions>;
  readonly failure: SimFailure;
  readonly plays: number;
}

/** Plays enough for a story of some hundred steps. */
const MAX_PLAYS = 3000;

/**
 * Shrinks a failing seed: leaves steps out (calls, faults, crashes, ...), half of them first, one by
 * one at the end, and makes the options plainer, as long as the same law is broken. Null: the seed
 * does not fail.
 */
export function minimize(options: SimOptions, maxPlays = MAX_PLAYS): Smallest | null {
  const script = new Script();
  const { failure } = recordSeed(options, script);
  return failure === null ? null : new Shrinking(options, script, failure, maxPlays).run();
}

/** Plays the steps of `keep` only, with `set` over the options. */
export function replaySmallest(
  options: SimOptions,
  keep: readonly string[],
  set: Partial<SimOptions>,
  trace: Trace,
): SimFailure | null {
  const script = new Script();
  recordSeed(options, script);
  return replayScript({ ...options, ...set }, script.only(new Set(keep)), trace).failure;
}

class Shrinking {
  private readonly options: SimOptions;
  private readonly script: Script;
  private readonly maxPlays: number;
  private keep: readonly string[];
  private set: Partial<SimOptions> = {};
  private failure: SimFailure;
  private plays = 0;

  constructor(options: SimOptions, script: Script, failure: SimFailure, maxPlays: number) {
    this.options = options;
    this.script = script;
    this.keep = script.names;
    this.failure = failure;
    this.maxPlays = maxPlays;
  }

  run(): Smallest {
    this.dropSteps();
    // Fewer steps let options go, and the other way round.
    if (this.plainOptions()) this.dropSteps();
    const { keep, set, failure, plays, script } = this;
    return { keep, set, failure, plays, steps: script.names.length };
  }

  /** Pieces of half the list, then of a quarter, down to one step, until none can be spared. */
  private dropSteps(): void {
    let piece = Math.max(1, Math.floor(this.keep.length / 2));
    for (;;) {
      const before = this.keep.length;
      for (let from = this.keep.length - piece; from > -piece; from -= piece) {
        const first = Math.max(0, from);
        const rest = [...this.keep.slice(0, first), ...this.keep.slice(from + piece)];
        if (this.fails(rest, this.set)) this.keep = rest;
      }
      if (piece === 1 && this.keep.length === before) return;
      piece = Math.max(1, Math.floor(piece / 2));
    }
  }

  /** True: something became plainer. */
  private plainOptions(): boolean {
    let isPlainer = false;
    for (const change of plainer(this.options)) {
      const set = { ...this.set, ...change };
      if (!this.fails(this.keep, set)) continue;
      this.set = set;
      isPlainer = true;
    }
    return isPlainer;
  }

  private fails(keep: readonly string[], set: Partial<SimOptions>): boolean {
    if (this.plays >= this.maxPlays) return false;
    this.plays += 1;
    const options = { ...this.options, ...set };
    const { failure } = replayScript(options, this.script.only(new Set(keep)));
    if (failure?.checker !== this.failure.checker) return false;
    this.failure = failure;
    return true;
  }
}

/** Options a story may do without, one after the other. */
function plainer(options: SimOptions): readonly Partial<SimOptions>[] {
  const each = <T>(value: T): T[] => options.latencyUs.map(() => value);
  const legs = options.legs - 1;
  const members = options.membersAtFirst.filter((leg) => leg < legs);
  const canDrop = legs >= 2 && options.anchor < legs && members.length > 0 && options.spares === 0;
  const perLeg = <T>(values: readonly T[]): readonly T[] => values.slice(0, legs);
  const fewer: Partial<SimOptions> = {
    legs,
    membersAtFirst: members,
    blockSizes: perLeg(options.blockSizes),
    maxSectors: perLeg(options.maxSectors),
    noZeroes: perLeg(options.noZeroes),
    latencyUs: perLeg(options.latencyUs),
  };
  return [
    ...(canDrop ? [fewer] : []),
    { recorderFailureRate: 0 },
    { rotPercent: 0, rollbackPercent: 0 },
    { noDiscard: false },
    { origin: 0 },
    { maxSegments: 64 },
    { readPolicy: { kind: 'round-robin' } },
    ...(canDrop ? [] : [{ noZeroes: each(false) }, { maxSectors: each(65536) }]),
  ];
}
