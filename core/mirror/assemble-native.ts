import { assert } from '../base/assert.ts';
import { isIn, STANDING, type LegState, type Standing } from './leg.ts';
import { isoTime } from './native-bytes.ts';
import {
  entryOf,
  isMemberBySelf,
  MAX_HISTORY,
  type LegEntry,
  type RunMark,
  type Superblock,
} from './superblock.ts';

/** What was found where a leg was looked for. */
export type LegMetadata =
  | {
      readonly kind: 'superblock';
      readonly superblock: Superblock;
      /** Which copy it is: the next one is written over the other. */
      readonly copy: 'a' | 'b';
    }
  /** There, and nothing of ours on it. */
  | { readonly kind: 'none' }
  /** There, with metadata that cannot be believed. */
  | { readonly kind: 'invalid'; readonly reason: string };

export interface NativeLegInput {
  /** As the user named it. */
  readonly name: string;
  readonly metadata: LegMetadata;
}

/** What becomes of a leg of the set. */
export interface NativeLegPlan {
  /** Which of the inputs it is; null: none of them. */
  readonly input: number | null;
  readonly standing: Standing;
  /**
   * For a leg that is no member: it lacks no more than the regions its lack section names and those
   * that are dirty. False: it may lack anything.
   */
  readonly deltaPossible: boolean;
  /** The ruling superblock goes back to its own: all it was ever given is in the ruler's map. */
  readonly isOfOurPast: boolean;
  /** What the ruling superblock says of it. */
  readonly entry: LegEntry;
  /** Its own superblock, and which copy that is; null: it is not there. */
  readonly own: { readonly superblock: Superblock; readonly copy: 'a' | 'b' } | null;
}

export type NativeAssembly =
  | {
      readonly kind: 'assembled';
      /** The superblock whose word counts, and which input it is from. */
      readonly ruler: Superblock;
      readonly rulerInput: number;
      /** Inputs whose map may be believed: the members. */
      readonly mapInputs: readonly number[];
      /** In the order of the ruler's table. */
      readonly legs: readonly NativeLegPlan[];
      /** True: no region is in doubt, however the map stands. */
      readonly membersEqual: boolean;
      /** Sequence numbers up to this one are taken. */
      readonly lastSequence: number;
      /** Inputs that are no legs of this set any more, or whose metadata is damaged. */
      readonly excluded: readonly { readonly input: number; readonly reason: string }[];
    }
  | {
      readonly kind: 'refused';
      readonly reason: string;
      /** True: what is there could be started, and acknowledged writes would be lost. */
      readonly wouldLoseData?: boolean;
    };

/** How the superblock of a leg stands to the one that rules. */
type Relation =
  /** As of the same generation: it has seen every change of who is in sync. */
  | 'same'
  /** The ruler goes back to it. */
  | 'older'
  /** It goes on from the ruler, or beside it, in a superblock that was never complete on the ruler's leg. */
  | 'ahead'
  /** Of a past too far back to be told apart from a life of its own, but older for certain. */
  | 'ancient';

