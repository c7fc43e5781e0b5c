import type { Run } from '../block/run.ts';
import { RUN } from '../block/run.ts';
import type { Leg } from './leg.ts';
import type { MirrorSet } from './set.ts';

/** How a region of a mirror stands; the bits are those of NBD's context x-dmiod:mirror. */
const REGION_STATE = {
  CLEAN: 0,
  /** A write is under way. */
  DIRTY: 1 << 0,
  /** A leg lacks what others hold. */
  OUT_OF_SYNC: 1 << 1,
  /** Nothing was written since the mirror was made. Only a log that remembers it can say so. */
  NEVER_WRITTEN: 1 << 2,
  /** Members may differ; the region is made equal before it is read. */
  IN_DOUBT: 1 << 3,
} as const;

/** Regions looked at for one answer: a bounded time, however large the device is. */
const MOST_REGIONS = 4096;

/** The one place that knows what a region's bits are made of. */
function regionState(set: MirrorSet, region: number): number {
  let state: number = REGION_STATE.CLEAN;
  if (set.pending.isDirty(region)) state |= REGION_STATE.DIRTY;
  if (set.doubt.test(region)) state |= REGION_STATE.IN_DOUBT;
  for (const leg of set.legs) {
    if (leg.outOfSync.test(region)) return state | REGION_STATE.OUT_OF_SYNC;
  }
  return state;
}

/** The run of regions in one state from `sector` on. */
export function mirrorStateAt(set: MirrorSet, sector: number, sectors: number, run: Run): void {
  const first = set.regionOf(sector);
  const state = regionState(set, first);
  const end = endOfAlike(
    set,
    first,
    sector + sectors,
    (region) => regionState(set, region) === state,
  );
  run.set(end - sector, state);
}

/**
 * What a leg that may be read says of its space. Where members may differ, or a write is under way
 * that may be on one leg and not yet on another, nothing is promised.
 */
export function mirrorAllocationAt(
  set: MirrorSet,
  sector: number,
  sectors: number,
  run: Run,
): void {
  const first = set.regionOf(sector);
  const leg = isSettled(set, first) ? legThatKnows(set, first) : null;
  if (leg === null) {
    const unknown = (region: number): boolean =>
      !isSettled(set, region) || legThatKnows(set, region) === null;
    run.set(endOfAlike(set, first, sector + sectors, unknown) - sector, RUN.DATA);
    return;
  }
  const end = endOfAlike(
    set,
    first,
    sector + sectors,
    (region) => isSettled(set, region) && leg.canRead(region, region),
  );
  leg.device?.allocationAt?.(leg.startSector + sector, end - sector, run);
}

function isSettled(set: MirrorSet, region: number): boolean {
  return !set.doubt.test(region) && !set.pending.isDirty(region);
}

function legThatKnows(set: MirrorSet, region: number): Leg | null {
  for (const leg of set.legs) {
    if (leg.device?.allocationAt !== undefined && leg.canRead(region, region)) return leg;
  }
  return null;
}

/** The sector at which regions from `first` on cease to be alike, at most `end`. */
function endOfAlike(
  set: MirrorSet,
  first: number,
  end: number,
  isAlike: (region: number) => boolean,
): number {
  const stop = Math.min(first + MOST_REGIONS, set.regions);
  let region = first + 1;
  while (region < stop && region * set.regionSectors < end && isAlike(region)) region += 1;
  return Math.min(region * set.regionSectors, end);
}
