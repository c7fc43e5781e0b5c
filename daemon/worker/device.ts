/** One device in a data-plane thread: made of what the control thread has opened. */
import { receiveMessageOnPort, type MessagePort } from 'node:worker_threads';

import { assert } from '../../core/base/assert.ts';
import type { Log, LogFields } from '../../core/base/ports.ts';
import type { BlockDevice } from '../../core/block/device.ts';
import type { MirrorRecord, MirrorRecorder } from '../../core/mirror/record.ts';
import { NoRecorder } from '../../core/mirror/record.ts';
import { AbsentDevice } from '../devices/absent-device.ts';
import { assemble, type Assembled } from '../devices/assemble.ts';
import { callDevice } from '../devices/calls.ts';
import { readPolicyOf } from '../devices/request.ts';
import { settle } from '../devices/runner.ts';
import { mirrorOfRecord, newMirror } from '../devices/standing.ts';
import { UringDevice } from '../uring/engine.ts';
import { DataPlane } from '../uring/plane.ts';
import type { UringStream } from '../uring/stream.ts';
import { WorkerRemoteLeg } from './remote-leg.ts';
import type { FromWorker, LogLevel, ToWorker, WorkerCall, WorkerStart } from './messages.ts';

export class WorkerDevice {
  private readonly plane: DataPlane;
  private readonly port: MessagePort;
  private readonly parts: Assembled;
  private readonly streams = new Map<number, UringStream>();
  private readonly idOf = new Map<UringStream, number>();
  private readonly recordsWaiting = new Map<number, (errno: number) => void>();
  private readonly remoteLegs = new Map<string, WorkerRemoteLeg>();
  private records = 0;

  constructor(start: WorkerStart, port: MessagePort) {
    this.port = port;
    const { arenaBytes, maxConnections, wakeFd } = start;
    this.plane = new DataPlane({ arenaBytes, maxConnections }, wakeFd);
    this.plane.onMessage = () => this.readMessages();
    this.plane.onClosed = (stream, why) => this.streamClosed(stream, why);
    this.parts = this.build(start);
    const { sizeBytes, readOnly, transmissionFlags, preferredBlockBytes } = this.parts.exported;
    this.say({
      kind: 'ready',
      offer: { sizeBytes, readOnly, transmissionFlags, preferredBlockBytes },
    });
  }

  /** Serves until it is settled. Blocks the thread. */
  run(): void {
    this.plane.run();
  }

  private build(start: WorkerStart): Assembled {
    const { engine, loop, clock } = this.plane;
    const devices = new Map<string, BlockDevice>();
    for (const { path, fd, sectors, limits } of start.legs) {
      const options = { name: path, fd, sectors, limits, direct: false };
      devices.set(path, new UringDevice(engine, options));
    }
    for (const plan of start.remoteLegs) {
      const leg = new WorkerRemoteLeg(plan, this.plane, this.log(), (message) => this.say(message));
      this.remoteLegs.set(plan.path, leg);
      devices.set(plan.path, leg.device);
    }
    const legs = {
      missing: new Map(start.missing),
      deviceOf: (path: string) => devices.get(path) ?? new AbsentDevice(path, loop),
    };
    const recorder: MirrorRecorder = start.isRecorded
      ? { record: (state, done) => this.record(state, done) }
      : new NoRecorder(loop);
    const { name, table, readOnly, recorded, areEqual } = start;
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
          ? newMirror(places, areEqual || args.sync === 'nosync')
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

  private readMessages(): void {
    for (;;) {
      const received = receiveMessageOnPort(this.port) as
        { readonly message: ToWorker } | undefined;
      if (received === undefined) return;
      this.handle(received.message);
    }
  }

  private handle(message: ToWorker): void {
    switch (message.kind) {
      case 'connect': {
        const stream = this.plane.connect(message.fd, this.parts.exported, message.early);
        if (stream === null) {
          this.say({ kind: 'closed', id: message.id, why: 'no place for one more client' });
          return;
        }
        this.streams.set(message.id, stream);
        this.idOf.set(stream, message.id);
        return;
      }
      case 'hang-up':
        this.streams.get(message.id)?.hangUp();
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
        const leg = this.remoteLegs.get(message.path);
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
          this.plane.stop();
        });
    }
  }

  private streamClosed(stream: UringStream, why: string): void {
    const id = this.idOf.get(stream);
    assert(id !== undefined, 'a stream of nobody was closed');
    this.idOf.delete(stream);
    this.streams.delete(id);
    this.say({ kind: 'closed', id, why });
  }

  private say(message: FromWorker): void {
    this.port.postMessage(message);
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
