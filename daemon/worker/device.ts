/** One device in a data-plane thread: made of what the control thread has opened. */
import { fstatSync } from 'node:fs';

import { assert } from '../../core/base/assert.ts';
import type { Log, LogFields } from '../../core/base/ports.ts';
import type { BlockDevice } from '../../core/block/device.ts';
import type { MirrorRecord, MirrorRecorder } from '../../core/mirror/record.ts';
import { NoRecorder } from '../../core/mirror/record.ts';
import { AbsentDevice } from '../devices/absent-device.ts';
import { assemble, type Assembled, type OpenLeg } from '../devices/assemble.ts';
import { callDevice } from '../devices/calls.ts';
import { readPolicyOf } from '../devices/request.ts';
import { settle } from '../devices/runner.ts';
import { mirrorOfRecord, newMirror } from '../devices/standing.ts';
import { UringDevice } from '../uring/engine.ts';
import type { DataPlane } from '../uring/plane.ts';
import type { UringStream } from '../uring/stream.ts';
import { closeClient } from './client-fds.ts';
import { STAND_DOWN } from '../net/socket-taker.ts';
import type { FromWorker, LogLevel, ToWorker, WorkerCall, WorkerStart } from './messages.ts';

type Connect = Extract<ToWorker, { kind: 'connect' }>;

/** What a device asks of its thread. */
export interface DeviceThread {
  readonly plane: DataPlane;
  say(message: FromWorker): void;
  /** The device is settled: nothing of it is left but its descriptors. */
  deviceEnded(): void;
}

export class WorkerDevice {
  private readonly thread: DeviceThread;
  private readonly plane: DataPlane;
  private readonly parts: Assembled;
  private readonly streams = new Map<number, UringStream>();
  private readonly recordsWaiting = new Map<number, (errno: number) => void>();
  private records = 0;

  /** @throws ControlError it cannot be made of this */
  constructor(start: WorkerStart, thread: DeviceThread) {
    this.thread = thread;
    this.plane = thread.plane;
    this.parts = this.build(start);
    const { sizeBytes, readOnly, transmissionFlags, preferredBlockBytes } = this.parts.exported;
    const { logicalBlockBytes, contexts } = this.parts.exported;
    const facts = { sizeBytes, readOnly, transmissionFlags, preferredBlockBytes };
    this.say({
      kind: 'ready',
      offer: { ...facts, logicalBlockBytes, contexts },
    });
  }

  private build(start: WorkerStart): Assembled {
    const { engine, loop, clock } = this.plane;
    const devices = new Map<string, BlockDevice>();
    const makeDevice = ({ path, fd, sectors, limits }: OpenLeg): BlockDevice =>
      new UringDevice(engine, { name: path, fd, sectors, limits, direct: false });
    for (const leg of start.legs) devices.set(leg.path, makeDevice(leg));
    const legs = {
      missing: new Map(start.missing),
      deviceOf: (path: string) => devices.get(path) ?? new AbsentDevice(path, loop),
      attach: (leg: OpenLeg) => makeDevice(leg),
    };
    const recorder: MirrorRecorder = start.isRecorded
      ? { record: (state, done) => this.record(state, done) }
      : new NoRecorder(loop);
    const { name, table, readOnly, recorded, areEqual, writeMostly } = start;
    const mirror = {
      readPolicy: readPolicyOf(start.readPolicy),
      recorder,
      onEvent: (event: Extract<FromWorker, { kind: 'event' }>['event']) =>
        this.say({ kind: 'event', event }),
      start: (
        places: Parameters<typeof newMirror>[0],
        args: { readonly sync: 'sync' | 'nosync' | undefined },
      ) =>
        recorded === null
          ? newMirror(places, areEqual || args.sync === 'nosync', writeMostly)
          : mirrorOfRecord(places, recorded),
    };
    const environment = { loop, clock, log: this.log() };
    return assemble({ name, table, legs, readOnly, mirror }, environment);
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
