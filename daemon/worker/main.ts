/** Entry of a data-plane thread: one plane, and the devices that live on it. */
import { parentPort, receiveMessageOnPort, workerData } from 'node:worker_threads';
import type { MessagePort } from 'node:worker_threads';

import { assert } from '../../core/base/assert.ts';
import { ControlError } from '../../core/control/error.ts';
import { DataPlane } from '../uring/plane.ts';
import { closeClient } from './client-fds.ts';
import { WorkerDevice } from './device.ts';
import type { FromThread, ThreadStart, ToThread, WorkerStart } from './messages.ts';

class Thread {
  private readonly port: MessagePort;
  private readonly plane: DataPlane;
  private readonly devices = new Map<number, WorkerDevice>();

  constructor({ wakeFd, ...options }: ThreadStart, port: MessagePort) {
    this.port = port;
    this.plane = new DataPlane(options, wakeFd);
    this.plane.onMessage = () => this.readMessages();
  }

  /** Serves until no device is left. Blocks the thread. */
  run(): void {
    // What was said before there was somebody to be woken.
    this.readMessages();
    this.plane.run();
  }

  private readMessages(): void {
    for (;;) {
      const received = receiveMessageOnPort(this.port) as
        { readonly message: ToThread } | undefined;
      if (received === undefined) return;
      this.handle(received.message);
    }
  }

  private handle(message: ToThread): void {
    switch (message.kind) {
      case 'add':
        this.add(message.device, message.start);
        return;
      case 'device': {
        const device = this.devices.get(message.device);
        if (device !== undefined) device.handle(message.message);
        // It has ended a moment ago.
        else if (message.message.kind === 'connect') closeClient(message.message.fds);
        return;
      }
      case 'stall-timeout':
        this.plane.setStallTimeout(message.stallTimeoutMs);
        return;
      case 'end':
        this.plane.stop();
    }
  }

  private add(number: number, start: WorkerStart): void {
    const say = (message: FromThread['message']): void => {
      this.port.postMessage({ device: number, message } satisfies FromThread);
    };
    try {
      const { plane } = this;
      const deviceAt = (below: number) => this.devices.get(below)?.mapped;
      const deviceEnded = (): void => void this.devices.delete(number);
      this.devices.set(number, new WorkerDevice(start, { plane, say, deviceEnded, deviceAt }));
    } catch (error) {
      // An error's class does not survive the way to the other thread.
      if (!(error instanceof ControlError)) throw error;
      say({ kind: 'unfit', code: error.code, why: error.message });
    }
  }
}

assert(parentPort !== null, 'this file is the entry of a worker thread');
new Thread(workerData as ThreadStart, parentPort).run();
process.exit(0);
