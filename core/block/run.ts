import type { Completion } from './loop.ts';

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

/** Most zero runs that an answer has; what lies behind them is not known to be zero. */
const MAX_ZERO_RUNS = 32;

/** Who asked what is zero. */
export interface ZeroQueryOwner {
  /** From the loop, once. */
  zeroesKnown(query: ZeroQuery): void;
}

/** "Which of these sectors read as zeros?" A record for question and answer, used again. */
export class ZeroQuery implements Completion {
  sector = 0;
  sectors = 0;
  /** Zero runs, in order and apart, as sectors from the device's beginning. */
  count = 0;
  readonly starts = new Float64Array(MAX_ZERO_RUNS);
  readonly ends = new Float64Array(MAX_ZERO_RUNS);
  private readonly owner: ZeroQueryOwner;

  constructor(owner: ZeroQueryOwner) {
    this.owner = owner;
  }

  /** Behind all that was added before. */
  add(start: number, end: number): void {
    if (this.count > 0 && this.ends[this.count - 1] === start) this.ends[this.count - 1] = end;
    else if (this.count < MAX_ZERO_RUNS) {
      this.starts[this.count] = start;
      this.ends[this.count] = end;
      this.count += 1;
    }
  }

  /** The sectors from `sector` on that are alike, at most `sectors`; ZERO, or DATA when nobody knows. */
  runAt(sector: number, sectors: number, run: Run): void {
    const limit = sector + sectors;
    for (let i = 0; i < this.count; i += 1) {
      const start = this.starts[i]!;
      const end = this.ends[i]!;
      if (end <= sector) continue;
      if (start <= sector) run.set((end < limit ? end : limit) - sector, RUN.ZERO);
      else run.set((start < limit ? start : limit) - sector, RUN.DATA);
      return;
    }
    run.set(sectors, RUN.DATA);
  }

  complete(): void {
    this.owner.zeroesKnown(this);
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
  /**
   * The same where it takes I/O: fills the query's runs with what reads as zeros, and ends it by the
   * loop (`loop.defer(query)`), always; no runs: nothing is known. Until then the query is the device's.
   */
  askZeroes?(query: ZeroQuery): void;
  /** The same of a mirror's state: `flags` are REGION_STATE of mirror/map.ts. */
  mirrorStateAt?(sector: number, sectors: number, run: Run): void;
}
