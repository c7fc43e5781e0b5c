/* eslint-disable max-lines -- three logs begin here; to be cut along them */
import { ERRNO } from '../../core/base/errno.ts';
import { Prng } from '../../core/base/prng.ts';
import { bytesOfSectors } from '../../core/base/units.ts';
import type { Bio } from '../../core/block/bio.ts';
import { Issuer } from '../../core/block/loan.ts';
import { assembleFromRecord, type Assembly } from '../../core/mirror/assemble.ts';
import type { MirrorEvent } from '../../core/mirror/options.ts';
import type { MirrorRecord, MirrorRecorder } from '../../core/mirror/record.ts';
import type { Loop } from '../../core/block/loop.ts';
import { at } from './at.ts';
import { CHECKERS } from './checkers/all.ts';
import { isGoodLegBehind, isGoodLegHeldUp } from './checkers/i10-last-copy.ts';
import { watchLeg } from './checkers/i07-stale-never-served.ts';
import { Front } from './clients/front.ts';
import { SimClock } from './clock.ts';
import { FIRST_TAG, ZEROS } from './content.ts';
import { Daemon, type DaemonStart } from './daemon.ts';
import { SimDiskLog } from './disk-log.ts';
import { diskOf } from './disk-of.ts';
import { makeDisk, rawFromOf } from './make-disk.ts';
import type { SimDisk } from './disk.ts';
import { SimFailure } from './failure.ts';
import { Model } from './model.ts';
import { membersOf, NativeLegs } from './native.ts';
import { RemoteSite } from './net/remote-leg.ts';
import { firstRecord, withState, type RecordedLeg } from './first-record.ts';
import { ClientOp, PagePool } from './op.ts';
import type { SimOptions } from './options.ts';
import { SimRecorder } from './recorder.ts';
import { tellModel } from './tell-model.ts';
import type { OpShape } from './workload.ts';

const AT_ENDS = CHECKERS.filter((checker) => checker.opEnded !== undefined);
const FIRST_WRITE_TAG = 1000;
const POISONED_KEPT = 8;
/** Connections, in turn. */
const CLIENTS = 3;
/** More than this and nothing has come to an end: something runs in circles. */
const MAX_EVENTS = 200_000;
/** Whom a request is of before it is sent. */
const NOBODY = new Issuer();
/** Timers, too: but a leg that is stuck for half an hour is looked at thousands of times. */
const MAX_TIMERS = 10_000_000;

/** What a start has found. */
interface Begin {
  readonly start: DaemonStart;
  readonly believed: readonly number[];
  readonly told: string;
}

/**
 * A server lost power and the daemon died before it could know: the next one believes the leg, and what
 * no flush had covered may be gone, as if all had lost power.
 */
function hasLostUnseen(
  site: RemoteSite | null,
  disk: number,
  believed: readonly number[],
): boolean {
  return site !== null && site.hasLost && believed.includes(disk);
}

/** Where lines of the trace go. */
export type Trace = ((line: string) => void) | null;

/**
 * Everything outside the core: time, disks, the record, clients; and one daemon at a time. It knows
 * what clients were told (the model), and calls the checkers at every end of a request.
 */
