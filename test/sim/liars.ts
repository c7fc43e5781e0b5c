// Legs that answer writes as done and have lost them, or have put them somewhere else.
import type { Prng } from '../../core/base/prng.ts';
import { REQ_OP } from '../../core/block/op.ts';
import { at } from './at.ts';
import { shownBy } from './checkers/checker.ts';
import type { Value } from './content.ts';
import { SimFailure } from './failure.ts';
import type { ClientOp } from './op.ts';
import type { Workload } from './workload.ts';
import type { World } from './world.ts';

/** By sector: what each leg shows where they differ. */
export type Damage = Map<number, readonly Value[]>;

const WRITES = 20;
const READS = 6;

/**
 * A mirror without sums cannot see such a lie when it is told, nor when the leg is read. What can be
 * demanded: legs that did not lie stay equal and right; a read returns what some leg shows, and is
 * right wherever no leg has lied; and a scrub finds every sector, which is what the story goes on with.
 */
export class Liars {
  private readonly world: World;
  private readonly workload: Workload;
  private readonly prng: Prng;
  private readonly damaged: Damage;
  private readonly legs: readonly number[];

  constructor(world: World, workload: Workload, prng: Prng, damaged: Damage) {
    this.world = world;
    this.workload = workload;
    this.prng = prng;
    this.damaged = damaged;
    const honest = prng.below(world.disks.length);
    const liars = world.disks.map((_, i) => i !== honest && prng.ratio(1, 2));
    this.legs = liars.flatMap((isLiar, i) => (isLiar ? [i] : []));
  }

  play(): void {
    const { world } = this;
    world.isLenient = true;
    this.writeThroughLies();
    this.note();
    this.readAround();
    world.isLenient = false;
  }

  private writeThroughLies(): void {
    const { world, prng } = this;
    for (const leg of this.legs) {
      const { lies } = at(world.disks, leg).faults;
      for (let i = prng.between(1, 4); i > 0; i -= 1) {
        lies.push(prng.pick(['lost', 'misdirected'] as const));
      }
    }
    for (let left = WRITES; left > 0;) {
      if (world.ops.size >= world.options.depth || prng.ratio(1, 3)) {
        world.advance();
        continue;
      }
      const shape = this.workload.next();
      left -= 1;
      // A zeroing that one leg does not support is put in doubt and copied: another story.
      if (shape.op === REQ_OP.WRITE || shape.op === REQ_OP.FLUSH) world.submit(shape);
    }
    world.rest();
    for (const leg of this.legs) at(world.disks, leg).faults.lies.length = 0;
  }

  private note(): void {
    const { world } = this;
    const block = Math.max(...world.options.blockSizes) / 512;
    for (let sector = 0; sector < world.options.sectors; sector += 1) {
      const shown = world.disks.map((_, leg) => shownBy(world, leg, sector));
      const honest = shown.filter((_, leg) => !this.legs.includes(leg));
      const isRight = honest.every((v) => v === honest[0] && world.model.allows(sector, v));
      if (!isRight)
        throw new SimFailure('I13', `honest legs show ${honest.join(' ')} in ${sector}`);
      if (shown.every((value) => value === shown[0])) continue;
      const first = sector - (sector % block);
      for (let s = first; s < first + block; s += 1) {
        this.damaged.set(
          s,
          world.disks.map((_, leg) => shownBy(world, leg, s)),
        );
      }
    }
  }

  private readAround(): void {
    const { world } = this;
    const { sectors } = world.options;
    world.onEnded = (op): void => this.judge(op);
    for (let i = 0; i < READS; i += 1) {
      world.submit({ op: REQ_OP.READ, flags: 0, sector: 0, sectors });
      world.rest();
    }
    world.onEnded = null;
  }

  private judge(op: ClientOp): void {
    op.eachRead((sector, value) => {
      const shown = this.damaged.get(sector);
      const isRight = op.verdicts[sector - op.sector] === 'allowed';
      if (shown === undefined ? isRight : shown.includes(value)) return;
      const words = `sector ${sector} read ${value}, legs show ${shown?.join(' ') ?? 'the truth'}`;
      throw new SimFailure('I1', words);
    });
  }
}
