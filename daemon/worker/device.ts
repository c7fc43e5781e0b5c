/** One device in a data-plane thread: made of what the control thread has opened. */
import { fstatSync } from 'node:fs';

import { assert } from '../../core/base/assert.ts';
import type { Log, LogFields } from '../../core/base/ports.ts';
import type { BlockDevice } from '../../core/block/device.ts';
import { ControlError } from '../../core/control/error.ts';
import type { TargetEnvironment } from '../../core/dm/target.ts';
import type { MirrorRecord } from '../../core/mirror/record.ts';
import { NoRecorder } from '../../core/mirror/record.ts';
import { AbsentDevice } from '../devices/absent-device.ts';
import { assemble, swapTable } from '../devices/assemble.ts';
import type { Assembled, AssemblyRequest, MirrorPlan, OpenLeg } from '../devices/assemble.ts';
import { withExternal } from '../devices/external-metadata.ts';
import { callDevice, offerFacts } from '../devices/calls.ts';
import { withDiskLog } from '../devices/disk-log.ts';
import { legTimeoutMs } from '../../core/control/leg-timeout.ts';
import { readPolicyOf } from '../devices/request.ts';
import { startOfPlan } from '../devices/native-start.ts';
import { settle } from '../devices/runner.ts';
import { mirrorOfRecord, newMirror } from '../devices/standing.ts';
import type { RemotePlan } from '../remote/leg.ts';
import { alignedMemory } from '../sys/aligned-memory.ts';
import { UringDevice } from '../uring/engine.ts';
import type { DataPlane } from '../uring/plane.ts';
import type { UringStream } from '../uring/stream.ts';
import { closeClient } from './client-fds.ts';
import { STAND_DOWN } from '../net/socket-taker.ts';
import { WorkerRemoteLeg } from './remote-leg.ts';
import type { FromWorker, LogLevel, OfferFacts, ToWorker, WorkerCall } from './messages.ts';
import type { WorkerStart, WorkerTable } from './messages.ts';

type Connect = Extract<ToWorker, { kind: 'connect' }>;

/** A leg as it was attached: a descriptor, or the plan of a remote one. */
interface AttachedLeg {
  readonly device: BlockDevice;
  readonly fd: number;
  readonly remote: number | null;
}

/** What a device asks of its thread. */
export interface DeviceThread {
  readonly plane: DataPlane;
  say(message: FromWorker): void;
  /** A device of this thread that another stands on. */
  deviceAt(number: number): BlockDevice | undefined;
  /** The device is settled: nothing of it is left but its descriptors. */
  deviceEnded(): void;
}

export class WorkerDevice {
  private readonly start: WorkerStart;
  private readonly thread: DeviceThread;
  private readonly plane: DataPlane;
  private readonly environment: TargetEnvironment;
  private readonly legs = new Map<string, AttachedLeg>();
  private readonly parts: Assembled;
  private readonly streams = new Map<number, UringStream>();
  private readonly recordsWaiting = new Map<number, (errno: number) => void>();
  /** By the plan's number; a leg that is opened again has another. */
  private readonly remoteLegs = new Map<number, WorkerRemoteLeg>();
  private records = 0;

  /** @throws ControlError it cannot be made of this */
  constructor(start: WorkerStart, thread: DeviceThread) {
    this.start = start;
    this.thread = thread;
    this.plane = thread.plane;
    const { loop, clock } = this.plane;
    this.environment = { loop, clock, log: this.log(), memory: alignedMemory };
    this.parts = assemble(this.requestOf(start), this.environment);
    this.say({ kind: 'ready', offer: this.facts() });
  }

  /** Legs by path: those of the live table, and while another is put in its place, those of both. */
  private legOf(leg: OpenLeg): BlockDevice {
    const there = this.legs.get(leg.path);
    // Closed and opened again, a path is another descriptor, or another plan.
    const isSame = there?.fd === leg.fd && there.remote === (leg.remote?.id ?? null);
    if (!isSame) return this.attach(leg);
    const { device } = there;
    if (device instanceof UringDevice && device.sectors < leg.sectors) device.grow(leg.sectors);
    return device;
  }

  private attach(leg: OpenLeg): BlockDevice {
    const { path, fd, remote, metadata } = leg;
    const itself = this.deviceOf(leg);
    const device =
      metadata === null ? itself : withExternal(itself, this.deviceOf(metadata), this.plane.loop);
    this.legs.set(path, { device, fd, remote: remote?.id ?? null });
    return device;
  }

  private deviceOf({ path, remote, metadata: _, ...leg }: OpenLeg): BlockDevice {
    if (remote !== null) return this.makeRemote(path, remote);
    return new UringDevice(this.plane.engine, { name: path, ...leg });
  }