/**
 * The decision table: what becomes of a leg that is there, by what the ruling superblock calls it
 * and how its own superblock stands to the ruling one.
 *
 * | the ruler says | same   | older          | ahead          | ancient |
 * |----------------|--------|----------------|----------------|---------|
 * | in-sync        | MEMBER | JOINING  delta | JOINING  delta | JOINING |
 * | resyncing      | JOINING delta | JOINING delta | JOINING delta | JOINING |
 * | failed, missing, stale | STALE delta | STALE delta | STALE delta | STALE |
 * | (not there)    | MISSING delta, whatever the ruler says                 |
 *
 * delta: it lacks what its lack section says and what is dirty, and nothing else, if its generation is
 * not below the one since which no bit was cleared: for a leg in the set the ruler's cleared generation,
 * for one that is out the one of the time when it left. And of a leg in sync only where its superblock is
 * not from before it was; of one that is out only where it shows the last one it was given. Else, and
 * where the table does not say delta, it may lack anything (D1: a leg that was rolled back).
 *
 * Who rules: the superblock behind which all others are, by one of these rules; of several the latest.
 *
 * | rule | `other` is behind `one` because | nothing acknowledged is lost because |
 * |---|---|---|
 * | goesBackTo | `one` is of its run and not before it, or of a run that knew it | it is all in `one` |
 * | isUnended | it counts a leg in sync that went on without it: the leg of | its first superblock never came to |
 * | | `one`, or one that is in sync with `one` since before the two parted; | all it was for |
 * | | or it is the first of its life, and was for the leg of `one` | |
 * | isLeftBehind | it is of a leg that is no member by it, and all its members have gone on | no member ever had it |
 * | | or have been removed, and it is one superblock beyond what `one` goes back to | |
 * | isAncient | `one` forgot its run (14 are kept) and is later, and calls it in sync; | it has seen all but the last |
 * | | or it is no member by its own word, and its members are in sync in `one` or were removed | |
 *
 * A leg that is no member by its own superblock holds no writes that its members lack: it can only bear
 * witness to a life of theirs. Of one that an operator has removed there is nothing to be told any more.
 *
 * If there is none, two parts of the set were started apart: refused (I11). So are two parts without a
 * leg in common where one of them never came to acknowledge: no superblock that is left can tell. If
 * no member of the ruling one is there, but one that lacks just this one superblock, then that
 * superblock was never complete and nothing was acknowledged under it: the one before rules. Else
 * refused: what is there misses writes (I7).
 */
const STANDING_OF: Readonly<Record<LegState, Readonly<Record<Relation, Standing>>>> = {
  'in-sync': {
    same: STANDING.MEMBER,
    older: STANDING.JOINING,
    ahead: STANDING.JOINING,
    ancient: STANDING.JOINING,
  },
  resyncing: always(STANDING.JOINING),
  failed: always(STANDING.STALE),
  missing: always(STANDING.STALE),
  stale: always(STANDING.STALE),
};

function always(standing: Standing): Readonly<Record<Relation, Standing>> {
  return { same: standing, older: standing, ahead: standing, ancient: standing };
}

/** A superblock that was found, and where. */
interface Found {
  readonly input: number;
  readonly superblock: Superblock;
  readonly copy: 'a' | 'b';
}

/** Decides from what was found on the legs alone. No device is touched, nothing is remembered. */
export function assembleNative(inputs: readonly NativeLegInput[]): NativeAssembly {
  const found: Found[] = [];
  for (const [input, { metadata }] of inputs.entries()) {
    if (metadata.kind !== 'superblock') continue;
    found.push({ input, superblock: metadata.superblock, copy: metadata.copy });
  }
  const mixed = refuseMixed(inputs, found);
  if (mixed !== null) return refused(mixed, false);
  // Superblocks that were never complete, newest first: they rule nothing, their legs are `ahead`.
  const incomplete: Found[] = [];
  for (;;) {
    const candidates = found.filter((each) => !incomplete.includes(each));
    const ruler = findRuler(candidates);
    if (ruler === null) return refused(splitBrainReason(inputs, candidates), true);
    const assembly = underRuler(inputs, found, incomplete, ruler);
    if (assembly.legs.some(({ standing }) => standing === STANDING.MEMBER)) return assembly;
    const same = candidates.filter((each) => isSameAttempt(each.superblock, ruler.superblock));
    if (!isIncomplete(ruler, candidates)) return refused(noMemberReason(inputs, ruler), true);
    incomplete.push(...same);
  }
}

