import type { Prng } from '../../core/base/prng.ts';
import {
  addLeg,
  detachDevice,
  failLeg,
  hasRoom,
  legProblem,
  readdLeg,
  removeLeg,
} from '../../core/mirror/leg-changes.ts';
import type { Leg } from '../../core/mirror/leg.ts';
import type { MirrorRecord } from '../../core/mirror/record.ts';
import type { FaultAtlas } from './atlas.ts';
import { at } from './at.ts';
import { diskOf } from './disk-of.ts';
import type { SimDisk } from './disk.ts';
import { SimFailure } from './failure.ts';
import type { RecordedLeg } from './first-record.ts';
import type { World } from './world.ts';

/** What a disk holds once somebody else has had it. */
const STRANGER = 500;

/**
 * An operator at work on the legs of a set that serves: adds spares, fails, removes, adds again,
 * replaces. Each answer is held against what a restart would find, and a disk that was given back
 * is scribbled on at once: whoever still believes or writes it shows.
 */
export class LegOperator {
  private readonly world: World;
  private readonly atlas: FaultAtlas;
  private readonly prng: Prng;
  /** Names of legs that the operator has asked to be gone. */
  private readonly removed = new Set<string>();
  private readonly adding = new Set<string>();
  private readds = 0;
  /** Legs that have been in sync on record while the leg they replace was still there. */
  private readonly arrived = new Set<string>();

  constructor(world: World, atlas: FaultAtlas, prng: Prng) {
    this.world = world;
    this.atlas = atlas;
    this.prng = prng;
    world.onEvent = ({ kind, leg }) => {
      if (kind === 'leg-removed' && leg !== null) this.giveBack(leg);
    };
    world.onDurable = (before, after) => this.watchReplaced(before, after);
  }

  act(): void {
    const { prng } = this;
    const act = prng.pick(['add', 'fail', 'remove', 're-add', 're-add', 'replace'] as const);
    switch (act) {
      case 'add':
        this.add(null);
        return;
      case 'fail':
        this.fail();
        return;
      case 'remove':
        this.remove();
        return;
      case 're-add':
        this.readd();
        return;
      case 'replace': {
        const { legs } = this.world.daemon.set;
        const old = this.pickLeg((leg) => legs.every(({ replaces }) => replaces !== leg.slot));
        if (old !== null) this.add(old);
      }
    }
  }

  private add(replaces: Leg | null): void {
    const { world, prng } = this;
    const { set, loop } = world.daemon;
    const { disks } = world;
    const spare = disks.find((disk) => !disk.isOpen && !disk.isCut && this.isFree(disk));
    if (spare === undefined || !hasRoom(set)) return;
    if (legProblem(set, spare, world.options.origin) !== null) return;
    spare.open(loop, false);
    const name = spare.name;
    // Until it is answered it may be taken back.
    this.adding.add(name);
    world.attached.add(name);
    this.removed.delete(name);
    this.arrived.delete(name);
    const writeMostly = prng.ratio(1, 3);
    world.say(() => `add ${name}${replaces === null ? '' : ` for ${replaces.name}`}`);
    const options = {
      name,
      startSector: world.options.origin,
      device: spare,
      writeMostly,
      replaces,
      ...(world.native === null ? {} : { uuid: world.native.drawUuid() }),
    };
    addLeg(set, options, (errno) => {
      world.say(() => `add ${name}: errno ${errno}`);
      if (errno !== 0) return;
      const isLeaving = set.leaving.some((leg) => leg.name === name);
      this.adding.delete(name);
      if (this.recordOf(name) === undefined && !isLeaving && !this.removed.has(name)) {
        this.refute(`${name} was added, not on record`);
      }
    });
  }

  private fail(): void {
    const leg = this.pickLeg(() => true);
    if (leg === null || leg.isLeaving) return;
    const { world } = this;
    world.say(() => `fail ${leg.name}`);
    const isDone = failLeg(world.daemon.set, leg, (errno) => {
      if (errno !== 0 || leg.isActive) return;
      const state = this.recordOf(leg.name)?.state;
      if (state === 'in-sync') this.refute(`${leg.name} was failed, a restart would believe it`);
    });
    if (!isDone) world.say(() => `fail ${leg.name}: refused`);
  }

  private remove(): void {
    const leg = this.pickLeg((one) => !one.isLeaving);
    if (leg === null) return;
    const { world } = this;
    world.say(() => `remove ${leg.name}`);
    this.removed.add(leg.name);
    const isDone = removeLeg(world.daemon.set, leg, (errno) => {
      world.say(() => `remove ${leg.name}: errno ${errno}`);
      if (errno !== 0 || this.recordOf(leg.name) === undefined) return;
      this.refute(`${leg.name} was removed, a restart would find it`);
    });
    if (!isDone) world.say(() => `remove ${leg.name}: refused`);
  }

