/** The data-plane threads of this process: one a device up to a number, shared by more devices. */
import { writeSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { Worker } from 'node:worker_threads';

import { assert } from '../../core/base/assert.ts';
import { DEFAULT_LIMITS, type ServerLimits } from '../net/limits.ts';
import { close, eventfd } from '../uring/syscall.ts';
import type { FromThread, FromWorker, ThreadStart, ToThread, ToWorker } from './messages.ts';
import type { WorkerStart } from './messages.ts';

/** Payload memory of a thread, whatever the number of its devices: two of the largest requests. */
const ARENA_BYTES = 64 * 2 ** 20;
/** More threads than CPUs only wait for each other; below, each device has its own. */
const MOST_THREADS = Math.min(16, Math.max(2, availableParallelism()));

/** What a device's host hears of its thread. */
export interface DeviceEars {
  heard(message: FromWorker): void;
  /** The thread has ended although nobody asked it to; called once, nothing comes after. */
  threadDied(why: string): void;
}

const WAKE = new BigUint64Array([1n]);

/** Of the server's limits, what a thread has to hold itself. */
export type ThreadLimits = Pick<ServerLimits, 'maxConnections' | 'stallTimeoutMs'>;

let limits: ThreadLimits = DEFAULT_LIMITS;

/** One thread, as the control thread sees it. */
export class PlaneThread {
  /** Connections it has room for. */
  readonly places = Math.max(limits.maxConnections, DEFAULT_LIMITS.maxConnections);
  private readonly worker: Worker;
  private readonly wakeFd: number;
  private readonly ears = new Map<number, DeviceEars>();
  private readonly ended: () => void;
  private lastDevice = 0;
  private isEnding = false;
  private isDead = false;

  /** `ended`: it takes no more devices. */
  constructor(ended: () => void) {
    this.ended = ended;
    this.wakeFd = eventfd();
    assert(this.wakeFd >= 0, 'no eventfd');
    const workerData: ThreadStart = {
      wakeFd: this.wakeFd,
      arenaBytes: ARENA_BYTES,
      maxConnections: this.places,
      stallTimeoutMs: limits.stallTimeoutMs,
    };
    this.worker = new Worker(new URL('./main.js', import.meta.url), { workerData });
    this.worker.on('message', ({ device, message }: FromThread) => {
      this.ears.get(device)?.heard(message);
    });
    this.worker.on('error', (error: Error) => this.died(error.stack ?? error.message));
    this.worker.on('exit', (code) => {
      this.died(`exit code ${String(code)}`);
      close(this.wakeFd);
    });
  }

  get devices(): number {
    return this.ears.size;
  }

  /** One more device; the number by which it is spoken to. */
  add(start: WorkerStart, ears: DeviceEars): number {
    this.lastDevice += 1;
    this.ears.set(this.lastDevice, ears);
    this.post({ kind: 'add', device: this.lastDevice, start });
    return this.lastDevice;
  }

  say(device: number, message: ToWorker): void {
    this.post({ kind: 'device', device, message });
  }

  /** The device has ended; with the last one the thread does. */
  release(device: number): void {
    this.ears.delete(device);
    if (this.ears.size > 0 || this.isEnding || this.isDead) return;
    this.isEnding = true;
    this.ended();
    this.post({ kind: 'end' });
  }

  setStallTimeout(stallTimeoutMs: number): void {
    this.post({ kind: 'stall-timeout', stallTimeoutMs });
  }

  private post(message: ToThread): void {
    if (this.isDead) return;
    this.worker.postMessage(message);
    writeSync(this.wakeFd, WAKE);
  }

  private died(why: string): void {
    if (this.isDead) return;
    this.isDead = true;
    if (!this.isEnding) this.ended();
    const ears = [...this.ears.values()];
    this.ears.clear();
    for (const one of ears) one.threadDied(why);
  }
}

const threads = new Set<PlaneThread>();

/**
 * For threads to come, and the time-out for all. Returns how many connections each thread has room
 * for: one that is running gets no more.
 */
export function setThreadLimits(next: ThreadLimits): number {
  limits = next;
  for (const one of threads) one.setStallTimeout(next.stallTimeoutMs);
  return Math.min(next.maxConnections, ...[...threads].map(({ places }) => places));
}

/** The thread for one more device: a new one, or the one with the fewest when there are enough. */
export function threadForDevice(): PlaneThread {
  if (threads.size < MOST_THREADS) {
    const thread: PlaneThread = new PlaneThread(() => threads.delete(thread));
    threads.add(thread);
    return thread;
  }
  return [...threads].reduce((least, one) => (one.devices < least.devices ? one : least));
}