/** What no order of superblocks can mend: nothing there, two sets, one leg twice. */
function refuseMixed(inputs: readonly NativeLegInput[], found: readonly Found[]): string | null {
  const [first] = found;
  if (first === undefined) {
    const each = inputs.map(({ name, metadata }) => `${name}: ${whyNot(metadata)}`).join('; ');
    return `no leg carries metadata that can be read (${each})`;
  }
  for (const one of found) {
    const { superblock, input } = one;
    const name = nameOf(inputs, input);
    if (superblock.setUuid !== first.superblock.setUuid) {
      const sets = `${first.superblock.setUuid} and ${superblock.setUuid}`;
      return `${nameOf(inputs, first.input)} and ${name} belong to different sets, ${sets}`;
    }
    const twin = found.find(
      (other) => other.input < input && other.superblock.legUuid === superblock.legUuid,
    );
    if (twin !== undefined) {
      return (
        `${nameOf(inputs, twin.input)} and ${name} are the same leg ${superblock.legUuid}: ` +
        'one is a copy of the other, give only one of them'
      );
    }
  }
  return null;
}

function whyNot(metadata: LegMetadata): string {
  if (metadata.kind === 'invalid') return metadata.reason;
  return metadata.kind === 'none' ? 'no metadata' : 'metadata';
}

/** The candidate to which all others stand in a relation; of several the latest, then a member, then the first. */
function findRuler(candidates: readonly Found[]): Found | null {
  let best: Found | null = null;
  for (const one of candidates) {
    if (!candidates.every((other) => RULES.isBehind(other.superblock, one.superblock))) continue;
    if (best === null || isAbove(one, best)) best = one;
  }
  return best;
}

/**
 * An attempt that no member took is made again under its number, and may all the same be on some leg:
 * of two superblocks of one point the later attempt has the higher generation.
 */
function isAbove(one: Found, other: Found): boolean {
  const { sequence, generation } = other.superblock;
  if (one.superblock.sequence !== sequence) return one.superblock.sequence > sequence;
  if (one.superblock.generation !== generation) return one.superblock.generation > generation;
  return isMemberBySelf(one.superblock) && !isMemberBySelf(other.superblock);
}

/** What no two parts of a set that were started apart may say of each other. */
export const RULES = {
  /** True: `other` need not rule where `one` is there. */
  isBehind(other: Superblock, one: Superblock): boolean {
    return goesBackTo(one, other) || isUnended(other, one) || isAncient(other, one);
  },
};

/** `later` is `earlier`, or was written by somebody who knew it. */
function goesBackTo(later: Superblock, earlier: Superblock): boolean {
  if (later.run === earlier.run) return earlier.sequence <= later.sequence;
  const covers = ({ run, sequence }: RunMark): boolean =>
    run === earlier.run && earlier.sequence <= sequence;
  // What its legs were given last may be of runs that its history has forgotten.
  return later.history.some(covers) || later.legs.some(({ last }) => covers(last));
}

/**
 * `other` is from a life apart from that of `one`, but nothing was acknowledged there: it counts a
 * leg in sync that never got it, the one of `one` or another that was with it ever since.
 */
function isUnended(other: Superblock, one: Superblock): boolean {
  if (goesBackTo(other, one)) return false;
  if (isLeftBehind(other, one)) return true;
  const theyOfUs = entryOf(other, one.legUuid)?.state;
  // The first of a life goes to all legs of the set before anything is acknowledged, also to those being filled.
  if (isIn(theyOfUs) && other.sequence === other.runStart) return true;
  const weOfThem = entryOf(one, other.legUuid);
  // Removed while it was not there to be wiped, and the one superblock it alone had was never complete.
  if (weOfThem === undefined) return theyOfUs === 'in-sync';
  // Each counts the other in sync: the rest of a torn superblock has made another one whole again.
  if (weOfThem.state === 'in-sync') return theyOfUs === 'in-sync';
  const hasMissedIt = ({ uuid, state, changedGeneration }: LegEntry): boolean =>
    uuid === one.legUuid || (state === 'in-sync' && changedGeneration < weOfThem.changedGeneration);
  return one.legs.some((leg) => hasMissedIt(leg) && entryOf(other, leg.uuid)?.state === 'in-sync');
}

