import { assert } from '../base/assert.ts';
import { stackLimits, type QueueLimits } from '../block/limits.ts';
import type { Target } from './target.ts';

/** Sectors [startSector, endSector) of a mapped device and the target that has them. */
export interface TableEntry {
  readonly startSector: number;
  readonly endSector: number;
  readonly target: Target;
}

/**
 * A live table: targets without gap or overlap from sector 0 on. Made by buildTable (build.ts),
 * printed by formatTable (parse.ts).
 */
export class Table {
  readonly entries: readonly TableEntry[];
  /** End of the last target. */
  readonly sectors: number;
  readonly limits: QueueLimits;
  /** Most bios follow the one before into the same target. */
  private lastFound: TableEntry;

  constructor(entries: readonly TableEntry[]) {
    const first = entries[0];
    assert(first !== undefined, 'a table without targets');
    let endSector = 0;
    for (const entry of entries) {
      assert(entry.startSector === endSector, 'a table with a gap or an overlap');
      assert(entry.endSector > entry.startSector, 'a target without sectors');
      endSector = entry.endSector;
    }
    this.entries = entries;
    this.sectors = endSector;
    this.limits = stackLimits(entries.map(({ target }) => target.limits));
    this.lastFound = first;
  }

  /** The entry that holds `sector`, which must be inside the table. */
  find(sector: number): TableEntry {
    const last = this.lastFound;
    if (sector >= last.startSector && sector < last.endSector) return last;
    assert(sector >= 0 && sector < this.sectors, 'a sector outside the table');
    let low = 0;
    let high = this.entries.length - 1;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (sector < this.entries[middle]!.endSector) high = middle;
      else low = middle + 1;
    }
    const found = this.entries[low]!;
    this.lastFound = found;
    return found;
  }
}
