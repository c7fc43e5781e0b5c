import { Prng } from '../../core/base/prng.ts';
import { bytesOfSectors } from '../../core/base/units.ts';
import { REQ_OP } from '../../core/block/op.ts';
import { at } from './at.ts';
import { FaultAtlas } from './atlas.ts';
import { CHECKERS } from './checkers/all.ts';
import { Cuts } from './cuts.ts';
import { diskOf } from './disk-of.ts';
import { SimFailure } from './failure.ts';
import { LegOperator } from './leg-operator.ts';
import { NetworkTrouble } from './net/trouble.ts';
import { MetaFaults } from './meta-faults.ts';
import type { NativeLegs } from './native.ts';
import type { SimOptions } from './options.ts';
import { EFFECT_NAMES, restore, type Effect, type Script } from './script.ts';
import { Workload } from './workload.ts';
import { World, type Trace } from './world.ts';

/** All of I9's patience: faults have stopped, so by then everything is healed. */
const HEAL_MS = 120_000;
const HOT_WRITES = 80;
const MAX_HOT_WRITES = 5000;
/** So often as long as it takes to write every leg once at the lowest pace. */
const HOT_PATIENCE = 4;

/** How a seed went. `failure` is null when all is well. */
export interface SimResult {
  readonly failure: SimFailure | null;
  readonly events: number;
}

/** Plays one seed from the first request to a healed, cleanly stopped set. */
export function runSeed(options: SimOptions, trace: Trace = null): SimResult {
  return play(options, trace, (story) => story.run());
}

/** The same; `script` gets all that was done. */
export function recordSeed(options: SimOptions, script: Script): SimResult {
  return play(options, null, (story) => story.record(script));
}

/** Plays what was recorded, or what somebody has left of it. */
export function replayScript(options: SimOptions, script: Script, trace: Trace = null): SimResult {
  return play(options, trace, (story) => story.replay(script));
}

function play(options: SimOptions, trace: Trace, run: (story: Play) => void): SimResult {
  const world = new World(options, trace);
  try {
    run(new Play(world, options));
  } catch (error) {
    return { failure: asFailure(error), events: world.step };
  }
  return { failure: null, events: world.step };
}

/** A broken assertion of the core is a find too. */
export function asFailure(error: unknown): SimFailure {
  if (error instanceof SimFailure) return error;
  if (!(error instanceof Error)) return new SimFailure('exception', String(error));
  const failure = new SimFailure('exception', error.message);
  if (error.stack !== undefined) failure.stack = error.stack;
  return failure;
}

function checkScrub({ daemon }: World): void {
  const status = daemon.set.scrub.status();
  if (status === null) return;
  const [found] = status.mismatches;
  if (found !== undefined) {
    throw new SimFailure('scrub', `a mismatch nobody made: ${JSON.stringify(found)}`);
  }
}

class Play {
  private readonly world: World;
  private readonly options: SimOptions;
  private readonly prng: Prng;
  private readonly workload: Workload;
  private readonly atlas: FaultAtlas;
  private readonly suspends: Prng;
  private readonly stalls: Prng;
  private readonly ghosts: Prng;
  private readonly wires: Prng;
  private readonly days: Prng;
  private readonly cuts: Cuts;
  private readonly legs: LegOperator;
  private readonly meta: MetaFaults;
  private readonly network: NetworkTrouble;
  /** All that draw for what an action does. */
  private readonly generators: readonly Prng[];
  private readonly effects: Readonly<Record<Effect, () => void>> = {
    fault: () => this.plant(),
    crash: () => this.crash(),
    operate: () => this.operate(),
    legs: () => this.legs.act(),
    rest: () => this.world.rest(),
    scrub: () => this.scrub(),
    suspend: () => this.suspend(),
    network: () => this.network.act(),
    stall: () => this.stall(),
    wire: () => this.wire(),
    cut: () => this.cuts.act(),
    call: () => this.world.submit(this.workload.next()),
  };
  private script: Script | null = null;
  private actions = 0;