/**
 * `other` is from a leg that was being filled, and all that were to fill it have gone on without
 * that superblock, or have been removed: it was cut short by a crash, and nothing ever stood on it.
 */
function isLeftBehind(other: Superblock, one: Superblock): boolean {
  if (isMemberBySelf(other)) return false;
  return membersOf(other).every(({ uuid }) => {
    if (uuid === one.legUuid) return true;
    const entry = entryOf(one, uuid);
    if (entry === undefined) return isOneBeyond(other, one);
    // In the run of `one`, which the other never heard of; or in one between.
    const run = entry.state === 'in-sync' ? one.run : entry.last.run;
    return run !== other.run && other.history.every((mark) => mark.run !== run);
  });
}

/** All that `other` goes on from is in the past of `one`, up to the superblock before it. */
function isOneBeyond(other: Superblock, one: Superblock): boolean {
  const isFirst = other.sequence === other.runStart;
  const before = isFirst ? other.history[0] : { run: other.run, sequence: other.sequence - 1 };
  return one.history.some(
    ({ run, sequence }) => run === before?.run && sequence === before.sequence,
  );
}

function membersOf({ legs }: Superblock): readonly LegEntry[] {
  return legs.filter(({ state }) => state === 'in-sync');
}

/** `one` has forgotten the run of `other`, since so many have been; then numbers must do. */
function isAncient(other: Superblock, one: Superblock): boolean {
  if (goesBackTo(other, one)) return false;
  const oldest = one.history.at(-1);
  if (oldest === undefined || one.history.length < MAX_HISTORY) return false;
  if (other.sequence >= oldest.sequence) return false;
  // Removed long ago, while it was not there to be wiped: it is left out, whatever it says.
  const entry = entryOf(one, other.legUuid);
  if (entry === undefined || entry.state === 'in-sync') return true;
  // Out, it may have been started alone: unless it is no member by its own word.
  if (isMemberBySelf(other)) return false;
  return membersOf(other).every(({ uuid }) => {
    const member = entryOf(one, uuid);
    return member === undefined || member.state === 'in-sync';
  });
}

/**
 * Some leg that the ruler calls in sync is there, and lacks this very superblock alone. One that says
 * of its own leg that it is out was a farewell, and those are said of complete ones only.
 */
function isIncomplete({ superblock: ruler }: Found, candidates: readonly Found[]): boolean {
  if (!isIn(entryOf(ruler, ruler.legUuid)?.state)) return false;
  return candidates.some(({ superblock }) => {
    if (entryOf(ruler, superblock.legUuid)?.state !== 'in-sync') return false;
    if (!goesBackTo(ruler, superblock)) return false;
    if (superblock.run === ruler.run) {
      const isEarlierAttempt = superblock.generation < ruler.generation;
      const isSameNumber = superblock.sequence === ruler.sequence && isEarlierAttempt;
      return isSameNumber || superblock.sequence === ruler.sequence - 1;
    }
    return ruler.sequence === ruler.runStart && superblock.generation === ruler.runGeneration;
  });
}

/** Under one number there may have been several attempts, each with more changes than the one before. */
function isSameAttempt(a: Superblock, b: Superblock): boolean {
  return a.run === b.run && a.sequence === b.sequence && a.generation === b.generation;
}

function relationOf(one: Superblock, ruler: Superblock, isAhead: boolean): Relation {
  if (isAhead) return 'ahead';
  if (goesBackTo(ruler, one)) return one.generation === ruler.generation ? 'same' : 'older';
  return isAncient(one, ruler) ? 'ancient' : 'ahead';
}