  /** The daemon's own return of a leg whose device answers. */
  bringBack(): void {
    this.readd();
  }

  private readd(): void {
    // A remote leg is more than its disk: NetworkTrouble opens it again.
    const leg = this.pickLeg((one) => this.mayBeReopened(one) && !this.isRemote(one));
    if (leg === null) return;
    const { world, prng } = this;
    const disk = this.diskOf(leg);
    // Too short to be one: the daemon says so.
    if (disk.isCut || legProblem(world.daemon.set, disk, leg.startSector) !== null) return;
    detachDevice(leg);
    if (disk.isOpen) disk.close();
    let isSame = !prng.ratio(1, 8);
    if (!isSame) disk.overwrite(STRANGER, false);
    disk.open(world.daemon.loop, false);
    if (world.native !== null) {
      // Nobody tells us: what it carries does.
      if (isSame && prng.ratio(1, 8)) world.native.rollBack(diskOf(leg.name), prng);
      const why = world.daemon.set.strangenessOf(leg, world.native.metadata(diskOf(leg.name)));
      if (why === null && !isSame)
        this.refute(`${leg.name} was overwritten, and passes for the same`);
      if (why !== null) world.say(() => `${leg.name} may hold anything: ${why}`);
      isSame = why === null;
    }
    world.present = world.present.map((is, i) => is || i === diskOf(leg.name));
    world.say(() => `re-add ${leg.name}, lacks ${leg.outOfSync.count}, same ${String(isSame)}`);
    world.attached.add(leg.name);
    this.readds += 1;
    const number = this.readds;
    readdLeg(world.daemon.set, leg, disk, isSame, (errno) => {
      if (errno !== 0 || !leg.isActive || number !== this.readds) return;
      const state = this.recordOf(leg.name)?.state;
      if (state === 'failed') this.refute(`${leg.name} was added again, not on record`);
    });
  }

  /**
   * As the daemon does: idle, and it is on record that it is out. Until then a restart would believe
   * it, and what a failed flush has lost shows when it is opened again.
   */
  private mayBeReopened(leg: Leg): boolean {
    const isOut = !leg.isActive && !leg.isLeaving && leg.inFlight === 0;
    return isOut && this.recordOf(leg.name)?.state !== 'in-sync';
  }

  /** A removal is done: the disk is somebody else's. */
  private giveBack(name: string): void {
    this.world.say(() => `${name} is given back`);
    if (this.recordOf(name) !== undefined) this.refute(`${name} was given back, but is on record`);
    const disk = at(this.world.disks, diskOf(name));
    if (disk.isOpen) disk.close();
    disk.overwrite(STRANGER + diskOf(name), true);
    // A leg that was not there could not be wiped, nor one that does not take what is written there.
    const isFaulty = this.world.options.metaFaultEvery > 0 && disk.struckAt >= 0;
    const wasThere = this.world.attached.has(name);
    if (wasThere && !isFaulty && this.world.native?.metadata(diskOf(name)).kind === 'superblock') {
      this.refute(`${name} was given back, and calls itself a leg`);
    }
  }

  /** A leg that is replaced leaves when the new one is in sync for certain, not before. */
  private watchReplaced(before: MirrorRecord, after: MirrorRecord): void {
    for (const { path, state, replaces } of after.legs) {
      if (replaces !== null && state === 'in-sync') this.arrived.add(path);
    }
    for (const old of before.legs) {
      const isGone = !after.legs.some(({ path }) => path === old.path);
      if (!isGone || this.removed.has(old.path) || this.adding.has(old.path)) continue;
      const next = before.legs.find(({ replaces }) => replaces === old.slot);
      if (next === undefined) continue;
      const wasInSync = next.state === 'in-sync' || this.arrived.has(next.path);
      if (!wasInSync) this.refute(`${old.path} left before ${next.path} was in sync`);
    }
  }

  private refute(message: string): never {
    throw new SimFailure('legs', message);
  }

  private recordOf(name: string): RecordedLeg | undefined {
    return this.world.onRecord().find(({ path }) => path === name);
  }

  /** Neither a leg nor on its way out, by what is and by what a restart would find. */
  private isFree(disk: SimDisk): boolean {
    const { set } = this.world.daemon;
    const isLeg = [...set.legs, ...set.leaving].some(({ name }) => name === disk.name);
    return !isLeg && this.recordOf(disk.name) === undefined;
  }

  private pickLeg(isFit: (leg: Leg) => boolean): Leg | null {
    const { set } = this.world.daemon;
    const fit = set.legs.filter((leg) => this.atlas.maySpare(diskOf(leg.name)) && isFit(leg));
    return fit.length === 0 ? null : this.prng.pick(fit);
  }

  private isRemote(leg: Leg): boolean {
    return (this.world.sites[diskOf(leg.name)] ?? null) !== null;
  }

  private diskOf(leg: Leg): SimDisk {
    return at(this.world.disks, diskOf(leg.name));
  }
}
