import { bytesOfSectors } from '../base/units.ts';

/** How a mismatch is settled: not at all, by the majority, or by one leg's word. */
export type ScrubRepair = 'none' | 'majority' | { readonly fromLeg: number };

/** Sectors first..first+count-1 of the device, where legs differ from each other. */
export interface Mismatch {
  readonly sector: number;
  readonly sectors: number;
  /** Legs by what they hold: those of one list agree. The largest list first. */
  readonly groups: readonly (readonly number[])[];
  /** Written over with what the repair said is right. */
  readonly repaired: boolean;
}

/** Sectors in which a leg could not be read; they are rewritten from another leg. */
export interface Unreadable {
  readonly sector: number;
  readonly sectors: number;
  readonly leg: number;
}

/** Positions kept; what is beyond them is counted only. */
const KEPT_POSITIONS = 1000;

/** What a scrub has found so far: counts are of sectors of the device, not of legs. */
export class ScrubFindings {
  checkedSectors = 0;
  mismatchedSectors = 0;
  repairedSectors = 0;
  unreadableSectors = 0;
  readonly mismatches: Mismatch[] = [];
  readonly unreadable: Unreadable[] = [];
  /** Ranges found, also those beyond the kept ones. */
  ranges = 0;

  addMismatch(found: Mismatch): void {
    this.mismatchedSectors += found.sectors;
    if (found.repaired) this.repairedSectors += found.sectors;
    const last = this.mismatches.at(-1);
    if (last !== undefined && isContinued(last, found)) {
      this.mismatches[this.mismatches.length - 1] = {
        ...last,
        sectors: last.sectors + found.sectors,
      };
      return;
    }
    this.ranges += 1;
    if (this.mismatches.length < KEPT_POSITIONS) this.mismatches.push(found);
  }

  addUnreadable(found: Unreadable): void {
    this.unreadableSectors += found.sectors;
    if (this.unreadable.length < KEPT_POSITIONS) this.unreadable.push(found);
  }

  /** Of an earlier run: the counts; the positions were told by events. */
  restore(before: ScrubPlace, checkedSectors: number): void {
    this.checkedSectors = checkedSectors;
    this.mismatchedSectors = before.mismatchedSectors;
    this.repairedSectors = before.repairedSectors;
    this.unreadableSectors = before.unreadableSectors;
    this.ranges = before.ranges;
  }

  /** Regions end in any order. */
  sort(): void {
    this.mismatches.sort((a, b) => a.sector - b.sector);
    this.unreadable.sort((a, b) => a.sector - b.sector);
  }
}

function isContinued(last: Mismatch, next: Mismatch): boolean {
  return (
    last.sector + last.sectors === next.sector &&
    last.repaired === next.repaired &&
    JSON.stringify(last.groups) === JSON.stringify(next.groups)
  );
}

/** Where a scrub that is not done has come to, as it is remembered over a restart. Plain data. */
export interface ScrubPlace {
  /** Slot of the leg that repairs, which outlives the leg's number. */
  readonly repair: 'none' | 'majority' | { readonly fromSlot: number };
  /** All regions before it have been checked. */
  readonly region: number;
  /** Counts, without the positions. */
  readonly mismatchedSectors: number;
  readonly repairedSectors: number;
  readonly unreadableSectors: number;
  readonly ranges: number;
}

export type ScrubState = 'running' | 'stopped' | 'done' | 'failed';

/** For `status`. Plain data. */
export interface ScrubStatus {
  readonly state: ScrubState;
  /** Why it `failed`. */
  readonly reason: string | null;
  readonly repair: 'none' | 'majority' | 'from-leg';
  readonly fromLeg: number | null;
  readonly doneBytes: number;
  readonly totalBytes: number;
  readonly bytesPerSecond: number | null;
  readonly etaSeconds: number | null;
  readonly mismatchedSectors: number;
  readonly repairedSectors: number;
  readonly unreadableSectors: number;
  /** Sector ranges that differ: all that were found, and the first of them. */
  readonly mismatchedRanges: number;
  readonly mismatches: readonly Mismatch[];
  readonly unreadable: readonly Unreadable[];
}

/** The leg whose bytes are right; null: nobody can say, and nobody guesses. */
export function truthOf({ groups }: Mismatch, repair: ScrubRepair): number | null {
  if (repair === 'none') return null;
  if (repair !== 'majority') {
    return groups.some((legs) => legs.includes(repair.fromLeg)) ? repair.fromLeg : null;
  }
  const total = groups.reduce((sum, legs) => sum + legs.length, 0);
  const [largest = []] = groups;
  return largest.length * 2 > total ? (largest[0] ?? null) : null;
}

export function describeMismatch(
  { sector, sectors, groups }: Mismatch,
  nameOf: (leg: number) => string,
): string {
  const last = sector + sectors - 1;
  const where = sectors === 1 ? `sector ${sector}` : `sectors ${sector}..${last}`;
  const sides = groups.map((legs) => legs.map(nameOf).join(' = ')).join(' differs from ');
  return `${where} (byte ${bytesOfSectors(sector)}): ${sides}`;
}
