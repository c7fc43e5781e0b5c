import { stackLimits, type QueueLimits } from '../block/limits.ts';
import type { Journal } from './journal.ts';
import { Leg, STANDING } from './leg.ts';
import type { MirrorOptions } from './options.ts';
import type { LegErrors, LegRecord, MirrorRecorder } from './record.ts';
import type { RegionBits } from './region-bits.ts';

/** A DISCARD goes to the legs only if all of them answer it with zeros: else they would differ (I17). */
export function mirrorLimits(legs: readonly Leg[]): QueueLimits {
  const devices = legs.flatMap((leg) => (leg.device === null ? [] : [leg.device.limits]));
  const limits = stackLimits(devices);
  return limits.discardZeroes ? limits : { ...limits, maxDiscardSectors: 0 };
}

export function makeLeg(
  options: MirrorOptions['legs'][number],
  index: number,
  regions: number,
): Leg {
  const { name, startSector, device, standing, slot, writeMostly } = options;
  const leg = new Leg(index, name, startSector, device, standing, regions, slot, writeMostly);
  leg.reason = options.reason ?? null;
  leg.uuid = options.uuid ?? null;
  leg.deltaPossible = options.deltaPossible ?? false;
  leg.failedByHand = options.failedByHand ?? false;
  leg.replaces = options.replaces ?? -1;
  if (options.errors !== undefined) Object.assign(leg.errors, options.errors);
  return leg;
}

/** A leg that is no member lacks what the log says; everything, where that says nothing. */
export function markLacking(leg: Leg, lacks: RegionBits | undefined): void {
  if (leg.standing === STANDING.MEMBER) return;
  if (lacks === undefined) leg.outOfSync.setAll();
  else leg.outOfSync.addAll(lacks);
}

export function recordOf(leg: Leg, replaced: Leg | null): LegRecord {
  return {
    path: leg.name,
    slot: leg.slot,
    startSector: leg.startSector,
    writeMostly: leg.writeMostly,
    failedByHand: leg.failedByHand,
    replaces: replaced?.slot ?? null,
    state: leg.standing === STANDING.MEMBER ? 'in-sync' : leg.state,
    reason: leg.reason,
    errors: errorsOf(leg),
  };
}

export function errorsOf({ errors: { read, write, flush, resync } }: Leg): LegErrors {
  return { read, write, flush, resync };
}

/** Nothing may be on its way to a leg when the set is gone. */
export function settleRecord(
  journal: Journal,
  recorder: MirrorRecorder,
  errno: number,
  done: (errno: number) => void,
): void {
  const settled = (): void => {
    if (errno !== 0 || !journal.isBehind) {
      done(errno);
      return;
    }
    const again = (late: number): void => {
      settleRecord(journal, recorder, late, done);
    };
    journal.wait({ needVersion: 0, recorded: again });
  };
  if (recorder.settle === undefined) settled();
  else recorder.settle(settled);
}
