/** Entry of a data-plane thread. */
import { parentPort, workerData, type MessagePort } from 'node:worker_threads';

import { assert } from '../../core/base/assert.ts';
import { ControlError } from '../../core/control/error.ts';
import { WorkerDevice } from './device.ts';
import type { FromWorker, WorkerStart } from './messages.ts';

assert(parentPort !== null, 'this file is the entry of a worker thread');
const device = make(workerData as WorkerStart, parentPort);
device?.run();
process.exit(0);

function make(start: WorkerStart, port: MessagePort): WorkerDevice | undefined {
  try {
    return new WorkerDevice(start, port);
  } catch (error) {
    // An error's class does not survive the way to the other thread.
    if (!(error instanceof ControlError)) throw error;
    const refusal: FromWorker = { kind: 'unfit', code: error.code, why: error.message };
    port.postMessage(refusal);
    return undefined;
  }
}