  constructor(world: World, options: SimOptions) {
    this.world = world;
    this.options = options;
    this.prng = new Prng(options.seed + 2 ** 42);
    const shapes = new Prng(options.seed + 2 ** 43);
    const faults = new Prng(options.seed + 2 ** 44);
    const changes = new Prng(options.seed + 2 ** 46);
    this.workload = new Workload(options, shapes);
    this.atlas = new FaultAtlas(options, world.disks, faults);
    this.suspends = new Prng(options.seed + 2 ** 47);
    this.stalls = new Prng(options.seed + 2 ** 50);
    this.ghosts = new Prng(options.seed + 2 ** 51);
    this.wires = new Prng(options.seed + 2 ** 52 + 2 ** 23);
    this.days = new Prng(options.seed + 2 ** 52 + 2 ** 21);
    this.legs = new LegOperator(world, this.atlas, changes);
    const troubles = new Prng(options.seed + 2 ** 51 + 2 ** 20);
    this.network = new NetworkTrouble(world, this.atlas, troubles);
    const lengths = new Prng(options.seed + 2 ** 52 + 2 ** 25);
    this.cuts = new Cuts(world, this.atlas, lengths);
    this.generators = [
      this.prng,
      shapes,
      faults,
      this.suspends,
      changes,
      troubles,
      this.stalls,
      this.ghosts,
      this.wires,
      this.days,
      lengths,
    ];
    this.meta = new MetaFaults(options, world.disks);
    world.onBio = (bio) => this.meta.sent(bio, world.rawFrom);
    world.recorder.failureRate = options.recorderFailureRate;
  }

  run(): void {
    this.world.start();
    for (let i = 0; i < this.options.actions; i += 1) this.act();
    this.healAndStop();
  }

  record(script: Script): void {
    this.script = script;
    try {
      this.run();
    } finally {
      script.close();
    }
  }

  replay(script: Script): void {
    this.world.start();
    for (const { steps, events } of script.actions) {
      for (const { effect, generators } of steps) {
        restore(this.generators, generators);
        this.do(effect);
      }
      this.logsFail();
      this.pass(events);
    }
    this.healAndStop();
  }

  private act(): void {
    this.try('fault', this.is(this.options.faultEvery));
    this.logsFail();
    for (const effect of EFFECT_NAMES) {
      if (effect !== 'fault') this.try(effect, this.decides(effect));
    }
    const events = 1 + this.prng.below(8);
    this.script?.endAction(events);
    this.actions += 1;
    this.pass(events);
  }

  private try(effect: Effect, isDone: boolean): void {
    if (!isDone) return;
    this.script?.note(this.actions, effect, this.generators);
    this.do(effect);
  }

  private pass(events: number): void {
    const { world } = this;
    for (let i = 0; i < events; i += 1) {
      world.advance(world.clock.nowMs() + 1000);
      if (this.meta.isCrashDue()) this.crash();
    }
  }

  /** And legs that have ended all they were given come back, as the daemon brings them back. */
  private stall(): void {
    const { world, stalls } = this;
    const what = this.atlas.stall(stalls);
    world.say(() => `stall: ${what}`);
    // A remote leg ends by its own time-out what its server is stuck with, also as the last one.
    for (const [i, { faults }] of world.disks.entries()) {
      if (world.sites[i] !== null && faults.stallUs > 0) at(world.disks, i).struckAt = world.step;
    }
    if (stalls.ratio(1, 3)) this.passTime();
    if (stalls.ratio(1, 2)) this.legs.bringBack();
  }

  /** Minutes in which clients call nothing. */
  private passTime(): void {
    const { world } = this;
    const until = world.clock.nowMs() + 60_000 * this.stalls.between(1, 20);
    while (world.advance(until));
  }

  /** Draws; the order of the questions is part of what a seed means. */
  private decides(effect: Effect): boolean {
    const { options, world } = this;
    switch (effect) {
      case 'fault':
        return this.is(options.faultEvery);
      case 'crash':
        return this.is(options.crashEvery);
      case 'operate':
        return this.is(options.operatorEvery);
      case 'legs':
        return this.is(options.legChangeEvery);
      case 'rest':
        return this.is(options.restEvery);
      case 'scrub':
        return this.is(options.scrubEvery);
      case 'suspend':
        return options.suspendEvery > 0 && this.suspends.ratio(1, options.suspendEvery);
      case 'network':
        return this.is(options.remote?.troubleEvery ?? 0);
      case 'stall':
        return options.stallEvery > 0 && this.stalls.ratio(1, options.stallEvery);
      case 'wire': {
        const troubleEvery = options.clients?.troubleEvery ?? 0;
        return troubleEvery > 0 && this.wires.ratio(1, troubleEvery);
      }
      case 'cut':
        return this.cuts.isDue(options.cutEvery ?? 0);
      case 'call':
        return world.ops.size < options.depth && this.prng.ratio(1, 2);
    }
  }

  private wire(): void {
    const { world, wires } = this;
    const what = world.front?.act(wires);
    world.say(() => `nbd: ${what ?? 'nothing'}`);
  }

  private do(effect: Effect): void {
    this.effects[effect]();
  }

