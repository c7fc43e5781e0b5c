import { bytesOfSectors } from '../base/units.ts';
import type { Leg, LegErrorKind, LegState } from './leg.ts';
import type { LegErrors } from './record.ts';
import type { ResyncProgress } from './recovery.ts';
import type { ScrubStatus } from './scrub-report.ts';
import { errorsOf } from './set-parts.ts';
import type { MirrorSet } from './set.ts';

/** `failed`: no member is left, or the last one failed the latest write. */
type MirrorState = 'in-sync' | 'degraded' | 'resyncing' | 'failed';

/** The mirror's part of `dmio status --json` (CONTRACT section 4). */
export interface MirrorStatus {
  readonly state: MirrorState;
  readonly eventNr: number;
  readonly regions: {
    readonly sizeBytes: number;
    readonly total: number;
    /** Regions with a write under way. */
    readonly dirty: number;
    /** Regions that at least one leg lacks, or that are in doubt. */
    readonly outOfSync: number;
  };
  readonly resync: ResyncProgress | null;
  /** The last scrub, or the one that runs; null: none since the set was assembled. */
  readonly scrub: ScrubStatus | null;
  readonly legs: readonly LegStatus[];
}

interface LegStatus {
  readonly index: number;
  readonly leg: string;
  readonly state: LegState;
  readonly reason: string | null;
  readonly errors: LegErrors;
  readonly outOfSyncBytes: number;
  /** Read only where no other leg is good. */
  readonly writeMostly: boolean;
  readonly failedByHand: boolean;
  /** The leg that leaves when this one is in sync. */
  readonly replaces: string | null;
}

export function mirrorStatus(set: MirrorSet): MirrorStatus {
  return {
    state: mirrorState(set),
    eventNr: set.eventNr,
    regions: {
      sizeBytes: bytesOfSectors(set.regionSectors),
      total: set.regions,
      dirty: set.pending.dirty,
      outOfSync: countOutOfSync(set),
    },
    resync: set.recovery.progress(),
    scrub: set.scrub.status(),
    legs: set.legs.map((leg) => ({
      index: leg.index,
      leg: leg.name,
      state: leg.state,
      reason: leg.reason,
      errors: shownErrors(leg),
      outOfSyncBytes: outOfSyncBytes(set, leg),
      writeMostly: leg.writeMostly,
      failedByHand: leg.failedByHand,
      replaces: set.replacedBy(leg)?.name ?? null,
    })),
  };
}

/** Time-outs are said when there were some: scripts know the other four. */
function shownErrors(leg: Leg): LegErrors {
  const { timeout } = leg.errors;
  return timeout === 0 ? errorsOf(leg) : { ...errorsOf(leg), timeout };
}

function mirrorState(set: MirrorSet): MirrorState {
  if (set.isBroken) return 'failed';
  if (set.doubt.count > 0) return 'resyncing';
  if (set.legs.some((leg) => leg.state === 'resyncing')) return 'resyncing';
  const isWhole = set.legs.length > 1 && set.legs.every((leg) => leg.state === 'in-sync');
  return isWhole ? 'in-sync' : 'degraded';
}

const LETTERS: Readonly<Record<LegErrorKind, string>> = {
  write: 'D',
  flush: 'F',
  resync: 'S',
  read: 'R',
  // dm-mirror knows no time-outs; one that does not answer is dead to it.
  timeout: 'D',
};

/** `2 /a /b 1023/1024 1 AD 1 core`: the arguments of the kernel's status line (dm-raid1). */
export function kernelStatus(set: MirrorSet): string {
  const names = set.legs.map((leg) => leg.name).join(' ');
  const inSync = set.regions - countOutOfSync(set);
  const letters = set.legs.map(healthLetter).join('');
  const log =
    set.regionLog.store === null ? '1 core' : (set.regionLog.store.statusWords ?? '1 native');
  return `${String(set.legs.length)} ${names} ${String(inSync)}/${String(set.regions)} 1 ${letters} ${log}`;
}

/** A leg that is out without an error of its own (missing, stale, failed by hand) counts as D. */
function healthLetter(leg: Leg): string {
  if (leg.lastError !== null) return LETTERS[leg.lastError];
  return leg.isActive ? 'A' : 'D';
}

function countOutOfSync(set: MirrorSet): number {
  let count = 0;
  let region = nextOutOfSync(set, 0);
  while (region >= 0) {
    count += 1;
    region = nextOutOfSync(set, region + 1);
  }
  return count;
}

function nextOutOfSync(set: MirrorSet, from: number): number {
  let best = set.doubt.next(from);
  for (const leg of set.legs) {
    const region = leg.outOfSync.next(from);
    if (region >= 0 && (best < 0 || region < best)) best = region;
  }
  return best;
}

/** What the leg has to be given. */
export function outOfSyncBytes(set: MirrorSet, leg: Leg): number {
  const { count } = leg.outOfSync;
  if (count === 0) return 0;
  const last = set.regions - 1;
  const short = set.regionSectors - set.sectorsOfRegion(last);
  const sectors = count * set.regionSectors - (leg.outOfSync.test(last) ? short : 0);
  return bytesOfSectors(sectors);
}