export class World {
  readonly options: SimOptions;
  readonly clock = new SimClock();
  readonly model: Model;
  readonly disks: readonly SimDisk[];
  readonly recorder: SimRecorder;
  /** The metadata on the legs; null: the record is in one place, as with the core log. */
  readonly native: NativeLegs | null;
  /** The dirty log on a device of its own; null: another log. */
  readonly diskLog: SimDiskLog | null;
  /** By disk: the server that has it, where the leg is a remote one. */
  readonly sites: readonly (RemoteSite | null)[];
  /** Sectors of a disk from here on are metadata. */
  readonly rawFrom: number;
  /** Requests of clients under way. */
  readonly ops = new Set<ClientOp>();
  /** By sector: writes of clients under way. */
  readonly writing: Uint16Array;
  /** The last requests that have ended: their memory is the client's. */
  readonly poisoned: ClientOp[] = [];
  /** Devices the daemon found when it started. */
  present: readonly boolean[];
  /** Legs that were members at some moment of this life. */
  wasMember: readonly boolean[] = [];
  /** Members of the time when a sector of another leg was made unreadable: they had it. */
  readonly covering = new Set<number>();
  /** Legs whose device the set of this life has, or has had. */
  attached: Set<string> = new Set();
  /** The clients of this life, and since when they are owed the errno of a loss. */
  issuers: readonly Issuer[] = [];
  readonly owing = new Map<Issuer, number>();
  daemon: Daemon;
  /** Clients on connections; null: requests enter at the mapped device. */
  readonly front: Front | null;
  /** The story is not of one truth: the model knows less than the legs do, and nobody judges. */
  isBlind = false;
  /** A leg was put out for its read errors: nobody knew what only it could read. */
  hasGivenUpReader = false;
  /** All members lost something while the leg without faults was being filled: none of it was anywhere else. */
  hasLostUncovered = false;
  /** Legs lie just now: the model goes on, but who looks at the legs is not asked. */
  isLenient = false;
  /** Told of each end, after the model. */
  onEnded: ((op: ClientOp) => void) | null = null;
  acknowledgedWrites = 0;
  /** Told of the mirror's events. */
  onEvent: ((event: MirrorEvent) => void) | null = null;
  /** Told of each bio that the daemon sends to a leg. */
  onBio: ((bio: Bio) => void) | null = null;
  /** Told of each record that becomes durable. */
  onDurable: ((before: MirrorRecord, after: MirrorRecord) => void) | null = null;
  /** Counts what happens; the model's time. */
  step = 0;
  private readonly prng: Prng;
  private readonly trace: Trace;
  private readonly pages: PagePool;
  /** Until then requests may have been held, or had no good leg to go to. */
  heldAt = 0;
  private opCount = 0;
  private lossSeen = 0;
  private submitting = false;
  private touches = 0;
  private core: { durable: MirrorRecord; attempt: MirrorRecord | null; legs: number[] } | null =
    null;

  constructor(options: SimOptions, trace: Trace) {
    this.options = options;
    this.trace = trace;
    this.prng = new Prng(options.seed + 2 ** 40);
    this.pages = new PagePool(bytesOfSectors(options.sectors));
    this.model = new Model(options.sectors, options.zeroed ? ZEROS : FIRST_TAG);
    this.writing = new Uint16Array(options.sectors);
    const isNative = options.log === 'native';
    this.rawFrom = rawFromOf(options);
    this.disks = options.latencyUs.map((_, i) => makeDisk(options, i, this.clock));
    this.recorder = new SimRecorder(
      firstRecord(options),
      this.clock,
      this.prng,
      options.recorderLatencyUs,
    );
    this.recorder.onDurable = (before, after) => this.onDurable?.(before, after);
    this.present = options.latencyUs.map(() => true);
    const metaPrng = new Prng(options.seed + 2 ** 46);
    this.diskLog = options.log === 'disk' ? new SimDiskLog(options, this.clock) : null;
    this.sites = this.disks.map((disk, i) => this.makeSite(disk, i));
    this.native = isNative ? new NativeLegs(options, this.disks, this.clock, metaPrng) : null;
    const { clients } = options;
    this.front = clients === undefined ? null : new Front(this, clients);
    this.daemon = this.makeDaemon();
  }

  /** The first life begins. */
  start(): void {
    this.daemon.set.start();
    this.front?.serve(this.daemon);
  }

  /**
   * Grows with every change of what a crash now would leave: on the disks, in the record, and of what
   * clients were told. As long as it is the same, so is the crash (but for what is drawn then).
   */
  get touched(): number {
    let sum = this.touches + this.recorder.touched;
    for (const disk of this.disks) sum += disk.touched;
    return sum;
  }

  /** What is drawn from here on depends on this number alone, and not on what was drawn before. */
  reseed(number: number): void {
    const { seed } = this.options;
    Object.assign(this.prng, new Prng(seed + 2 ** 40 + number * 2 ** 20));
    for (const [i, disk] of this.disks.entries())
      disk.reseed(seed + 2 ** 41 + i + number * 2 ** 20);
  }

  say(line: () => string): void {
    this.trace?.(`${String(this.step).padStart(6)} ${this.clock.nowMs().toFixed(3)} ${line()}`);
  }

  /** A client calls. */
  submit(shape: OpShape): void {
    this.step += 1;
    const op = this.begin(shape);
    op.onRetry = (): void => this.send(op);
    op.pieceSectors = this.prng.pick([1, 2, 8, 64]);
    this.send(op);
  }

