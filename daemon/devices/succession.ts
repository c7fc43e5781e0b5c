/**
 * Who is in sync when another table takes a device's place.
 *
 * A leg carries the device's content when the live table has it in the same place (path and offset):
 * the device of a single `linear` line, or a leg of a mirror that its record calls in sync.
 *
 * | next table is | a leg of it                          | is then   | because                            |
 * |---------------|--------------------------------------|-----------|------------------------------------|
 * | a mirror      | carries the content                  | in-sync   | it holds every acknowledged write  |
 * |               |   but not the first such, and longer | resyncing | nobody knows what the new end holds|
 * |               | does not, another leg does           | resyncing | is copied whole; what the table's  |
 * |               |                                      |           | `nosync` says of a leg that joins  |
 * |               |                                      |           | a mirror is not believed           |
 * |               | does not, the live table is `linear`,| in-sync   | the user's word about legs that    |
 * |               |   and `nosync`                       |           | this device never knew             |
 * |               | nobody does                          | as new    | the first is the truth, unless it  |
 * |               |                                      |           | is known to be stale: refused      |
 * | anything else | is known not to be in sync           | refused   | clients would read old data        |
 */
import { ControlError } from '../../core/control/error.ts';
import { splitWords } from '../../core/dm/args.ts';
import type { TableSpec } from '../../core/dm/parse.ts';
import { parseMirrorArgs, type MirrorArgs } from '../../core/dm/target-mirror.ts';
import { NO_LEG_ERRORS } from '../../core/control/status.ts';
import type { LegRecord, MirrorRecord } from '../../core/mirror/record.ts';
import { isMirror, linesOf } from './assemble.ts';

export interface Before {
  readonly spec: TableSpec;
  /** Null: no mirror. */
  readonly mirror: MirrorRecord | null;
}

export interface Next {
  readonly spec: TableSpec;
  readonly lines: readonly string[];
  /** The user takes old data for the truth. */
  readonly force: boolean;
  /** It is longer, and what is new of it reads as zeros on every leg. */
  readonly endsAlike?: boolean;
}

/**
 * The record that the next table starts from; null when it is no mirror.
 * @throws ControlError would-lose-data
 */
export function succeed(name: string, before: Before, next: Next): MirrorRecord | null {
  const known = new Map(before.mirror?.legs.map((leg) => [leg.path, leg]));
  const carriers = carriersOf(before);
  if (!isMirror(next.spec)) {
    if (!next.force) refuseStale(name, known, pathsIn(next.spec));
    return null;
  }
  const args = mirrorArgsOf(next.spec, next.lines);
  const carries = args.legs.map(({ path, startSector }) => carriers.has(`${startSector} ${path}`));
  const source = carries.indexOf(true);
  if (source === -1 && !next.force) refuseStale(name, known, args.legs.slice(0, 1).map(pathOf));
  const isLonger = next.spec.sectors > before.spec.sectors && next.endsAlike !== true;
  const isWord = args.sync === 'nosync' && (source === -1 || before.mirror === null);
  const truth = source === -1 ? 0 : source;
  const slots = slotsOf(args, known);
  const legs = args.legs.map(({ path, startSector }, i): LegRecord => {
    const carried = carries[i] === true && !isLonger && args.sync !== 'sync';
    const believed = i === truth || carried || (isWord && !known.has(path));
    const before = known.get(path);
    return {
      path,
      slot: slots[i] ?? i,
      startSector,
      writeMostly: before?.writeMostly ?? false,
      failedByHand: false,
      replaces: null,
      state: believed ? 'in-sync' : 'resyncing',
      reason: null,
      errors: before?.errors ?? NO_LEG_ERRORS,
    };
  });
  // Without a crash nothing was under way: only a mirror that had doubts hands them on.
  const clean = before.mirror?.clean ?? true;
  return { generation: (before.mirror?.generation ?? 0) + 1, clean, legs };
}

/** A leg keeps its number for life; new ones get the lowest that are free. */
function slotsOf({ legs }: MirrorArgs, known: ReadonlyMap<string, LegRecord>): readonly number[] {
  const taken = new Set(legs.flatMap(({ path }) => known.get(path)?.slot ?? []));
  let next = 0;
  return legs.map(({ path }) => {
    const kept = known.get(path)?.slot;
    if (kept !== undefined) return kept;
    while (taken.has(next)) next += 1;
    taken.add(next);
    return next;
  });
}

function mirrorArgsOf(spec: TableSpec, lines: readonly string[]): MirrorArgs {
  const words = splitWords(linesOf(lines.join('\n'))[0] ?? '');
  return parseMirrorArgs(spec.sectors, words.slice(3));
}

/** `OFFSET PATH` of every area that holds the device's content. */
function carriersOf({ spec, mirror }: Before): ReadonlySet<string> {
  const [line, ...more] = spec.lines;
  const type = line?.spec.type.name;
  if (line === undefined || more.length > 0 || (type !== 'linear' && type !== 'mirror')) {
    return new Set();
  }
  const inSync = new Set(
    mirror?.legs.filter(({ state }) => state === 'in-sync').map(({ path }) => path),
  );
  const references = line.spec.devices.filter(({ path }) => type === 'linear' || inSync.has(path));
  return new Set(references.map(({ path, startSector }) => `${startSector} ${path}`));
}

function refuseStale(
  name: string,
  known: ReadonlyMap<string, LegRecord>,
  paths: readonly string[],
): void {
  for (const path of paths) {
    const leg = known.get(path);
    if (leg === undefined || leg.state === 'in-sync') continue;
    throw new ControlError(
      'would-lose-data',
      `leg ${path} of ${name} is ${leg.state}: clients would read old data from it; ` +
        '--force takes it all the same',
    );
  }
}

function pathsIn(spec: TableSpec): readonly string[] {
  return spec.lines.flatMap((line) => line.spec.devices.map(({ path }) => path));
}

function pathOf({ path }: { readonly path: string }): string {
  return path;
}
