import { Prng } from '../../core/base/prng.ts';
import { REQ_OP } from '../../core/block/op.ts';
import type { ScrubRepair, ScrubStatus } from '../../core/mirror/scrub-report.ts';
import { at } from './at.ts';
import { shownBy } from './checkers/checker.ts';
import type { Value } from './content.ts';
import { SimFailure } from './failure.ts';
import { drawOptions, type SimOptions } from './options.ts';
import { asFailure, type SimResult } from './run.ts';
import { Liars, type Damage } from './liars.ts';
import { Workload } from './workload.ts';
import { World, type Trace } from './world.ts';

/** Tags of bytes nobody has written. */
const FIRST_ROT = 900_000_000;
const WRITES_BEFORE = 20;
const WRITES_DURING = 30;
const MAX_EVENTS = 100_000;

/**
 * Legs are damaged behind the daemon's back, in some blocks on some legs, other sectors cannot be read;
 * a scrub goes over them while clients write. What it reports and what it leaves behind is judged against
 * what was damaged: positions exact, sides exact, the majority or the named leg wins, nothing is touched
 * that nobody can decide.
 */
export function runScrubStory(seed: number, trace: Trace = null): SimResult {
  const options = optionsOf(seed);
  const world = new World(options, trace);
  try {
    new Story(world, options).play();
  } catch (error) {
    return { failure: asFailure(error), events: world.step };
  }
  return { failure: null, events: world.step };
}

function optionsOf(seed: number): SimOptions {
  const drawn = drawOptions(seed);
  const prng = new Prng(seed + 2 ** 46);
  return {
    ...drawn,
    atlas: 'calm',
    membersAtFirst: drawn.latencyUs.map((_, i) => i),
    recorderFailureRate: 0,
    hotPercent: prng.pick([0, 50]),
    depth: prng.pick([1, 4, 8]),
  };
}

class Story {
  private readonly world: World;
  private readonly options: SimOptions;
  private readonly prng: Prng;
  private readonly workload: Workload;
  private readonly blockSectors: number;
  /** What each leg showed of a damaged sector just after the damage. */
  private readonly damaged: Damage = new Map();
  private readonly unreadable: { readonly leg: number; readonly sector: number }[] = [];
  /** Sectors written by a client since. */
  private readonly rewritten = new Set<number>();
  private rots = 0;

  constructor(world: World, options: SimOptions) {
    this.world = world;
    this.options = options;
    this.prng = new Prng(options.seed + 2 ** 47);
    this.workload = new Workload(options, new Prng(options.seed + 2 ** 48));
    this.blockSectors = Math.max(...options.blockSizes) / 512;
  }

  play(): void {
    const { world, prng } = this;
    world.start();
    for (let i = 0; i < WRITES_BEFORE; i += 1) world.submit(this.workload.next());
    world.submit({ op: REQ_OP.FLUSH, flags: 0, sector: 0, sectors: 0 });
    world.rest();
    if (prng.ratio(1, 2)) new Liars(world, this.workload, prng, this.damaged).play();
    for (let i = prng.between(0, 6); i > 0; i -= 1) this.damage();
    for (let i = prng.below(3); i > 0; i -= 1) this.makeUnreadable();
    const repair = this.drawRepair();
    const refusal = world.daemon.set.scrub.begin(repair, false);
    if (refusal === 'no-majority' && this.options.legs === 2) return;
    if (refusal !== null) throw new SimFailure('scrub', `refused: ${refusal}`);
    this.writeMeanwhile();
    const status = world.daemon.set.scrub.status();
    if (status?.state !== 'done')
      throw new SimFailure('scrub', `it ends as ${status?.state ?? ''}`);
    this.judgeReport(status);
    this.judgeLegs(repair);
  }

  private drawRepair(): ScrubRepair {
    const fromLeg = this.prng.below(this.options.legs);
    return this.prng.pick<ScrubRepair>(['none', 'majority', 'majority', { fromLeg }]);
  }