  /** A request under way from now on, with a tag of its own. */
  private begin(shape: OpShape): ClientOp {
    this.opCount += 1;
    this.touches += 1;
    const value = FIRST_WRITE_TAG + this.opCount;
    const failures = this.recorder.failures;
    const issuer = this.issuers[this.opCount % this.issuers.length] ?? NOBODY;
    const op = new ClientOp(shape, this.opCount, value, this.step, failures, issuer, (ended) => {
      this.opEnded(ended);
    });
    if (op.isWrite) {
      for (let i = 0; i < op.sectors; i += 1) {
        op.entries.push(this.model.written(op.sector + i, op.effect));
      }
    }
    this.noteWriting(op, 1);
    this.ops.add(op);
    op.calledMs = this.clock.nowMs();
    op.lossesBefore = this.daemon.set.losses.serial;
    if (this.trace !== null) this.say(() => `call ${String(op)}`);
    return op;
  }

  private send(op: ClientOp): void {
    this.submitting = true;
    if (this.front === null) this.daemon.submit(op.makeBio(this.pages));
    else this.front.call(op, this.memoryOf(op));
    this.submitting = false;
  }

  /** A client's own memory, in one piece: what it sends, and where its answer goes. */
  private memoryOf(op: ClientOp): Bio {
    op.pieceSectors = Math.max(1, op.sectors);
    return op.makeBio(this.pages);
  }

  /** A client asks again for what was not answered: of a write for the model another one. */
  again({ op, flags, sector, sectors }: ClientOp): { op: ClientOp; bio: Bio } {
    const next = this.begin({ op, flags, sector, sectors });
    return { op: next, bio: this.memoryOf(next) };
  }

  /** An attempt without an answer, and nothing of it will happen from now on: it has, or it has not. */
  leftAlone(op: ClientOp): void {
    for (const entry of op.entries) this.model.undecided(entry, this.step);
    this.forget(op);
  }

  /** An attempt that was refused, or never came to the daemon as a whole: nothing of it may show. */
  neverDone(op: ClientOp): void {
    for (const [i, entry] of op.entries.entries()) this.model.withdrawn(op.sector + i, entry);
    this.forget(op);
  }

  private forget(op: ClientOp): void {
    if (this.ops.delete(op)) this.noteWriting(op, -1);
    op.retire(this.pages);
  }

  /** Lets the next thing happen. False: nothing will. */
  advance(untilMs = Infinity): boolean {
    this.step += 1;
    const isMore = this.clock.step(untilMs);
    this.front?.tick();
    this.noteLoss();
    if (isGoodLegBehind(this) || isGoodLegHeldUp(this)) this.heldAt = this.step;
    return isMore;
  }

  /** Without what a network of clients has held it up. */
  tookMs(op: ClientOp): number {
    return this.clock.nowMs() - Math.max(op.calledMs, this.front?.heldUpUntilMs ?? 0);
  }

  /** Every member has failed a flush: each client is owed an errno from now on. */
  private noteLoss(): void {
    const { serial } = this.daemon.set.losses;
    if (serial <= this.lossSeen) return;
    this.lossSeen = serial;
    this.touches += 1;
    if (isGoodLegBehind(this) || this.heldAt >= this.step - 1) this.hasLostUncovered = true;
    this.say(() => 'LOSS: no member could make durable what it holds');
    for (const issuer of this.issuers) this.owing.set(issuer, this.step);
  }

  /** Asked at each event from now on: has too much happened for what is waited for? */
  patience(): () => boolean {
    const { clock } = this;
    const most = clock.happened + MAX_EVENTS;
    let asked = 0;
    return () => {
      asked += 1;
      return clock.happened > most || asked > MAX_TIMERS;
    };
  }

  /** What was sent to legs while they were stuck has ended, one way or the other. */
  waitForStuck(): void {
    for (;;) {
      const until = Math.max(...this.disks.map(({ stuckUntilMs }) => stuckUntilMs));
      if (until <= this.clock.nowMs() || !this.advance(until)) return;
    }
  }

