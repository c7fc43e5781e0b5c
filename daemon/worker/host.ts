/** The control thread's end of a device that lives in a data-plane thread. */
import { assert } from '../../core/base/assert.ts';
import { ERRNO } from '../../core/base/errno.ts';
import type { Log } from '../../core/base/ports.ts';
import { ControlError, type ErrorCode } from '../../core/control/error.ts';
import type { MirrorEvent } from '../../core/mirror/options.ts';
import type { MirrorRecorder } from '../../core/mirror/record.ts';
import type { Agreement } from '../../core/nbd/agreement.ts';
import type { CallArgs, CallName, CallValue } from '../devices/calls.ts';
import type { Runner } from '../devices/runner.ts';
import type { ClientFds } from '../net/socket-taker.ts';
import type { FromWorker, OfferFacts, ToWorker, WorkerAnswer, WorkerCall } from './messages.ts';
import type { WorkerStart } from './messages.ts';
import { closeClient } from './client-fds.ts';
import { threadForDevice, type PlaneThread } from './threads.ts';

export interface WorkerHostOptions {
  readonly start: WorkerStart;
  readonly log: Log;
  readonly recorder: MirrorRecorder | null;
  onEvent(event: MirrorEvent): void;
  /** A client of `connect` is gone. */
  onClosed(id: number, why: string): void;
  /** The thread has ended although nobody asked it to: a broken promise of ours, in words. */
  onDeath(why: string): void;
}

interface Waiting {
  readonly resolve: (value: WorkerAnswer) => void;
  readonly reject: (error: unknown) => void;
}

export class WorkerHost implements Runner {
  readonly offer: OfferFacts;
  private readonly thread: PlaneThread;
  /** The device's number in its thread. */
  private readonly device: number;
  private readonly options: WorkerHostOptions;
  private readonly waiting = new Map<number, Waiting>();
  private calls = 0;
  private settled = false;
  private dead = false;

  private constructor(
    thread: PlaneThread,
    device: number,
    offer: OfferFacts,
    options: WorkerHostOptions,
  ) {
    this.thread = thread;
    this.device = device;
    this.offer = offer;
    this.options = options;
  }

  /**
   * Makes the device in a thread of its own, or in one it shares.
   * @throws whatever making the device throws there
   */
  static start(options: WorkerHostOptions): Promise<WorkerHost> {
    const thread = threadForDevice();
    return new Promise((resolve, reject) => {
      let host: WorkerHost | undefined;
      const device = thread.add(options.start, {
        heard: (message) => {
          if (host !== undefined) {
            host.heard(message);
          } else if (message.kind === 'unfit') {
            thread.release(device);
            reject(new ControlError(message.code as ErrorCode, message.why));
          } else if (message.kind === 'log') {
            options.log[message.level](message.fields, message.message);
          } else {
            assert(message.kind === 'ready', 'a data plane speaks before it is ready');
            host = new WorkerHost(thread, device, message.offer, options);
            resolve(host);
          }
        },
        threadDied: (why) => {
          if (host !== undefined) host.died(why);
          else reject(new ControlError('io', `its data plane cannot start: ${why}`));
        },
      });
    });
  }

  /** The mirror begins to heal and to record. */
  go(): void {
    this.say({ kind: 'go' });
  }

  /** Gives a client to the device; its descriptors are the thread's from now on. */
  connect(id: number, fds: ClientFds, early: Uint8Array, agreed: Agreement): void {
    if (this.dead) closeClient(fds);
    else this.say({ kind: 'connect', id, fds, early, agreed });
  }

  hangUp(id: number): void {
    this.say({ kind: 'hang-up', id });
  }

  standDown(id: number): void {
    this.say({ kind: 'stand-down', id });
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
    assert(!this.settled, 'a device was settled twice');
    this.settled = true;
    const errno = (await this.ask({ name: 'settle' })) as number;
    this.dead = true;
    this.thread.release(this.device);
    return errno;
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
    if (!this.dead) this.thread.say(this.device, message);
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

  private died(why: string): void {
    this.dead = true;
    const error = new ControlError('io', 'its data plane has ended');
    for (const { reject } of this.waiting.values()) reject(error);
    this.waiting.clear();
    if (!this.settled) this.options.onDeath(why);
  }
}