  private requestOf(table: WorkerTable): AssemblyRequest {
    const { loop } = this.plane;
    const { name, readPolicy, legTimeout, areEqual, writeMostly, isRecorded, native } = this.start;
    const devices = new Map<string, BlockDevice>(
      table.legs.map((leg) => [leg.path, this.legOf(leg)]),
    );
    for (const [path, number] of table.lower) {
      const device = this.thread.deviceAt(number);
      assert(device !== undefined, 'a device below that is not in this thread');
      devices.set(path, device);
    }
    const { recorded, log, eventNr } = table;
    const recorder = isRecorded
      ? { record: (state: MirrorRecord, done: (errno: number) => void) => this.record(state, done) }
      : null;
    const mirror: MirrorPlan = {
      readPolicy: readPolicyOf(readPolicy),
      legTimeoutMs: (leg) => legTimeoutMs(legTimeout, leg),
      recorder: recorder ?? new NoRecorder(loop),
      onEvent: (event) => this.say({ kind: 'event', event }),
      eventNr,
      start: (places, args, at) => {
        const guard = recorder ?? new NoRecorder(loop);
        if (native !== null) return startOfPlan(native, places, guard, this.environment.log);
        const start =
          recorded === null
            ? newMirror(places, areEqual || args.sync === 'nosync', writeMostly)
            : mirrorOfRecord(places, recorded);
        const isKnown = recorded !== null;
        return withDiskLog(start, at, { found: log, args, isRecorded: isKnown, recorder });
      },
    };
    const legs = {
      missing: new Map(table.missing),
      deviceOf: (path: string) => devices.get(path) ?? new AbsentDevice(path, loop),
      attach: (leg: OpenLeg) => this.attach(leg),
    };
    return { name, table: table.table, legs, readOnly: table.readOnly, mirror };
  }

  private swap(next: WorkerTable): OfferFacts {
    swapTable(this.parts, this.requestOf(next), this.environment);
    const kept = new Set(next.legs.map(({ path }) => path));
    for (const path of this.legs.keys()) if (!kept.has(path)) this.legs.delete(path);
    return this.facts();
  }

  private facts(): OfferFacts {
    return offerFacts(this.parts);
  }

  /** For a device that stands on this one. */
  get mapped(): BlockDevice {
    return this.parts.mapped;
  }

  private makeRemote(path: string, plan: RemotePlan): BlockDevice {
    const leg = new WorkerRemoteLeg(path, plan, this.plane, this.log(), (message) =>
      this.say(message),
    );
    this.remoteLegs.set(plan.id, leg);
    return leg.device;
  }

  private record(state: MirrorRecord, done: (errno: number) => void): void {
    this.records += 1;
    this.recordsWaiting.set(this.records, done);
    this.say({ kind: 'record', id: this.records, state });
  }

  handle(message: ToWorker): void {
    switch (message.kind) {
      case 'connect':
        this.connect(message);
        return;
      case 'hang-up':
        this.streams.get(message.id)?.hangUp();
        return;
      case 'stand-down':
        this.standDown(message.id);
        return;
      case 'recorded': {
        const done = this.recordsWaiting.get(message.id);
        assert(done !== undefined, 'an answer to no record');
        this.recordsWaiting.delete(message.id);
        done(message.errno);
        return;
      }
      case 'leg-link':
      case 'leg-fenced':
      case 'leg-refused': {
        const leg = this.remoteLegs.get(message.id);
        assert(leg !== undefined, 'a message about a leg that is none');
        leg.heard(message);
        return;
      }
      case 'go':
        this.parts.mirror?.start();
        return;
      case 'call':
        this.call(message.id, message.call);
    }
  }

  /** Replies are held until the client has nothing more to ask, as in `NodeConnection`. */
  private standDown(id: number): void {
    let looks = 0;
    let seen = -1;
    const look = (): void => {
      const stream = this.streams.get(id);
      if (stream === undefined) return;
      looks += 1;
      if ((stream.activity === seen && stream.isIdle) || looks >= STAND_DOWN.LOOKS) {
        stream.release();
        return;
      }
      seen = stream.activity;
      this.plane.clock.after(STAND_DOWN.LOOK_MS, look);
    };
    this.streams.get(id)?.hold();
    look();
  }

  private call(id: number, call: WorkerCall): void {
    const { mapped, mirror, exported } = this.parts;
    switch (call.name) {
      case 'device':
        callDevice(this.parts, call.call, call.args, {
          done: (value) => this.say({ kind: 'answer', id, value }),
          refuse: ({ code, message }) => this.say({ kind: 'refused', id, code, why: message }),
        });
        return;
      case 'swap':
        this.answerSwap(id, call.next);
        return;
      case 'shut-down':
        exported.shutDown(() => {
          this.say({ kind: 'answer', id, value: 0 });
        });
        return;
      case 'settle':
        settle(mapped, mirror, (errno) => {
          this.say({ kind: 'answer', id, value: errno });
          for (const stream of this.streams.values()) stream.drop('the device has ended');
          this.thread.deviceEnded();
        });
    }
  }

  private answerSwap(id: number, next: WorkerTable): void {
    try {
      this.say({ kind: 'answer', id, value: this.swap(next) });
    } catch (error) {
      if (!(error instanceof ControlError)) throw error;
      this.say({ kind: 'refused', id, code: error.code, why: error.message });
    }
  }

  private connect({ id, fds: { input, output }, early, agreed }: Connect): void {
    const fds = { input, output, isSocket: fstatSync(input).isSocket() };
    // A client may be gone before it is known.
    let isGone = false;
    const ended = (why: string): void => {
      isGone = true;
      this.streams.delete(id);
      this.say({ kind: 'closed', id, why });
    };
    const stream = this.plane.connect(fds, this.parts.exported, early, ended, agreed);
    if (stream === null) {
      closeClient({ input, output });
      this.say({ kind: 'closed', id, why: 'no place for one more client' });
    } else if (!isGone) this.streams.set(id, stream);
  }

  private say(message: FromWorker): void {
    this.thread.say(message);
  }

  private log(): Log {
    const at =
      (level: LogLevel) =>
      (fields: LogFields, message: string): void => {
        this.say({ kind: 'log', level, fields, message });
      };
    return { info: at('info'), warn: at('warn'), error: at('error') };
  }
}