  /** Until all requests have ended and the core has nothing to do but wait for a timer. */
  rest(): void {
    const isInCircles = this.patience();
    while (this.clock.busy > 0) {
      if (isInCircles()) throw new SimFailure('liveness', 'the core does not come to rest');
      this.advance();
    }
    const op = [...this.ops].find((one) => this.front?.mayWait(one) !== true);
    if (op !== undefined) throw new SimFailure('liveness', `${String(op)} never ends`);
    this.say(() => 'idle');
    if (this.isBlind || this.isLenient) return;
    for (const checker of CHECKERS) checker.idle?.(this);
  }

  /**
   * kill -9, or with `power` also the end of every volatile cache. `lingers`: after a kill the kernel
   * still has what the daemon had sent; then `fence` comes before the next start.
   */
  crash(power: boolean, lingers = false): void {
    this.step += 1;
    this.front?.crashing();
    this.say(() => (power ? 'POWER CUT' : 'KILLED'));
    this.clock.endLife();
    for (const op of this.ops) {
      for (const entry of op.entries) this.model.cutShort(entry, this.step);
    }
    this.ops.clear();
    this.writing.fill(0);
    this.model.daemonDied();
    this.recorder.daemonDied();
    for (const [i, disk] of this.disks.entries()) {
      if (power) disk.powerCut();
      // What a server still has is its own, and what is on its way to one never arrives here.
      else disk.daemonKilled(lingers && at(this.sites, i) === null);
    }
    const hasLost = this.sites.some((site, i) => hasLostUnseen(site, i, this.believed()));
    for (const site of this.sites) site?.daemonDied();
    this.diskLog?.died(power);
    if (power || hasLost) this.model.powerCut(this.step, power);
    this.front?.crashed();
  }

  /** Who starts takes the lock of each leg, and gets it when nothing is on its way there any more (D6). */
  fence(): void {
    for (const disk of this.disks) disk.layGhosts(false);
  }

  /** Ends the daemon as SIGTERM would. The clients have gone before. */
  stopCleanly(): void {
    this.front?.shutDown();
    this.rest();
    // The last that the stop itself writes may be what lets the good leg in. And a loss from before it was in
    // may not be written once more yet.
    const wasBehind = isGoodLegBehind(this) || (this.hasLostUncovered && this.daemon.set.hasLost());
    let result = -1;
    this.daemon.set.stop((errno) => {
      result = errno;
    });
    this.rest();
    if (result < 0) throw new SimFailure('liveness', 'stop never ends');
    if (this.clock.timers > 0) throw new SimFailure('I18', 'a timer outlives the set');
    this.say(() => `stopped, errno ${result}, clean ${String(this.isClean())}`);
    const excused = this.options.atlas === 'broken' || this.options.recorderFailureRate > 0;
    if (result !== 0 && !excused && !wasBehind && !isGoodLegBehind(this))
      throw new SimFailure('I10', `a clean stop gave errno ${result}`);
    this.clock.endLife();
    this.front?.stopped();
  }

  /** Starts the daemon on what is there. With nothing to believe the missing devices come back. */
  restart(present: readonly boolean[]): void {
    this.present = present;
    this.daemon = this.makeDaemon();
    this.start();
  }

  /**
   * The next table of a suspended daemon has the same legs: what the record calls in sync stays so,
   * every other leg that is there joins again. 0, or an errno: nothing has changed. Clients go on
   * calling meanwhile, and a crash may come at any step: then `done` is never called.
   */
  reload(done: (errno: number) => void): void {
    const { daemon, recorder, native } = this;
    // What was given up on may still land: no other set may have the leg before.
    if (daemon.set.hasLate()) {
      done(ERRNO.EBUSY);
      return;
    }
    if (native !== null) {
      this.reloadNative(native, done);
      return;
    }
    daemon.freeze((frozen) => {
      if (typeof frozen === 'number') {
        done(frozen);
        return;
      }
      const legs = frozen.legs.map((leg) => {
        const disk = diskOf(leg.path);
        const isThere = this.present[disk] === true && !at(this.disks, disk).isCut;
        const joins = leg.state !== 'in-sync' && isThere;
        return joins ? { ...leg, state: 'resyncing' as const } : leg;
      });
      const next = { ...frozen, generation: frozen.generation + 1, legs };
      recorder.record(next, (errno) => {
        if (errno !== 0) {
          this.keepTable(frozen, () => done(errno));
          return;
        }
        const presence = next.legs.map((leg) => at(this.present, diskOf(leg.path)));
        const assembly = assembleFromRecord(next, presence);
        if (assembly.kind === 'refused') throw new SimFailure('I10', assembly.reason);
        this.say(() => `RELOAD ${assembly.standings.join(' ')}`);
        daemon.swap(this.withSites(this.startOf(next, assembly)));
        this.noteMembers(this.startOf(next, assembly));
        done(0);
      });
    });
  }

