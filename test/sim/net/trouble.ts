import type { Prng } from '../../../core/base/prng.ts';
import { detachDevice, legProblem, readdLeg } from '../../../core/mirror/leg-changes.ts';
import type { FaultAtlas } from '../atlas.ts';
import { at } from '../at.ts';
import type { World } from '../world.ts';

/** Disturbs networks and servers of remote legs, and opens again those that are out. */
export class NetworkTrouble {
  private readonly world: World;
  private readonly atlas: FaultAtlas;
  private readonly prng: Prng;

  constructor(world: World, atlas: FaultAtlas, prng: Prng) {
    this.world = world;
    this.atlas = atlas;
    this.prng = prng;
  }

  act(): void {
    const { world, atlas, prng } = this;
    const places = world.sites.flatMap((site, i) =>
      site !== null && atlas.maySpare(i) ? [i] : [],
    );
    if (places.length === 0) return;
    const leg = prng.pick(places);
    if (!world.daemon.isSuspended && prng.ratio(1, 2) && this.reopen(leg)) return;
    const disk = at(world.disks, leg);
    const site = world.sites[leg];
    // With no copy left to compare it with, what a server has lost is lost.
    const mayLose = world.options.atlas === 'anchor';
    const what = site?.disturb(prng, mayLose) ?? 'nothing';
    if (what !== 'nothing') disk.struckAt = world.step;
    world.say(() => `net: ${disk.name} ${what}`);
  }

  /** As the daemon does by itself: out, durably, nothing under way, its server there, all fenced. */
  private reopen(disk: number): boolean {
    const { world } = this;
    const { set, loop } = world.daemon;
    const site = world.sites[disk] ?? null;
    const leg = set.legs.find(({ name }) => name === at(world.disks, disk).name);
    if (site === null || leg === undefined || leg.isActive || leg.isLeaving) return false;
    const isOut = world.onRecord().some((l) => l.path === leg.name && l.state !== 'in-sync');
    const isIdle = leg.inFlight === 0 && (site.device?.inFlight ?? 0) === 0;
    if (!isOut || !isIdle || !site.mayOpen) return false;
    // Away at the start, it may have larger blocks than what is served since.
    if (legProblem(set, at(world.disks, disk), leg.startSector) !== null) return false;
    world.say(() => `net: ${leg.name} is opened again, lacks ${leg.outOfSync.count}`);
    const isSame = site.remembered.length > 0;
    if (leg.device !== null) detachDevice(leg);
    world.present = world.present.map((is, i) => is || i === disk);
    world.attached.add(leg.name);
    readdLeg(set, leg, site.open(loop), isSame, () => undefined);
    return true;
  }
}
