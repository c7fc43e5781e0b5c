import { assert } from '../base/assert.ts';
import { errnoName } from '../base/errno.ts';
import { bytesOfSectors } from '../base/units.ts';
import type { BlockDevice } from '../block/device.ts';
import { eraseNative } from './native-format.ts';
import { Leg, MAX_LEGS, STANDING } from './leg.ts';
import type { MirrorRecord } from './record.ts';
import type { MirrorSet } from './set.ts';

/**
 * Legs that come and go while the set serves. Each change is made in memory at once, and `done` is
 * called from the loop when the record says so: until then no write is acknowledged (D2), and while
 * a member is leaving no read is answered. With an errno the record could not be written.
 *
 *   add      -> JOINING, lacks everything -> copied -> MEMBER
 *   re-add   -> JOINING, lacks what `outOfSync` says -> copied -> MEMBER
 *   remove   -> FAILED, durable -> out of the list, durable -> idle: `leg-removed`, close its device
 *   replace  -> NEW is added -> MEMBER, durable -> OLD is removed
 */
export type LegChangeDone = (errno: number) => void;

export interface NewLeg {
  readonly name: string;
  readonly startSector: number;
  readonly device: BlockDevice;
  readonly writeMostly: boolean;
  /** Leaves when the new one is in sync. */
  readonly replaces: Leg | null;
  /** With a log on the legs: drawn at random by the caller, as core has no randomness. */
  readonly uuid?: string;
}

/** Why a device cannot be a leg of the set, as a sentence; null when it can. */
export function legProblem(
  set: MirrorSet,
  device: BlockDevice,
  startSector: number,
): string | null {
  const { limits, sectors } = device;
  const wanted = startSector + set.sectors;
  if (limits.readOnly) return 'it is read-only';
  if (sectors < wanted) {
    return `it has ${bytesOfSectors(sectors)} bytes, too small: ${bytesOfSectors(wanted)} are wanted`;
  }
  const block = set.limits.logicalBlockSize;
  if (limits.logicalBlockSize <= block) {
    return set.regionLog.store?.legProblem?.(device, set.sectors) ?? null;
  }
  return `it has blocks of ${limits.logicalBlockSize} bytes, the device serves blocks of ${block}`;
}

/** A new leg. Its content is overwritten; the caller has checked that it may be. */
export function addLeg(set: MirrorSet, options: NewLeg, done: LegChangeDone): Leg {
  assert(hasRoom(set), 'a mirror of more than 64 legs');
  assert(legProblem(set, options.device, options.startSector) === null, 'a device that is no leg');
  const { name, startSector, device, writeMostly, replaces } = options;
  const index = set.legs.length;
  const slot = freeSlot(set);
  const { JOINING } = STANDING;
  const leg = new Leg(index, name, startSector, device, JOINING, set.regions, slot, writeMostly);
  leg.replaces = replaces?.slot ?? -1;
  leg.uuid = options.uuid ?? null;
  leg.timeoutMs = set.timeoutOf(name);
  leg.lacksAll();
  set.legs.push(leg);
  set.legsChanged();
  set.emit('leg-added', leg, `leg ${name} added`);
  set.recovery.kick();
  whenDurable(set, (errno) => {
    if (errno === 0) {
      done(errno);
      return;
    }
    // Refused means unchanged; but the record may name the leg all the same, until the next one.
    const failed = (): void => {
      done(errno);
    };
    if (leg.isLeaving || !removeLeg(set, leg, failed)) failed();
  });
  return leg;
}

/** True: one more leg may be added. */
export function hasRoom(set: MirrorSet): boolean {
  return set.legs.length + set.leaving.length < MAX_LEGS;
}

/**
 * An operator takes a leg out, and nobody but an operator takes it in again. False: without it data
 * would be lost; nothing has changed then.
 */
export function failLeg(set: MirrorSet, leg: Leg, done: LegChangeDone): boolean {
  if (leg.isActive) {
    if (!set.failLegByHand(leg)) return false;
  } else if (!leg.failedByHand) {
    leg.failedByHand = true;
    leg.reason = `${leg.reason ?? leg.standing}; kept out by hand`;
    set.legsChanged();
  }
  whenDurable(set, done);
  return true;
}

/**
 * A leg that is out gets what it lacks. `device`: as it is now open; `isSame` false: it may hold
 * anything, so it lacks everything.
 */