  /** With the native log the legs themselves say what the next set is made of. */
  private reloadNative(native: NativeLegs, done: (errno: number) => void): void {
    const { daemon } = this;
    daemon.freeze((frozen) => {
      if (typeof frozen === 'number') {
        done(frozen);
        return;
      }
      const here = this.disks.flatMap((_, i) => (this.present[i] === true ? [i] : []));
      for (const disk of here) if (this.prng.ratio(1, 2)) native.readded.add(disk);
      native.beginAgain(daemon.loop, here, (begun) => {
        const best = membersOf(native.decide(here), here);
        if (begun.kind === 'refused' || this.isBlindStart(begun.parts.legs, best)) {
          if (this.options.metaFaultEvery === 0)
            throw new SimFailure('I10', begun.kind === 'refused' ? begun.reason : 'blind');
          daemon.thaw();
          done(ERRNO.EIO);
          return;
        }
        const standings = begun.parts.legs.map(({ standing }) => standing);
        this.say(() => `RELOAD ${standings.join(' ')}`);
        daemon.swap(begun.parts);
        this.noteMembers(begun.parts);
        done(0);
      });
    });
  }

  private noteMembers({ legs }: Pick<DaemonStart, 'legs'>): void {
    this.attached = new Set(legs.flatMap(({ name, device }) => (device === null ? [] : [name])));
    this.wasMember = this.disks.map((disk) =>
      legs.some(({ device, standing }) => device === disk && standing === 'member'),
    );
  }

  /** The record may name the next table: no bio goes on before it names the live one again. */
  private keepTable(record: MirrorRecord, done: () => void): void {
    this.recorder.record(record, (errno) => {
      if (errno !== 0) {
        this.keepTable(record, done);
        return;
      }
      this.daemon.thaw();
      done();
    });
  }

  /** As `restart`, for a part of the set that may be refused: then nothing runs. */
  restartStrictly(present: readonly boolean[]): boolean {
    const { native } = this;
    const here = this.disks.flatMap((_, i) => (present[i] === true ? [i] : []));
    if (native === null || native.decide(here).kind === 'refused') return false;
    this.restart(present);
    return true;
  }

  /** An operator adds a leg again that is out: it has to be filled from the start. */
  readd(leg: number): void {
    if (this.native !== null) {
      this.native.readded.add(leg);
      return;
    }
    const { durable } = this.recorder;
    const { state } = at(durable.legs, leg);
    if (state === 'in-sync') return;
    this.say(() => `leg ${leg} (${state}) is added again`);
    this.recorder.durable = withState(durable, leg, 'resyncing');
  }

  /** Legs that a restart would find, and how they would stand. */
  onRecord(): readonly RecordedLeg[] {
    if (this.native === null) return this.recorder.durable.legs;
    const assembly = this.native.decide(this.disks.map((_, i) => i));
    if (assembly.kind === 'refused') return [];
    return assembly.legs.map(({ entry, input, standing }) => ({
      path: input === null ? entry.name : at(this.disks, input).name,
      state: standing === 'member' ? 'in-sync' : entry.state,
    }));
  }

  /** By what is durable the set was stopped with all members equal. */
  isClean(): boolean {
    if (this.native === null) return this.recorder.durable.clean;
    const assembly = this.native.decide(this.disks.map((_, i) => i));
    return assembly.kind === 'assembled' && assembly.membersEqual;
  }

  /** Legs that a restart would believe, by what is durable now or may be in a moment. */
  believed(): readonly number[] {
    if (this.native !== null) return this.native.believed();
    const { durable, attempt } = this.recorder;
    if (this.core?.durable !== durable || this.core.attempt !== attempt) {
      const isBelieved = ({ legs }: MirrorRecord, i: number): boolean =>
        legs.some(({ path, state }) => diskOf(path) === i && state === 'in-sync');
      const legs = this.disks
        .map((_, i) => i)
        .filter((i) => isBelieved(durable, i) || (attempt !== null && isBelieved(attempt, i)));
      this.core = { durable, attempt, legs };
    }
    return this.core.legs;
  }