  private plant(): void {
    const { world } = this;
    const sure = world.sure();
    const planted = this.atlas.plant(world.daemon.set, world.oldestCall(), sure);
    if (planted !== 'nothing') for (const leg of sure) world.covering.add(leg);
    world.say(() => `fault: ${planted}`);
  }

  private logsFail(): void {
    const logFault = this.world.diskLog?.act() ?? null;
    if (logFault !== null) this.world.say(() => `log: ${logFault}`);
    const metaFault = this.meta.act();
    if (metaFault !== null) this.world.say(() => `metadata: ${metaFault}`);
  }

  /** `suspend`, perhaps `reload`, `resume`; clients call all the while, and the daemon may be killed. */
  private suspend(): void {
    const { world, suspends } = this;
    const { daemon } = world;
    const flush = suspends.ratio(3, 4);
    world.say(() => `SUSPEND${flush ? '' : ' --noflush'}`);
    const suspended = this.await((done) => daemon.suspend(flush, done));
    if (suspended !== 0) {
      if (suspended > 0) world.say(() => `not suspended, errno ${suspended}`);
      return;
    }
    if (!daemon.isSuspended) throw new SimFailure('endings', 'suspended and not held');
    // A set whose legs come and go is not replaced: the daemon does one change after the other.
    if (this.options.legChangeEvery === 0 && suspends.ratio(1, 2)) {
      const reloaded = this.await((done) => world.reload(done));
      if (reloaded < 0) return;
      world.say(() => `reloaded, errno ${reloaded}`);
    }
    world.say(() => 'RESUME');
    daemon.resume();
    world.heldAt = world.step;
  }

  /** What `work` is done with; -1: the daemon was killed before. */
  private await(work: (done: (errno: number) => void) => void): number {
    const { world, options, suspends, workload } = this;
    let result = -1;
    work((errno) => {
      result = errno;
    });
    const isInCircles = world.patience();
    while (result < 0) {
      if (isInCircles()) throw new SimFailure('liveness', 'a suspend never ends');
      if (options.crashEvery > 0 && suspends.ratio(1, 200)) {
        this.crash();
        return -1;
      }
      if (world.ops.size < options.depth && suspends.ratio(1, 8)) world.submit(workload.next());
      world.advance();
    }
    return result;
  }

  private is(oneIn: number): boolean {
    return oneIn > 0 && this.prng.ratio(1, oneIn);
  }

  private crash(): void {
    const { world, options, prng } = this;
    world.crash(prng.below(100) < options.powerCutPercent, this.ghosts.ratio(1, 3));
    world.fence();
    this.readdSome();
    this.mischief();
    world.restart(this.drawPresence());
  }

  /** While nobody is there metadata rots, and a leg is put back to an earlier day. */
  private mischief(): void {
    const { world, options, prng } = this;
    const { native } = world;
    if (native === null) return;
    if (prng.below(100) < options.rotPercent) {
      const leg = prng.below(options.legs);
      const what = prng.ratio(1, 2) ? native.rotSuperblock(leg, prng) : native.rotMap(leg, prng);
      world.say(() => `rot on leg ${leg}: ${what}`);
    }
    const isRollback = prng.below(100) < options.rollbackPercent;
    for (let leg = 0; leg < options.legs; leg += 1) {
      if (options.atlas === 'broken' || !this.atlas.maySpare(leg)) continue;
      // What no other leg holds nobody can have back, and what is no leg is not ours.
      const isLeg = world.onRecord().some(({ path }) => diskOf(path) === leg);
      if (!isLeg || native.believed().every((disk) => disk === leg)) continue;
      if (isRollback && prng.ratio(1, 2) && native.rollBack(leg, prng)) {
        world.say(() => `leg ${leg} is put back to an earlier day`);
      }
    }
    if (options.zeroed) this.putSparesBack(native);
    native.keepImages(prng);
  }

  /** A spare held anything before it was a leg, also in a set of zeros; and it may be put back to that day. */
  private putSparesBack(native: NativeLegs): void {
    const { world, options, days } = this;
    if (options.atlas === 'broken') return;
    for (let disk = options.legs; disk < world.disks.length; disk += 1) {
      const isLeg = world.onRecord().some(({ path }) => diskOf(path) === disk);
      if (!isLeg || native.believed().every((other) => other === disk)) continue;
      if (days.below(100) < options.rollbackPercent && native.rollBack(disk, days))
        world.say(() => `spare ${disk} is put back to an earlier day`);
    }
  }

  private operate(): void {
    const { world, prng } = this;
    if (prng.ratio(1, 2)) {
      const { legs } = world.daemon.set;
      const leg = at(legs, prng.below(legs.length));
      if (!leg.isActive || !this.atlas.maySpare(diskOf(leg.name))) return;
      world.say(() => `${leg.name} is failed by hand`);
      world.daemon.set.failLegByHand(leg);
      return;
    }
    world.stopCleanly();
    this.readdSome();
    this.mischief();
    world.restart(this.drawPresence());
  }