  /** One block on any legs but one, each with bytes of its own or the same on several. */
  private damage(): void {
    const { prng, options, world } = this;
    const block = prng.below(options.sectors / this.blockSectors);
    const sector = block * this.blockSectors;
    const wrong = prng.between(1, options.legs - 1);
    const legs = prng.ratio(1, 2) ? [0, 1, 2, 3] : [3, 2, 1, 0];
    const isSame = prng.ratio(1, 2);
    for (const leg of legs.filter((i) => i < options.legs).slice(0, wrong)) {
      if (!isSame || leg === at(legs, 0)) this.rots += 1;
      this.rot(leg, sector);
    }
    for (let s = sector; s < sector + this.blockSectors; s += 1) {
      this.damaged.set(
        s,
        world.disks.map((_, leg) => shownBy(world, leg, s)),
      );
    }
  }

  private rot(leg: number, sector: number): void {
    const { medium } = at(this.world.disks, leg);
    const first = (this.options.origin + sector) / medium.blockSectors;
    const blocks = this.blockSectors / medium.blockSectors;
    for (let block = first; block < first + blocks; block += 1) {
      medium.rot(block, new Array<Value>(medium.blockSectors).fill(FIRST_ROT + this.rots));
    }
  }

  /** A block that one leg cannot read, where no leg is damaged and no other is unreadable. */
  private makeUnreadable(): void {
    const { prng, options, world } = this;
    const sector = prng.below(options.sectors / this.blockSectors) * this.blockSectors;
    if (this.damaged.has(sector) || this.unreadable.some((each) => each.sector === sector)) return;
    const leg = prng.below(options.legs);
    const first = options.origin + sector;
    at(world.disks, leg).faults.addLatent(first, first + this.blockSectors - 1);
    this.unreadable.push({ leg, sector });
  }

  /** Clients write anywhere; they read only what nobody has damaged. */
  private writeMeanwhile(): void {
    const { world, options } = this;
    const { set } = world.daemon;
    let left = WRITES_DURING;
    for (let events = 0; world.clock.busy > 0 || set.scrub.isRunning || left > 0; events += 1) {
      if (events > MAX_EVENTS) throw new SimFailure('liveness', 'the scrub does not end');
      if (left > 0 && world.ops.size < options.depth && this.prng.ratio(1, 4)) {
        left -= 1;
        this.submitOne();
      }
      world.advance();
    }
    if (world.ops.size > 0) throw new SimFailure('liveness', 'a request never ends');
  }

  private submitOne(): void {
    const shape = this.workload.next();
    // A WRITE_ZEROES that a leg does not support writes nothing: it would leave the damage.
    const mayZero = !this.options.noZeroes.includes(true);
    const isWrite = shape.op === REQ_OP.WRITE || (mayZero && shape.op === REQ_OP.WRITE_ZEROES);
    const isHarmless = shape.op === REQ_OP.READ && !this.touchesDamage(shape.sector, shape.sectors);
    if (!isWrite && !isHarmless) return;
    if (isWrite) {
      for (let i = 0; i < shape.sectors; i += 1) this.rewritten.add(shape.sector + i);
    }
    this.world.submit(shape);
  }

  private touchesDamage(sector: number, sectors: number): boolean {
    for (let s = sector; s < sector + sectors; s += 1) {
      // A client that hits an unreadable sector has its whole region copied anew: another story.
      if (this.damaged.has(s) || this.isUnreadable(s)) return true;
    }
    return false;
  }

  private isUnreadable(sector: number): boolean {
    const block = this.blockSectors;
    return this.unreadable.some((each) => each.sector <= sector && sector < each.sector + block);
  }