  /** Legs that every restart from now on takes for members; a crash may still undo who has just joined. */
  sure(): readonly number[] {
    const all = this.disks.map((_, i) => i);
    const { native } = this;
    if (native === null) return all;
    const later = membersOf(native.decide(all, true), all);
    return membersOf(native.decide(all), all).filter((i) => later.includes(i));
  }

  private makeDaemon(): Daemon {
    this.step += 1;
    this.issuers = Array.from({ length: CLIENTS }, () => new Issuer());
    this.owing.clear();
    const { believed, start, told } =
      this.native === null ? this.beginCore() : this.beginNative(this.native);
    this.say(() => `START ${told}`);
    this.noteMembers(start);
    for (const [i, disk] of this.disks.entries()) {
      disk.onSubmit = (bio): void => {
        if (this.trace !== null) {
          this.say(() => `  leg ${i} op ${bio.op} ${bio.sector}+${bio.sectors} fl ${bio.flags}`);
        }
        this.onBio?.(bio);
        if (this.sites[i] === null) watchLeg(this, i, bio);
      };
      disk.step = (): number => this.step;
    }
    const { options, clock, prng, diskLog } = this;
    if (diskLog !== null) diskLog.disk.step = (): number => this.step;
    const open = (loop: Loop): DaemonStart => {
      for (const [i, disk] of this.disks.entries()) {
        const site = at(this.sites, i);
        if (site === null) disk.open(loop, believed.includes(i));
        else site.begin(loop, believed.includes(i));
      }
      diskLog?.disk.open(loop, false);
      return this.withSites(start);
    };
    return new Daemon(options, open, clock, prng, (event) => {
      this.touches += 1;
      if (event.message.includes('too many read errors')) this.hasGivenUpReader = true;
      this.onEvent?.(event);
    });
  }

  private makeSite(disk: SimDisk, index: number): RemoteSite | null {
    const { remote, seed } = this.options;
    if (remote?.legs[index] !== true) return null;
    const prng = new Prng(seed + 2 ** 51 + index);
    const site = new RemoteSite(disk, remote, this.clock, prng, (line) => this.say(line));
    site.keepsCache = this.options.atlas !== 'anchor';
    site.onSubmit = (bio): void => watchLeg(this, index, bio);
    return site;
  }

  /** A remote leg's device stands before its disk. */
  private withSites(start: DaemonStart): DaemonStart {
    const legs = start.legs.map((leg) => {
      const device = leg.device === null ? null : this.sites[diskOf(leg.name)]?.device;
      return device === undefined || device === null ? leg : { ...leg, device };
    });
    return { ...start, legs };
  }

  private beginNative(native: NativeLegs): Begin {
    for (const disk of this.disks) disk.onSubmit = null;
    const all = this.disks.map((_, i) => i);
    let here = all.filter((i) => at(this.present, i));
    // A part of the set that misses writes and cannot know it: nobody who has the rest starts that.
    const best = membersOf(native.decide(all), all);
    const isBlind = membersOf(native.decide(here), here).some((i) => !best.includes(i));
    if (isBlind && this.options.atlas === 'broken') here = all;
    const believed = native.believed();
    for (const checker of CHECKERS) checker.started?.(this);
    let begun = native.begin(here);
    if (begun.kind === 'refused' || this.isBlindStart(begun.parts.legs, best)) {
      this.say(() => `refused: ${begun.kind === 'refused' ? begun.reason : 'it misses writes'}`);
      // The rest of the legs is brought, and what could not be read can be.
      here = all;
      if (this.options.metaFaultEvery > 0) this.healMetadata();
      begun = native.begin(here);
    }
    if (begun.kind === 'refused') throw new SimFailure('I10', begun.reason);
    this.present = all.map((i) => here.includes(i));
    const { parts, assembly } = begun;
    const each = parts.legs.map(
      (leg) => leg.standing + (leg.lacks === undefined ? '' : `-${leg.lacks.count}`),
    );
    const told = `${each.join(' ')} gen ${assembly.ruler.generation}${assembly.membersEqual ? ' clean' : ''}`;
    this.watchRecords(parts.recorder);
    return { start: parts, believed, told };
  }

