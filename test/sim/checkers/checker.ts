import { STANDING } from '../../../core/mirror/leg.ts';
import { at, wordAt } from '../at.ts';
import type { Value } from '../content.ts';
import { diskOf } from '../disk-of.ts';
import { SimFailure } from '../failure.ts';
import type { ClientOp } from '../op.ts';
import type { World } from '../world.ts';

/** One invariant as code: what it says, and when it looks. */
export interface Checker {
  /** As in the project's mirror facts, section 4.3. */
  readonly name: string;
  readonly sentence: string;
  /** A request of a client has ended; the model knows of it already. */
  opEnded?(world: World, op: ClientOp): void;
  /** A daemon is about to start on what is there. */
  started?(world: World): void;
  /** Nothing is under way but timers. */
  idle?(world: World): void;
  /** Faults have stopped, and all has been healed that can be. */
  converged?(world: World): void;
}

export function fail(checker: Checker, message: string): never {
  throw new SimFailure(checker.name, message);
}

/** Legs that a restart would believe, by what is durable now or may be in a moment. */
export function believedLegs(world: World): readonly number[] {
  return world.believed();
}

/** What leg i shows for a sector of the device. */
export function shownBy(world: World, leg: number, sector: number): Value {
  return wordAt(at(world.disks, leg).medium.visible, world.options.origin + sector);
}

/** No write of a client is under way there. */
export function isQuiet(world: World, sector: number): boolean {
  return world.writing[sector] === 0;
}

/**
 * Legs that hold the truth of the sector's region, by their bits; none where it is in doubt. Asked
 * for every sector of every request: so one list for all, good until the next call.
 */
export function goodLegs(world: World, sector: number): readonly number[] {
  const { set } = world.daemon;
  const region = set.regionOf(sector);
  GOOD.length = 0;
  if (set.doubt.test(region)) return GOOD;
  for (const leg of set.legs) {
    const disk = diskOf(leg.name);
    if (leg.canRead(region, region) && !hasLost(world, disk)) GOOD.push(disk);
  }
  return GOOD;
}

const GOOD: number[] = [];

/** What the server of this leg shows is another content: nothing is asked of it until that is noticed. */
export function isDisplaced(world: World, disk: number): boolean {
  return world.sites[disk]?.isDisplaced === true;
}

/** Its server has lost what it held, which the mirror cannot know yet. */
export function hasLost(world: World, disk: number): boolean {
  return world.sites[disk]?.mayLack === true;
}

export function members(world: World): readonly number[] {
  const disks: number[] = [];
  for (const { standing, name } of world.daemon.set.legs) {
    if (standing === STANDING.MEMBER) disks.push(diskOf(name));
  }
  return disks;
}
