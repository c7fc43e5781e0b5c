/** Calls that change the legs of a mirror, where it lives. They answer when the record says so. */
import type { LegMetadata } from '../../core/mirror/assemble-native.ts';
import { errnoName } from '../../core/base/errno.ts';
import { ControlError } from '../../core/control/error.ts';
import type { LegReport } from '../../core/control/status.ts';
import {
  addLeg,
  detachDevice,
  failLeg,
  hasRoom,
  legProblem,
  readdLeg,
  removeLeg,
  whenDurable,
} from '../../core/mirror/leg-changes.ts';
import type { LegHistory } from '../../core/mirror/native-recorder.ts';
import { MAX_LEGS, type Leg } from '../../core/mirror/leg.ts';
import type { MirrorSet } from '../../core/mirror/set.ts';
import { outOfSyncBytes } from '../../core/mirror/status.ts';
import type { BlockDevice } from '../../core/block/device.ts';
import { RemoteDevice } from '../../core/remote/device.ts';
import type { Remembered } from '../../core/remote/witness.ts';
import { RemoteLeg } from '../remote/leg.ts';
import type { Assembled, OpenLeg } from './assemble.ts';
import type { Answer } from './calls.ts';
import { legInside } from './external-metadata.ts';

/** Where a leg of the set stands. */
export type LegFacts = Omit<LegReport, 'name'>;

export interface Detached {
  /** What a remote leg must hold when it is opened again; empty: nobody can say. */
  readonly remembered: readonly Remembered[];
  /** Its server has shown another content already. */
  readonly isOther: boolean;
}

export interface LegCalls {
  /** `leg`: as the user named it or its number, here and below. */
  'leg-facts': { readonly args: { readonly leg: string }; readonly value: LegFacts };
  'fail-leg': { readonly args: { readonly leg: string }; readonly value: LegFacts };
  'remove-leg': { readonly args: { readonly leg: string }; readonly value: LegFacts };
  'add-leg': {
    readonly args: {
      readonly device: OpenLeg;
      readonly writeMostly: boolean;
      readonly replaces: string | null;
      /** Who it is from now on, where legs carry metadata. */
      readonly uuid: string;
    };
    readonly value: LegFacts;
  };
  /** What a leg must show to come back, where legs carry metadata; null where they do not. */
  'leg-history': { readonly args: { readonly leg: string }; readonly value: LegHistory | null };
  /** The leg that says this of itself, wherever it is; null: the set has no such leg. */
  'leg-of-uuid': {
    readonly args: { readonly setUuid: string; readonly legUuid: string };
    readonly value: { readonly facts: LegFacts; readonly history: LegHistory } | null;
  };
  /** Its device may be closed and opened again; refused while requests are under way there. */
  'detach-leg': { readonly args: { readonly leg: string }; readonly value: Detached };
  /** `isSame` false: it may hold anything. A leg that has been moved is called as its device from now on. */
  're-add-leg': {
    readonly args: {
      readonly leg: string;
      /** Null: that of another device of the daemon, which the set has not given back. */
      readonly device: OpenLeg | null;
      readonly isSame: boolean;
      /** What it carries, where legs carry metadata: then that says whether it is the same. */
      readonly found: LegMetadata | null;
    };
    readonly value: LegFacts;
  };
}

type LegHandlers = {
  readonly [C in keyof LegCalls]: (
    parts: Assembled,
    args: LegCalls[C]['args'],
    answer: Answer<LegCalls[C]['value']>,
  ) => void;
};