  /**
   * The superblocks that could not be read were those that knew better: only the guard in the daemon's
   * state directory tells, and refuses.
   */
  private isBlindStart(legs: DaemonStart['legs'], best: readonly number[]): boolean {
    if (this.options.metaFaultEvery === 0) return false;
    return legs.some(({ name, standing }) => standing === 'member' && !best.includes(diskOf(name)));
  }

  private healMetadata(): void {
    for (const { faults } of this.disks) {
      faults.heal();
      faults.healLatent(this.rawFrom);
    }
  }

  /** With the native log, too, each durable record of a life is held against the one before. */
  private watchRecords(recorder: MirrorRecorder): void {
    let before: MirrorRecord | null = null;
    const record = recorder.record.bind(recorder);
    recorder.record = (state, done) => {
      record(state, (errno) => {
        if (errno === 0) {
          if (before !== null) this.onDurable?.(before, state);
          before = state;
        }
        done(errno);
      });
    };
  }

  private beginCore(): Begin {
    const { durable } = this.recorder;
    const presence = (): boolean[] => durable.legs.map((leg) => at(this.present, diskOf(leg.path)));
    let assembly = assembleFromRecord(durable, presence());
    if (assembly.kind === 'refused') {
      this.present = this.present.map(() => true);
      assembly = assembleFromRecord(durable, presence());
    }
    if (assembly.kind === 'refused') throw new SimFailure('I10', assembly.reason);
    const { standings, membersEqual } = assembly;
    const start = this.startOf(durable, assembly);
    const believed = durable.legs.flatMap(({ path, state }) =>
      state === 'in-sync' ? [diskOf(path)] : [],
    );
    return { start, believed, told: `${standings.join(' ')}${membersEqual ? ' clean' : ''}` };
  }

  /** With the core log: what a record and its assembly make of the disks. */
  private startOf(
    { legs }: MirrorRecord,
    { standings, generation, membersEqual }: Extract<Assembly, { kind: 'assembled' }>,
  ): DaemonStart {
    const start = {
      recorder: this.recorder,
      legs: standings.map((standing, i) => {
        const { path, slot, startSector, writeMostly, failedByHand, replaces } = at(legs, i);
        const device = standing === 'missing' ? null : at(this.disks, diskOf(path));
        const rest = { slot, startSector, writeMostly, failedByHand, replaces };
        return { name: path, device, standing, ...rest };
      }),
      generation,
      membersEqual,
    };
    return this.diskLog === null ? start : this.diskLog.begin(start);
  }

  private opEnded(op: ClientOp): void {
    this.noteLoss();
    if (this.diskLog?.hasFailed() === true) this.recorder.failures += 1;
    if (this.submitting) throw new SimFailure('endings', `${String(op)} ended inside submit`);
    if (!this.ops.delete(op)) throw new SimFailure('endings', `${String(op)} ended after a crash`);
    this.step += 1;
    this.touches += 1;
    this.noteWriting(op, -1);
    if (this.trace !== null) this.say(() => `end  ${String(op)} errno ${op.error}`);
    // An export does that itself.
    if (this.front === null) this.daemon.clients.note(op.op, op.sectors, this.tookMs(op), op.error);
    if (op.isWrite && op.error === ERRNO.OK) this.acknowledgedWrites += 1;
    if (this.isBlind) return;
    tellModel(this, op);
    this.onEnded?.(op);
    if (!this.isLenient) for (const checker of AT_ENDS) checker.opEnded?.(this, op);
    op.poison();
    this.poisoned.push(op);
    if (this.poisoned.length > POISONED_KEPT) this.poisoned.shift()?.retire(this.pages);
  }

  private noteWriting(op: ClientOp, change: number): void {
    if (!op.isWrite) return;
    const end = op.sector + op.sectors;
    for (let s = op.sector; s < end; s += 1) this.writing[s] = (this.writing[s] ?? 0) + change;
  }

  /** When the oldest request under way was called; now, if there is none. */
  oldestCall(): number {
    let oldest = this.step;
    for (const op of this.ops) oldest = Math.min(oldest, op.from);
    return oldest;
  }
}
