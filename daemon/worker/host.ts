/** The control thread's end of a data-plane thread: one device that lives there. */
import { writeSync } from 'node:fs';
import { Worker } from 'node:worker_threads';

import { assert } from '../../core/base/assert.ts';
import { ERRNO } from '../../core/base/errno.ts';
import type { Log } from '../../core/base/ports.ts';
import { ControlError, type ErrorCode } from '../../core/control/error.ts';
import type { MirrorEvent } from '../../core/mirror/options.ts';
import type { MirrorRecorder } from '../../core/mirror/record.ts';
import type { CallArgs, CallName, CallValue } from '../devices/calls.ts';
import type { Runner } from '../devices/runner.ts';
import { close, eventfd } from '../uring/syscall.ts';
import type { FromWorker, OfferFacts, ToWorker, WorkerAnswer, WorkerCall } from './messages.ts';
import type { FromWorkerLeg, ToWorkerLeg, WorkerStart } from './messages.ts';

export interface WorkerHostOptions {
  readonly start: Omit<WorkerStart, 'wakeFd'>;
  readonly log: Log;
  readonly recorder: MirrorRecorder | null;
  onEvent(event: MirrorEvent): void;
  /** About the connections of a remote leg. */
  onLeg(message: FromWorkerLeg): void;
  /** A client of `connect` is gone. */
  onClosed(id: number, why: string): void;
  /** The thread has ended although nobody asked it to: a broken promise of ours, in words. */
  onDeath(why: string): void;
}

interface Waiting {
  readonly resolve: (value: WorkerAnswer) => void;
  readonly reject: (error: unknown) => void;
}

const WAKE = new BigUint64Array([1n]);

export class WorkerHost implements Runner {
  readonly offer: OfferFacts;
  private readonly worker: Worker;
  private readonly wakeFd: number;
  private readonly options: WorkerHostOptions;
  private readonly waiting = new Map<number, Waiting>();
  private calls = 0;
  private settled = false;
  private dead = false;

  private constructor(
    worker: Worker,
    wakeFd: number,
    offer: OfferFacts,
    options: WorkerHostOptions,
  ) {
    this.worker = worker;
    this.wakeFd = wakeFd;
    this.offer = offer;
    this.options = options;
    worker.on('message', (message: FromWorker) => this.heard(message));
    worker.on('error', (error: Error) => this.died(error.stack ?? error.message));
    worker.on('exit', (code) => this.exited(code));
  }

  /**
   * Starts the thread and its device.
   * @throws whatever making the device throws there
   */
  static start(options: WorkerHostOptions): Promise<WorkerHost> {
    const wakeFd = eventfd();
    assert(wakeFd >= 0, 'no eventfd');
    const workerData: WorkerStart = { ...options.start, wakeFd };
    const worker = new Worker(new URL('./main.js', import.meta.url), { workerData });
    return new Promise((resolve, reject) => {
      const failed = (error: Error): void => {
        close(wakeFd);
        reject(error);
      };
      worker.once('error', failed);
      worker.once('message', (message: FromWorker) => {
        worker.off('error', failed);
        if (message.kind === 'unfit') {
          failed(new ControlError(message.code as ErrorCode, message.why));
          return;
        }
        assert(message.kind === 'ready', 'a data plane speaks before it is ready');
        resolve(new WorkerHost(worker, wakeFd, message.offer, options));
      });
    });
  }

  /** The mirror begins to heal and to record. */
  go(): void {
    this.say({ kind: 'go' });
  }

  /** Gives a client's socket to the device; the descriptor is the thread's from now on. */
  connect(id: number, fd: number, early: Uint8Array): void {
    if (this.dead) close(fd);
    else this.say({ kind: 'connect', id, fd, early });
  }

  /** About the connections of a remote leg. */
  tellLeg(message: ToWorkerLeg): void {
    this.say(message);
  }

  hangUp(id: number): void {
    this.say({ kind: 'hang-up', id });
  }

  async call<C extends CallName>(name: C, args: CallArgs<C>): Promise<CallValue<C>> {
    return (await this.ask({ name: 'device', call: name, args })) as CallValue<C>;
  }

  /** Requests get ESHUTDOWN from now on; fulfilled when none is with the device. */
  async shutDown(): Promise<void> {
    if (!this.dead) await this.ask({ name: 'shut-down' });
  }

  async settle(): Promise<number> {
    if (this.dead) return ERRNO.EIO;
    this.settled = true;
    return (await this.ask({ name: 'settle' })) as number;
  }

  /** Ends the thread whatever it does; what is under way in the kernel goes on. */
  async terminate(): Promise<void> {
    this.settled = true;
    await this.worker.terminate();
  }

  private ask(call: WorkerCall): Promise<WorkerAnswer> {
    if (this.dead) {
      return Promise.reject(new ControlError('io', 'its data plane has ended'));
    }
    this.calls += 1;
    const id = this.calls;
    return new Promise((resolve, reject) => {
      this.waiting.set(id, { resolve, reject });
      this.say({ kind: 'call', id, call });
    });
  }

  private say(message: ToWorker): void {
    if (this.dead) return;
    this.worker.postMessage(message);
    writeSync(this.wakeFd, WAKE);
  }

  private heard(message: FromWorker): void {
    const { log, recorder } = this.options;
    switch (message.kind) {
      case 'answer':
        this.take(message.id)?.resolve(message.value);
        return;
      case 'refused':
        this.take(message.id)?.reject(new ControlError(message.code as ErrorCode, message.why));
        return;
      case 'closed':
        this.options.onClosed(message.id, message.why);
        return;
      case 'leg-connect':
      case 'leg-fence':
        this.options.onLeg(message);
        return;
      case 'event':
        this.options.onEvent(message.event);
        return;
      case 'log':
        log[message.level](message.fields, message.message);
        return;
      case 'record':
        assert(recorder !== null, 'a record of a device that keeps none');
        recorder.record(message.state, (errno) => {
          this.say({ kind: 'recorded', id: message.id, errno });
        });
        return;
      case 'ready':
      case 'unfit':
        assert(false, 'a data plane became ready twice');
    }
  }

  private take(id: number): Waiting | undefined {
    const waiting = this.waiting.get(id);
    this.waiting.delete(id);
    return waiting;
  }

  private exited(code: number): void {
    if (!this.settled && !this.dead) this.died(`exit code ${String(code)}`);
    this.dead = true;
    close(this.wakeFd);
  }

  private died(why: string): void {
    if (this.dead) return;
    this.dead = true;
    const error = new ControlError('io', 'its data plane has ended');
    for (const { reject } of this.waiting.values()) reject(error);
    this.waiting.clear();
    this.options.onDeath(why);
  }
}
