/** What an operator asks of a running mirror: to compare its legs, to heal now or later; and its counters. */
import { ControlError } from '../../core/control/error.ts';
import type { DeviceState, ResyncStatus, ScrubStatus } from '../../core/control/status.ts';
import type { Leg } from '../../core/mirror/leg.ts';
import type { ScrubRepair } from '../../core/mirror/scrub-report.ts';
import type { ScrubRefusal } from '../../core/mirror/scrub.ts';
import type { MirrorSet } from '../../core/mirror/set.ts';
import { mirrorStatus } from '../../core/mirror/status.ts';
import { reportOf, type IoReport } from '../../core/stats/report.ts';
import type { Assembled } from './assemble.ts';

export interface ScrubOrder {
  readonly action: 'start' | 'stop' | 'show';
  readonly repair: 'none' | 'majority' | 'from-leg';
  /** With `from-leg`: name or number. */
  readonly from: string | null;
  readonly anew: boolean;
}

export interface ResyncOrder {
  readonly action: 'start' | 'pause';
  readonly minBytesPerSecond: number | null;
  /** 0: no limit. */
  readonly maxBytesPerSecond: number | null;
}

export interface UpkeepAnswer {
  readonly state: DeviceState;
  readonly resync: ResyncStatus | null;
  readonly scrub: ScrubStatus | null;
  readonly minBytesPerSecond: number;
  readonly maxBytesPerSecond: number | null;
}

export interface DeviceStats {
  readonly io: IoReport;
  readonly legs: readonly { readonly index: number; readonly leg: string; readonly io: IoReport }[];
}

/** @throws ControlError no-leg, busy, would-lose-data, bad-argument */
export function orderScrub(
  name: string,
  mirror: MirrorSet | null,
  order: ScrubOrder,
): UpkeepAnswer {
  const set = mirrorOf(name, mirror);
  if (order.action === 'stop') {
    if (!set.scrub.stop()) throw new ControlError('io', `no scrub of ${name} is running`);
  } else if (order.action === 'start') {
    const refusal = set.scrub.begin(repairOf(name, set, order), order.anew);
    if (refusal !== null) throw refused(name, set, refusal, order);
  }
  return answerOf(set);
}

/** @throws ControlError no-leg, bad-argument */
export function orderResync(
  name: string,
  mirror: MirrorSet | null,
  order: ResyncOrder,
): UpkeepAnswer {
  const set = mirrorOf(name, mirror);
  const { limits } = set.pace;
  const min = order.minBytesPerSecond ?? limits.min;
  const max = order.maxBytesPerSecond ?? limits.max;
  const highest = max === 0 ? Infinity : max;
  if (highest < min) {
    throw new ControlError(
      'bad-argument',
      `resync rates of ${name}: the highest, ${highest} bytes/s, is below the lowest, ${min}`,
    );
  }
  set.pace.setLimits({ min, max: highest });
  if (order.action === 'pause') set.recovery.hold();
  else set.recovery.hurry();
  return answerOf(set);
}

export function statsOf({ clients, mirror }: Assembled): DeviceStats {
  const legs = mirror?.legs ?? [];
  return {
    io: reportOf(clients),
    legs: legs.map(({ index, name, stats }) => ({ index, leg: name, io: reportOf(stats) })),
  };
}

function answerOf(set: MirrorSet): UpkeepAnswer {
  const { state, resync, scrub } = mirrorStatus(set);
  const { min, max } = set.pace.limits;
  const maxBytesPerSecond = max === Infinity ? null : max;
  return { state, resync, scrub, minBytesPerSecond: min, maxBytesPerSecond };
}

function mirrorOf(name: string, mirror: MirrorSet | null): MirrorSet {
  if (mirror === null) throw new ControlError('no-leg', `device ${name} is no running mirror`);
  return mirror;
}

function repairOf(name: string, set: MirrorSet, { repair, from }: ScrubOrder): ScrubRepair {
  if (repair !== 'from-leg') return repair;
  const leg = legOf(set, from ?? '');
  if (leg === undefined) throw new ControlError('no-leg', `device ${name} has no leg ${from}`);
  return { fromLeg: leg.index };
}

function legOf(set: MirrorSet, wanted: string): Leg | undefined {
  return set.legs.find((leg) => leg.name === wanted || String(leg.index) === wanted);
}

function refused(
  name: string,
  set: MirrorSet,
  refusal: ScrubRefusal,
  { from }: ScrubOrder,
): ControlError {
  switch (refusal) {
    case 'running':
      return new ControlError('busy', `a scrub of ${name} is running; --stop ends it`);
    case 'no-second-leg':
      return new ControlError('busy', `${name} has one leg in sync: nothing to compare it with`);
    case 'no-majority': {
      const legs = set.legs.filter((leg) => leg.standing === 'member').map((leg) => leg.name);
      return new ControlError(
        'would-lose-data',
        `${name} has two legs in sync, ${legs.join(' and ')}: nobody can say which is right where they differ; --repair --from LEG says it, and overwrites the other there`,
      );
    }
    case 'leg-not-in-sync':
      return new ControlError(
        'would-lose-data',
        `leg ${from} of ${name} is not in sync: it is no source`,
      );
  }
}
