import { assert } from '../base/assert.ts';

/** Writes under way by region: how many regions are dirty right now. */
export class PendingWrites {
  private readonly counts: Uint16Array;
  private dirtyRegions = 0;

  constructor(regions: number) {
    this.counts = new Uint16Array(regions);
  }

  /** Regions with at least one write under way. */
  get dirty(): number {
    return this.dirtyRegions;
  }

  isDirty(region: number): boolean {
    return this.counts[region]! > 0;
  }

  enter(first: number, last: number): void {
    for (let region = first; region <= last; region += 1) {
      const count = this.counts[region]!;
      assert(count < 0xffff, 'more than 65535 writes under way in a region');
      if (count === 0) this.dirtyRegions += 1;
      this.counts[region] = count + 1;
    }
  }

  leave(first: number, last: number): void {
    for (let region = first; region <= last; region += 1) {
      const count = this.counts[region]!;
      assert(count > 0, 'a write left a region that it had not entered');
      if (count === 1) this.dirtyRegions -= 1;
      this.counts[region] = count - 1;
    }
  }
}
