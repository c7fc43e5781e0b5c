/**
 * `reload` where the live table or the next one is a mirror with the native log.
 *
 * | the next table                                   | then                                           |
 * |--------------------------------------------------|------------------------------------------------|
 * | the same set: log, size, region size, legs       | the set goes on as it is: what its legs say of |
 * |                                                  | each other is true of the next table, too      |
 * | other legs, or in another order                  | refused: `leg add`, `leg remove` and `leg      |
 * |                                                  | replace` tell the other legs of it             |
 * | another size or region size                      | refused: the map on the legs is of these       |
 * | `sync`                                           | refused: `dmio resync` does that               |
 * | another target or log, of a native set           | refused: the legs would still call themselves  |
 * |                                                  | in sync, and be believed by `dmio assemble`    |
 * | a native set of anything else                    | refused: its legs have no metadata yet, nor    |
 * |                                                  | room for it behind the device                  |
 */
import { bytesOfSectors } from '../../core/base/units.ts';
import { ControlError } from '../../core/control/error.ts';
import { splitWords } from '../../core/dm/args.ts';
import type { TableSpec } from '../../core/dm/parse.ts';
import { parseMirrorArgs, type MirrorArgs } from '../../core/dm/target-mirror.ts';
import { isNativeTable, linesOf } from './assemble.ts';

/** A table: what it says, and its lines. */
export interface ReadTable {
  readonly spec: TableSpec;
  readonly text: string;
}

/**
 * True: the next table is the native set that is there. False: neither is native.
 * @throws ControlError unsupported, in the user's words
 */
export function isSameNativeSet(name: string, live: ReadTable, next: ReadTable): boolean {
  const isNative = isNativeTable(live.text);
  if (!isNative && !isNativeTable(next.text)) return false;
  const why = differenceOf(live, next);
  if (why === null) return true;
  throw new ControlError('unsupported', `device ${name}: ${why}`);
}

function differenceOf(live: ReadTable, next: ReadTable): string | null {
  if (!isNativeTable(live.text)) {
    return 'its legs carry no metadata of the native log; remove it and create it with --log native';
  }
  if (!isNativeTable(next.text)) {
    return (
      'its legs carry the metadata of the native log and would be believed by it again, whatever ' +
      'another table writes; remove it and create it anew with --force'
    );
  }
  const ours = argsOf(live);
  const theirs = argsOf(next);
  if (live.spec.sectors !== next.spec.sectors) {
    return `the table has ${bytesOfSectors(next.spec.sectors)} bytes, the map on its legs is for ${bytesOfSectors(live.spec.sectors)}`;
  }
  if (ours.regionSectors !== theirs.regionSectors) {
    return `the table has regions of ${theirs.regionSectors} sectors, the map on its legs has ${ours.regionSectors}`;
  }
  if (ours.metadataFolder !== theirs.metadataFolder) {
    return 'the table has the metadata of its legs in another place; remove it and create it anew with --force';
  }
  if (pathsIn(ours) !== pathsIn(theirs)) {
    return 'the table has other legs, or in another order; with the native log leg add, leg remove and leg replace change them';
  }
  return theirs.sync === 'sync' ? 'the table says sync; dmio resync copies everything' : null;
}

function argsOf({ spec, text }: ReadTable): MirrorArgs {
  const words = splitWords(linesOf(text)[0] ?? '');
  return parseMirrorArgs(spec.sectors, words.slice(3), 1);
}

function pathsIn({ legs }: MirrorArgs): string {
  return JSON.stringify(legs.map(({ path }) => path));
}