export function readdLeg(
  set: MirrorSet,
  leg: Leg,
  device: BlockDevice,
  isSame: boolean,
  done: LegChangeDone,
): void {
  assert(!leg.isActive && !leg.isLeaving, 'only a leg that is out is added again');
  assert(leg.inFlight === 0, 'a leg with requests of its earlier life was added again');
  assert(legProblem(set, device, leg.startSector) === null, 'a device that is no leg');
  leg.device = device;
  leg.standing = STANDING.JOINING;
  leg.joins += 1;
  leg.failedByHand = false;
  leg.isEmptied = false;
  leg.reason = null;
  leg.recentReadErrors = 0;
  if (!isSame) leg.lacksAll();
  // A copy that began before must not vouch for what the leg got then.
  set.recovery.spoilAll();
  set.legsChanged();
  set.emit('leg-re-added', leg, `leg ${leg.name} added again`);
  set.recovery.kick();
  whenDurable(set, (errno) => {
    if (errno !== 0 && leg.standing === STANDING.JOINING) {
      set.expel(leg, `its re-add could not be recorded: ${errnoName(errno)}`);
    }
    done(errno);
  });
}

/** The event says that the device may be closed: nothing is under way there, nothing will be sent. */
function letGo(set: MirrorSet, leg: Leg): void {
  set.departing.push(leg);
  leg.whenIdle(() => {
    wipe(set, leg, () => {
      // The wiping itself may have been given up on.
      leg.whenIdle(() => {
        set.departing.splice(set.departing.indexOf(leg), 1);
        detachDevice(leg);
        set.emit('leg-removed', leg, `leg ${leg.name} removed`);
      });
    });
  });
}

/** What is given back must not call itself a leg: its own superblock still says that it is in sync. */
function wipe(set: MirrorSet, leg: Leg, done: () => void): void {
  const { device } = leg;
  if (leg.uuid === null || device === null) {
    done();
    return;
  }
  leg.enter();
  eraseNative(set.client, [device], (errno) => {
    leg.leave();
    if (errno !== 0) {
      const facts = { device: set.name, leg: leg.name, errno: errnoName(errno) };
      set.log.warn(facts, 'a removed leg keeps its metadata: it cannot be written');
    }
    done();
  });
}

/** The device of a leg that is out, for the caller to close. Nothing is sent to it any more. */
export function detachDevice(leg: Leg): void {
  assert(!leg.isActive && leg.inFlight === 0, 'the device of a leg in use was taken away');
  leg.device = null;
}

/**
 * Takes a leg out of the set, durably. Its device is the set's until the event `leg-removed`, which
 * may come long after `done` when the leg does not answer. False: without it data would be lost;
 * nothing has changed then.
 */
export function removeLeg(set: MirrorSet, leg: Leg, done: LegChangeDone): boolean {
  assert(!leg.isLeaving, 'a leg was removed twice');
  if (leg.isActive && !set.failLegByHand(leg, 'being removed')) return false;
  leg.isLeaving = true;
  whenDurable(set, (errno) => {
    if (errno === 0) {
      dropDurably(set, leg, done);
      return;
    }
    leg.isLeaving = false;
    done(errno);
  });
  return true;
}

/**
 * `record` is durable: legs that it calls in sync stand for those they replace. It was recorded
 * first that the new one is in sync, so a crash here leaves both, and the next record ends it.
 */
export function endReplacements(set: MirrorSet, record: MirrorRecord): void {
  for (const leg of set.legs) {
    if (leg.replaces < 0 || leg.standing !== STANDING.MEMBER) continue;
    const isDurable = record.legs.some(
      ({ slot, state }) => slot === leg.slot && state === 'in-sync',
    );
    const old = set.replacedBy(leg);
    if (!isDurable || old === null || old.isLeaving) continue;
    // When it is the last copy of something it stays, and the next record asks again.
    removeLeg(set, old, (errno) => {
      if (errno === 0) return;
      set.log.warn({ device: set.name, leg: old.name, errno: errnoName(errno) }, 'leg not removed');
    });
    return;
  }
}

/** `done` from the loop, when all that has changed so far is durable, or with the errno. */
export function whenDurable(set: MirrorSet, done: LegChangeDone): void {
  if (set.journal.isBehind) {
    set.journal.wait({ needVersion: 0, recorded: done });
    return;
  }
  const complete = (): void => {
    done(0);
  };
  set.loop.defer({ complete });
}

function dropDurably(set: MirrorSet, leg: Leg, done: LegChangeDone): void {
  const index = set.legs.indexOf(leg);
  assert(index >= 0, 'a leg of another set was removed');
  set.legs.splice(index, 1);
  set.leaving.push(leg);
  set.legsChanged();
  set.recovery.kick();
  whenDurable(set, (errno) => {
    set.leaving.splice(set.leaving.indexOf(leg), 1);
    if (errno === 0) {
      for (const other of set.legs) if (other.replaces === leg.slot) other.replaces = -1;
      letGo(set, leg);
    } else {
      // Nobody has told it what it missed meanwhile.
      leg.isLeaving = false;
      leg.lacksAll();
      set.legs.splice(index, 0, leg);
      set.legsChanged();
    }
    done(errno);
  });
}

function freeSlot(set: MirrorSet): number {
  let slot = 0;
  const isTaken = (leg: Leg): boolean => leg.slot === slot;
  while (set.legs.some(isTaken) || set.leaving.some(isTaken)) slot += 1;
  return slot;
}