function underRuler(
  inputs: readonly NativeLegInput[],
  found: readonly Found[],
  incomplete: readonly Found[],
  ruler: Found,
): Extract<NativeAssembly, { kind: 'assembled' }> {
  const rules = ruler.superblock;
  const legs = rules.legs.map((entry) => {
    const one = found.find(({ superblock }) => superblock.legUuid === entry.uuid);
    if (one === undefined) {
      const { MISSING } = STANDING;
      const rest = { input: null, entry, own: null };
      return { ...rest, standing: MISSING, deltaPossible: true, isOfOurPast: false };
    }
    return planLeg(entry, one, rules, incomplete.includes(one));
  });
  const excluded = inputs.flatMap(({ metadata }, input) => {
    if (legs.some((leg) => leg.input === input)) return [];
    const isOurs = metadata.kind === 'superblock';
    return [{ input, reason: isOurs ? 'was removed from the set' : whyNot(metadata) }];
  });
  return {
    kind: 'assembled',
    ruler: rules,
    rulerInput: ruler.input,
    mapInputs: legs.flatMap(({ input, standing }) =>
      standing === STANDING.MEMBER && input !== null ? [input] : [],
    ),
    legs,
    membersEqual: rules.clean,
    lastSequence: Math.max(...found.map(({ superblock }) => superblock.sequence)),
    excluded,
  };
}

function planLeg(
  entry: LegEntry,
  { input, superblock, copy }: Found,
  ruler: Superblock,
  isAhead: boolean,
): NativeLegPlan {
  const relation = relationOf(superblock, ruler, isAhead);
  const standing = STANDING_OF[entry.state][relation];
  const isOut = standing === STANDING.STALE;
  const cleared = isOut ? entry.clearedWhenLeft : ruler.clearedGeneration;
  const fits =
    superblock.dataSectors === ruler.dataSectors &&
    superblock.regionSectors === ruler.regionSectors;
  assert(fits || standing !== STANDING.MEMBER, 'members of different sizes');
  // One that is out and was put back from a copy lacks what it had when it left, too (D1).
  const { run, sequence } = entry.last;
  const isAsItLeft = superblock.run === run && superblock.sequence >= sequence;
  // Put back to a day before it was in sync it lacks what it was filled with, of which the map says nothing.
  const wasFilled = entry.state !== 'in-sync' || superblock.generation >= entry.changedGeneration;
  const isKnown = fits && relation !== 'ancient' && (isOut ? isAsItLeft : wasFilled);
  const deltaPossible = isKnown && superblock.generation >= cleared;
  const isOfOurPast = fits && (relation === 'same' || relation === 'older');
  return { input, standing, deltaPossible, isOfOurPast, entry, own: { superblock, copy } };
}

function nameOf(inputs: readonly NativeLegInput[], input: number): string {
  return inputs[input]?.name ?? '';
}

function splitBrainReason(inputs: readonly NativeLegInput[], found: readonly Found[]): string {
  // Each side is told by its latest superblock.
  const sides = found.filter(({ superblock }) =>
    found.every(
      (other) =>
        !goesBackTo(other.superblock, superblock) || goesBackTo(superblock, other.superblock),
    ),
  );
  const told = sides.map(({ input, superblock }) => {
    const when = isoTime(superblock.writtenAtMs);
    return `${nameOf(inputs, input)} (generation ${superblock.generation}, ${when})`;
  });
  return (
    `split brain: ${told.join(' and ')} were started apart from each other and may both have been ` +
    'written since; assemble with the legs of one side only, then add the other ones again with a full copy'
  );
}

function noMemberReason(inputs: readonly NativeLegInput[], ruler: Found): string {
  const wanted = membersOf(ruler.superblock).map(({ name, uuid }) => `${name} (leg ${uuid})`);
  const generation = ruler.superblock.generation;
  const says = `${nameOf(inputs, ruler.input)} (generation ${generation})`;
  return `no leg in sync is there: by ${says} wanted ${wanted.length === 1 ? 'is' : 'are'} ${wanted.join(', ')}`;
}

function refused(reason: string, wouldLoseData: boolean): NativeAssembly {
  return { kind: 'refused', reason, wouldLoseData };
}
