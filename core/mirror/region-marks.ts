/** A region in memory: where its mark is on its way to the log, and what it says there. */
export const MARK = {
  /** Never written; in the log too. */
  NEVER: 0,
  /** Not written since it was cleaned; in the log too. */
  CLEAN: 1,
  /** Dirty in the log, on all active legs: data may go out. */
  DIRTY: 2,
  /** To be dirty in the log; it may be already. */
  MARKED: 3,
  /** The write that makes it dirty in the log is under way. */
  WRITING: 4,
  /** The write that makes it clean in the log is under way. */
  CLEANING: 5,
  /** As CLEANING, for a region that was marked ahead and then never written. */
  UNMARKING: 6,
} as const;

/** Written since it was marked, and not yet idle for as many turns of the cleaner. */
const WRITTEN = 0x80;
const TURNS = 3;

/**
 * The one question a write asks of the log. For a set without a log it is always yes; for one with
 * a log it is one byte a region, and a byte stored: when it was written last.
 */
export class RegionMarks {
  readonly isKept: boolean;
  readonly marks: Uint8Array;
  /** For each region WRITTEN, and the turns left until it counts as idle. */
  private readonly activity: Uint8Array;

  constructor(regions: number) {
    this.isKept = regions > 0;
    this.marks = new Uint8Array(regions);
    this.activity = new Uint8Array(regions);
  }

  /** True: data may go to first..last now. */
  mayWrite(first: number, last: number): boolean {
    if (!this.isKept) return true;
    for (let region = first; region <= last; region += 1) {
      if (this.marks[region] !== MARK.DIRTY) return false;
    }
    for (let region = first; region <= last; region += 1) this.activity[region] = WRITTEN | TURNS;
    return true;
  }

  /** A turn of the cleaner has come for the region. True: it has been idle for long enough. */
  growsIdle(region: number): boolean {
    const turns = this.activity[region]! & ~WRITTEN;
    if (turns === 0) return true;
    this.activity[region]! -= 1;
    return turns === 1;
  }

  isIdle(region: number): boolean {
    return (this.activity[region]! & ~WRITTEN) === 0;
  }

  wasWritten(region: number): boolean {
    return (this.activity[region]! & WRITTEN) !== 0;
  }

  forget(region: number): void {
    this.activity[region] = 0;
  }
}
