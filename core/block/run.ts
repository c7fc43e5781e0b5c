/** What a run of sectors is known to be; the numbers are those of NBD's base:allocation. */
export const RUN = {
  /** Nothing is known: it may hold anything. */
  DATA: 0,
  /** No space is allocated for it. */
  HOLE: 1 << 0,
  /** It reads as zeros. */
  ZERO: 1 << 1,
} as const;

/** Sectors from some place on that are alike. A record for answers, used again. */
export class Run {
  sectors = 0;
  flags = 0;

  set(sectors: number, flags: number): void {
    this.sectors = sectors;
    this.flags = flags;
  }
}

/**
 * What a device can say at once, without I/O of its own, about its sectors. Both are optional: who
 * cannot say is taken to hold data, and to have no state.
 */
export interface Mapped {
  /**
   * Sets `run` to the kind of the sectors from `sector` on: 1 .. `sectors` of them, all inside the
   * device. ZERO is a promise: a READ that began now would give zeros. It may change with the next write.
   */
  allocationAt?(sector: number, sectors: number, run: Run): void;
  /** The same of a mirror's state: `flags` are REGION_STATE of mirror/map.ts. */
  mirrorStateAt?(sector: number, sectors: number, run: Run): void;
}
