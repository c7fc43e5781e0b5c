import type { Prng } from '../../core/base/prng.ts';
import { REQ_FLAG, REQ_OP } from '../../core/block/op.ts';
import type { FaultAtlas } from './atlas.ts';
import { at } from './at.ts';
import { SimFailure } from './failure.ts';
import type { World } from './world.ts';

/**
 * Devices of legs that become shorter while they serve, and as long as before later on: what was behind the cut
 * is not there any more. As long as a restart would believe the leg it stays cut, since nobody could know: the
 * first request behind the cut is answered ENXIO, and puts the leg out for good, lacking everything.
 */
export class Cuts {
  private readonly world: World;
  private readonly atlas: FaultAtlas;
  private readonly prng: Prng;

  constructor(world: World, atlas: FaultAtlas, prng: Prng) {
    this.world = world;
    this.atlas = atlas;
    this.prng = prng;
  }

  isDue(oneIn: number): boolean {
    return oneIn > 0 && this.prng.ratio(1, oneIn);
  }

  act(): void {
    const { world, prng } = this;
    const leg = prng.below(world.disks.length);
    if (!this.atlas.maySpare(leg)) return;
    const disk = at(world.disks, leg);
    if (disk.isCut) {
      this.grow(leg);
      return;
    }
    // One that is out is nobody's to watch: what it holds when it is back is not the daemon's to know.
    if (!world.believed().includes(leg) || !disk.isOpen) return;
    const end = world.options.origin + prng.below(world.options.sectors);
    disk.faults.end = end;
    world.say(() => `leg ${leg} is cut at ${end}`);
  }

  /** Faults have stopped: what is cut is noticed by a write that goes to all of them. */
  end(): void {
    const { world } = this;
    if (!world.disks.some(({ isCut }) => isCut)) return;
    world.rest();
    const sectors = world.daemon.set.blockSectors;
    const sector = world.options.sectors - sectors;
    world.submit({ op: REQ_OP.WRITE, flags: REQ_FLAG.NONE, sector, sectors });
    world.rest();
    const short = world.disks.findIndex(
      ({ isCut }, leg) => isCut && world.believed().includes(leg),
    );
    if (short >= 0) throw new SimFailure('legs', `leg ${short} is too short, and called in sync`);
    for (const [leg, { isCut }] of world.disks.entries()) if (isCut) this.grow(leg);
  }

  private grow(leg: number): void {
    const { world } = this;
    const disk = at(world.disks, leg);
    if (world.believed().includes(leg) || !disk.faults.hasToldEnd || disk.inFlight > 0) return;
    world.say(() => `leg ${leg} is as long as before`);
    disk.grow();
  }
}
