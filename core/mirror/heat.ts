import { isNeverWritten } from './map.ts';
import type { MirrorSet } from './set.ts';

/**
 * The region map as one line of characters, each for as many regions as fit the width: the worst of
 * them decides.
 *
 * | letter | meaning                                                        |
 * |--------|----------------------------------------------------------------|
 * | `x`    | some leg lacks it, or could not read it                        |
 * | `?`    | in doubt: members may differ, it is settled before it is read  |
 * | `d`    | dirty: being written                                           |
 * | `.`    | clean: the same on every leg that is in sync                   |
 * | `_`    | never written since the mirror was made; only a native log knows |
 */
export function heatStrip(set: MirrorSet, cells: number): string {
  const width = Math.min(cells, set.regions);
  let strip = '';
  for (let cell = 0; cell < width; cell += 1) {
    const first = Math.floor((cell * set.regions) / width);
    const last = Math.floor(((cell + 1) * set.regions) / width) - 1;
    strip += letterOf(set, first, last);
  }
  return strip;
}

function letterOf(set: MirrorSet, first: number, last: number): string {
  if (set.legs.some((leg) => isIn(leg.outOfSync.next(first), last))) return 'x';
  if (isIn(set.doubt.next(first), last)) return '?';
  if (set.pending.dirty > 0) {
    for (let region = first; region <= last; region += 1) {
      if (set.pending.isDirty(region)) return 'd';
    }
  }
  for (let region = first; region <= last; region += 1) {
    if (!isNeverWritten(set, region)) return '.';
  }
  return '_';
}

function isIn(region: number, last: number): boolean {
  return region >= 0 && region <= last;
}