export const LEG_HANDLERS: LegHandlers = {
  'leg-facts': (parts, { leg }, answer) => {
    const set = setOf(parts);
    answer.done(factsOf(set, findLeg(set, leg)));
  },

  'fail-leg': (parts, args, answer) => {
    const set = setOf(parts);
    const leg = findLeg(set, args.leg);
    if (!failLeg(set, leg, answerWith(set, leg, answer))) throw lastCopy(set, leg);
  },

  'remove-leg': (parts, args, answer) => {
    const set = setOf(parts);
    const leg = findLeg(set, args.leg);
    if (leg.isLeaving) throw new ControlError('busy', `leg ${leg.name} is being removed already`);
    if (!removeLeg(set, leg, answerWith(set, leg, answer))) throw lastCopy(set, leg);
  },

  'leg-history': (parts, { leg }, answer) => {
    const { uuid } = findLeg(setOf(parts), leg);
    answer.done(uuid === null ? null : (parts.native?.pastOf(uuid) ?? null));
  },

  'leg-of-uuid': (parts, { setUuid, legUuid }, answer) => {
    const set = setOf(parts);
    const leg = set.legs.find(({ uuid }) => uuid === legUuid);
    const history = leg === undefined ? null : (parts.native?.pastOf(legUuid) ?? null);
    const isOurs = leg !== undefined && history?.setUuid === setUuid;
    answer.done(isOurs ? { facts: factsOf(set, leg), history } : null);
  },

  'add-leg': (parts, { device, writeMostly, replaces, uuid }, answer) => {
    const set = setOf(parts);
    const old = replaces === null ? null : findLeg(set, replaces);
    const twin = set.legs.find(({ name }) => name === device.path);
    if (twin !== undefined) throw new ControlError('exists', `${set.name} has that leg already`);
    if (!hasRoom(set)) {
      throw new ControlError('bad-leg', `${set.name} has ${MAX_LEGS} legs, the most there can be`);
    }
    refuseSecond(set, old);
    const attached = attach(parts, set, device, 0);
    const ours = parts.native === null ? {} : { uuid };
    const options = { name: device.path, startSector: 0, writeMostly, replaces: old, ...ours };
    const leg = addLeg(set, { ...options, device: attached }, (errno) => tell(errno));
    const tell = answerWith(set, leg, answer);
  },

  'detach-leg': (parts, args, answer) => {
    const set = setOf(parts);
    const leg = findLeg(set, args.leg);
    refuseBusy(leg);
    // Until it is on record that the leg is out, a restart would believe what it holds.
    whenDurable(set, (errno) => {
      try {
        if (errno !== 0) throw notRecorded(set, errno);
        refuseBusy(leg);
        const detached = leg.device === null ? NOTHING : detachedOf(legInside(leg.device));
        detachDevice(leg);
        answer.done(detached);
      } catch (error) {
        if (!(error instanceof ControlError)) throw error;
        answer.refuse(error);
      }
    });
  },

  're-add-leg': (parts, { leg: name, device, isSame, found }, answer) => {
    const set = setOf(parts);
    const leg = findLeg(set, name);
    refuseBusy(leg);
    const attached = device === null ? leg.device : attach(parts, set, device, leg.startSector);
    if (attached === null) throw new ControlError('no-leg', `leg ${name} has no device`);
    const isAsItLeft = found === null ? isSame : set.strangenessOf(leg, found) === null;
    if (device !== null) leg.name = device.path;
    readdLeg(set, leg, attached, isAsItLeft, (errno) => tell(errno));
    const tell = answerWith(set, leg, answer);
  },
};

/** In the thread of its device, or in this one. */
function detachedOf(device: BlockDevice): Detached {
  const isRemote = device instanceof RemoteDevice || device instanceof RemoteLeg;
  if (!isRemote) return NOTHING;
  return device.isStale
    ? { remembered: [], isOther: true }
    : { remembered: device.remember(), isOther: false };
}

const NOTHING: Detached = { remembered: [], isOther: false };

function setOf({ mapped, mirror }: Assembled): MirrorSet {
  if (mirror !== null) return mirror;
  throw new ControlError('no-leg', `device ${mapped.name} is no running mirror`);
}

function findLeg(set: MirrorSet, wanted: string): Leg {
  const leg =
    set.legs.find(({ name }) => name === wanted) ??
    set.legs.find(({ index }) => String(index) === wanted);
  if (leg !== undefined) return leg;
  throw new ControlError('no-leg', `device ${set.name} has no leg ${wanted}`);
}

/** @throws ControlError bad-leg: the device does not fit */
function attach(
  parts: Assembled,
  set: MirrorSet,
  device: OpenLeg,
  startSector: number,
): BlockDevice {
  const attached = parts.attach(device);
  const problem = legProblem(set, attached, startSector);
  if (problem === null) return attached;
  throw new ControlError('bad-leg', `leg ${device.path} does not fit ${set.name}: ${problem}`);
}

function refuseSecond(set: MirrorSet, old: Leg | null): void {
  if (old === null) return;
  const next = set.legs.find(({ replaces }) => replaces === old.slot);
  if (next === undefined) return;
  throw new ControlError('busy', `leg ${old.name} is being replaced by ${next.name} already`);
}

function refuseBusy(leg: Leg): void {
  if (leg.isLeaving) throw new ControlError('busy', `leg ${leg.name} is being removed`);
  if (leg.isActive) throw new ControlError('busy', `leg ${leg.name} is in use: ${leg.state}`);
  if (leg.inFlight === 0) return;
  const what = `${leg.inFlight} request${leg.inFlight === 1 ? '' : 's'} of its earlier life`;
  throw new ControlError('busy', `leg ${leg.name} has ${what} under way: try again later`);
}

/** What the leg lacks is told as of the change: when that is durable, some may have been copied. */
function answerWith(set: MirrorSet, leg: Leg, answer: Answer<LegFacts>): (errno: number) => void {
  const lacking = outOfSyncBytes(set, leg);
  return (errno) => {
    if (errno === 0) answer.done({ ...factsOf(set, leg), outOfSyncBytes: lacking });
    else answer.refuse(notRecorded(set, errno));
  };
}

function factsOf(set: MirrorSet, leg: Leg): LegFacts {
  const { name, index, state } = leg;
  return { leg: name, index, state, outOfSyncBytes: outOfSyncBytes(set, leg) };
}

function notRecorded(set: MirrorSet, errno: number): ControlError {
  return new ControlError('io', `the record of ${set.name} cannot be written: ${errnoName(errno)}`);
}

function lastCopy(set: MirrorSet, leg: Leg): ControlError {
  return new ControlError(
    'would-lose-data',
    `leg ${leg.name} is the last good one of ${set.name}, or of a part of it: without it data is lost`,
  );
}