  /** Nobody damages legs behind the daemon's back here: what a scrub finds is a lie, or ours. */
  private scrub(): void {
    const { world, options, prng } = this;
    const { scrub } = world.daemon.set;
    checkScrub(world);
    if (scrub.isRunning && prng.ratio(1, 2)) {
      scrub.stop();
      return;
    }
    const repairs = prng.below(100) < options.repairPercent;
    const fromLeg = prng.below(options.legs);
    const repair = prng.ratio(1, 2) ? 'majority' : { fromLeg };
    const refusal = scrub.begin(repairs ? repair : 'none', prng.ratio(1, 2));
    world.say(() => `scrub: ${refusal ?? 'begun'}`);
  }

  private readdSome(): void {
    const { native, recorder, disks } = this.world;
    const legs = native === null ? recorder.durable.legs.length : disks.length;
    for (let i = 0; i < legs; i += 1) {
      if (this.prng.below(100) < this.options.readdPercent) this.world.readd(i);
    }
  }

  private drawPresence(): boolean[] {
    const { absentPercent, latencyUs } = this.options;
    return latencyUs.map((_, i) => {
      const isAbsent = this.prng.below(100) < absentPercent;
      // A leg that is too short is none: the daemon refuses it.
      return !(isAbsent && this.atlas.maySpare(i)) && !at(this.world.disks, i).isCut;
    });
  }

  /** I9: nothing breaks any more, one region is written without end, and all must be healed. */
  private healAndStop(): void {
    const { world } = this;
    world.front?.heal();
    for (const site of world.sites) site?.heal();
    for (const disk of world.disks) {
      disk.faults.heal();
      // A leg that was cut off from a superblock is no copy, so the last one may be unreadable.
      if (this.options.atlas === 'broken' || world.native !== null) disk.faults.healLatent();
    }
    world.diskLog?.disk.faults.heal();
    world.recorder.failureRate = 0;
    world.say(() => 'faults have stopped');
    world.waitForStuck();
    this.cuts.end();
    if (this.options.remote !== null && this.options.atlas === 'broken') this.tellOfLosses();
    this.writeHot();
    const until = world.clock.nowMs() + HEAL_MS;
    while (world.advance(until));
    world.rest();
    // What was stuck has ended by now: what waited for it goes on, and the last look is over.
    const later = world.clock.nowMs() + HEAL_MS;
    if (this.options.stallEvery > 0) while (world.advance(later));
    checkScrub(world);
    for (const checker of CHECKERS) checker.converged?.(world);
    world.stopCleanly();
    if (!world.isClean()) throw new SimFailure('I9', 'a healed set did not stop clean');
    world.restart(world.present);
    this.readAll();
    world.stopCleanly();
  }

  /** The last member may be a server that was away: it answers nothing until a flush has failed for it. */
  private tellOfLosses(): void {
    const { world } = this;
    world.rest();
    world.submit({ op: REQ_OP.FLUSH, flags: 0, sector: 0, sectors: 0 });
    world.rest();
  }

  private writeHot(): void {
    const { world, options } = this;
    const depth = Math.min(4, options.depth);
    const until = world.clock.nowMs() + this.patienceMs();
    for (let writes = 0; writes < HOT_WRITES || this.isHotLeft();) {
      if (writes > MAX_HOT_WRITES && world.clock.nowMs() > until) {
        throw new SimFailure('I9', 'the hot region is not healed under load');
      }
      if (world.ops.size < depth) {
        world.submit(this.workload.hotWrite());
        writes += 1;
      }
      if (!world.advance()) throw new SimFailure('liveness', 'requests under way never end');
    }
  }

  /** The hot region has its turn among all others, and clients hold resync down to its lowest pace. */
  private patienceMs(): number {
    const { sectors, latencyUs, pace } = this.options;
    return (HOT_PATIENCE * 1000 * bytesOfSectors(sectors) * latencyUs.length) / pace.min;
  }

  /** The hot region waits to be healed, and not for the timer of regions that nobody could read. */
  private isHotLeft(): boolean {
    const { set } = this.world.daemon;
    const isLeft = set.doubt.test(0) || set.legs.some((l) => l.isActive && l.outOfSync.test(0));
    return isLeft && !set.recovery.waitsToRetry;
  }

  private readAll(): void {
    const { world, options } = this;
    world.submit({ op: 0, flags: 0, sector: 0, sectors: options.sectors });
    world.rest();
  }
}