  private judgeReport({ mismatches, unreadable }: ScrubStatus): void {
    for (const found of unreadable) {
      const isTrue = this.unreadable.some((u) => u.leg === found.leg && u.sector === found.sector);
      if (isTrue && found.sectors === this.blockSectors) continue;
      throw new SimFailure('scrub', `unreadable, as it says: ${JSON.stringify(found)}`);
    }
    const reported = new Set<number>();
    for (const { sector, sectors, groups } of mismatches) {
      for (let s = sector; s < sector + sectors; s += 1) {
        reported.add(s);
        this.judgeSides(s, groups);
      }
    }
    for (const sector of this.damaged.keys()) {
      const isEqual = new Set(this.blocksAt(sector)).size === 1;
      if (isEqual || reported.has(sector) || this.rewritten.has(sector)) continue;
      throw new SimFailure('scrub', `the damage in sector ${sector} is not reported`);
    }
  }

  /** Groups are exactly those who showed the same. */
  private judgeSides(sector: number, groups: readonly (readonly number[])[]): void {
    const shown = this.damaged.get(sector);
    if (shown === undefined) throw new SimFailure('scrub', `sector ${sector} was never damaged`);
    const blocks = this.blocksAt(sector);
    const values = groups.map((legs) => new Set(legs.map((leg) => at(blocks, leg))));
    const isRight =
      values.every((each) => each.size === 1) &&
      new Set(values.map((each) => [...each][0])).size === groups.length;
    const legs = groups.flat().length;
    if (isRight && legs === this.options.legs) return;
    const sides = JSON.stringify(groups);
    throw new SimFailure('scrub', `sector ${sector} shows ${shown.join(' ')}, reported ${sides}`);
  }

  /** What each leg showed of the whole block: a scrub compares and decides by blocks. */
  private blocksAt(sector: number): readonly string[] {
    const first = sector - (sector % this.blockSectors);
    const rows = Array.from({ length: this.blockSectors }, (_, i) => this.damaged.get(first + i));
    return this.world.disks.map((_, leg) => rows.map((shown) => shown?.[leg]).join());
  }

  private judgeLegs(repair: ScrubRepair): void {
    const { world } = this;
    for (let sector = 0; sector < this.options.sectors; sector += 1) {
      const now = world.disks.map((_, leg) => shownBy(world, leg, sector));
      const damage = this.damaged.get(sector);
      if (damage === undefined || this.rewritten.has(sector)) this.judgeWhole(sector, now);
      else this.judgeDecided(sector, damage, now, repair);
    }
    this.judgeUnreadable();
  }

  private judgeUnreadable(): void {
    const { world } = this;
    for (const { leg, sector } of this.unreadable) {
      const { faults } = at(world.disks, leg);
      if (!faults.isBad(this.options.origin + sector, this.blockSectors)) continue;
      throw new SimFailure('scrub', `sector ${sector} of leg ${leg} is still unreadable`);
    }
  }

  /** Nobody has damaged it, or a client has written it since: all legs hold what clients wrote. */
  private judgeWhole(sector: number, now: readonly Value[]): void {
    for (const [leg, value] of now.entries()) {
      if (value < FIRST_ROT && this.world.model.allows(sector, value)) continue;
      const allowed = this.world.model.describe(sector);
      throw new SimFailure('scrub', `leg ${leg} shows ${value} in sector ${sector}, of ${allowed}`);
    }
  }

  private judgeDecided(
    sector: number,
    before: readonly Value[],
    now: readonly Value[],
    repair: ScrubRepair,
  ): void {
    const truth = decide(this.blocksAt(sector), repair);
    for (const [leg, value] of now.entries()) {
      if (value === at(before, truth ?? leg)) continue;
      const words = `shows ${value} in sector ${sector} after ${before.join(' ')}`;
      throw new SimFailure('scrub', `leg ${leg} ${words}, repair ${JSON.stringify(repair)}`);
    }
  }
}

/** The specification: the leg of more than half, or the named one; null: everything stays as it is. */
function decide(shown: readonly string[], repair: ScrubRepair): number | null {
  if (repair === 'none') return null;
  if (repair !== 'majority') return repair.fromLeg;
  const most = shown.findIndex((v) => shown.filter((w) => w === v).length * 2 > shown.length);
  return most < 0 ? null : most;
}
