/** One device in a data-plane thread: made of what the control thread has opened. */
import { receiveMessageOnPort, type MessagePort } from 'node:worker_threads';

import { assert } from '../../core/base/assert.ts';
import type { Log, LogFields } from '../../core/base/ports.ts';
import type { BlockDevice } from '../../core/block/device.ts';
import { ControlError } from '../../core/control/error.ts';
import type { TargetEnvironment } from '../../core/dm/target.ts';
import type { MirrorRecord } from '../../core/mirror/record.ts';
import { NoRecorder } from '../../core/mirror/record.ts';
import { AbsentDevice } from '../devices/absent-device.ts';
import { assemble, swapTable } from '../devices/assemble.ts';
import type { Assembled, AssemblyRequest, MirrorPlan } from '../devices/assemble.ts';
import { callDevice } from '../devices/calls.ts';
import { readPolicyOf } from '../devices/request.ts';
import { settle } from '../devices/runner.ts';
import { mirrorOfRecord, newMirror } from '../devices/standing.ts';
import { UringDevice } from '../uring/engine.ts';
import { DataPlane } from '../uring/plane.ts';
import type { UringStream } from '../uring/stream.ts';
import type { FromWorker, LogLevel, OfferFacts, ToWorker, WorkerCall } from './messages.ts';
import type { WorkerLeg, WorkerStart, WorkerTable } from './messages.ts';

export class WorkerDevice {
  private readonly start: WorkerStart;
  private readonly plane: DataPlane;
  private readonly environment: TargetEnvironment;
  private readonly legs = new Map<string, UringDevice>();
  private readonly port: MessagePort;
  private readonly parts: Assembled;
  private readonly streams = new Map<number, UringStream>();
  private readonly idOf = new Map<UringStream, number>();
  private readonly recordsWaiting = new Map<number, (errno: number) => void>();
  private records = 0;

  constructor(start: WorkerStart, port: MessagePort) {
    this.start = start;
    this.port = port;
    const { arenaBytes, maxConnections, wakeFd } = start;
    this.plane = new DataPlane({ arenaBytes, maxConnections }, wakeFd);
    this.plane.onMessage = () => this.readMessages();
    this.plane.onClosed = (stream, why) => this.streamClosed(stream, why);
    this.environment = { loop: this.plane.loop, clock: this.plane.clock, log: this.log() };
    this.parts = assemble(this.requestOf(start), this.environment);
    this.say({ kind: 'ready', offer: this.facts() });
  }

  /** Serves until it is settled. Blocks the thread. */
  run(): void {
    this.plane.run();
  }

  /** Legs by path: those of the live table, and while another is put in its place, those of both. */
  private legOf({ path, fd, sectors, limits }: WorkerLeg): BlockDevice {
    const there = this.legs.get(path);
    // Closed and opened again, a path is another descriptor.
    if (there?.fd === fd) return there;
    const options = { name: path, fd, sectors, limits, direct: false };
    const made = new UringDevice(this.plane.engine, options);
    this.legs.set(path, made);
    return made;
  }

  private requestOf(table: WorkerTable): AssemblyRequest {
    const { loop } = this.plane;
    const { name, readPolicy, areEqual, isRecorded } = this.start;
    const devices = new Map(table.legs.map((leg) => [leg.path, this.legOf(leg)]));
    const { recorded, eventNr } = table;
    const mirror: MirrorPlan = {
      readPolicy: readPolicyOf(readPolicy),
      recorder: isRecorded
        ? { record: (state, done) => this.record(state, done) }
        : new NoRecorder(loop),
      onEvent: (event) => this.say({ kind: 'event', event }),
      eventNr,
      start: (places, args) =>
        recorded === null
          ? newMirror(places, areEqual || args.sync === 'nosync')
          : mirrorOfRecord(places, recorded),
    };
    const legs = {
      missing: new Map(table.missing),
      deviceOf: (path: string) => devices.get(path) ?? new AbsentDevice(path, loop),
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
    const { sizeBytes, readOnly, transmissionFlags } = this.parts.exported;
    const { blockBytes, preferredBlockBytes } = this.parts.exported;
    return { sizeBytes, readOnly, transmissionFlags, blockBytes, preferredBlockBytes };
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
          this.plane.stop();
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
