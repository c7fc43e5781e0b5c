/** Entry of a data-plane thread. */
import { parentPort, workerData } from 'node:worker_threads';

import { assert } from '../../core/base/assert.ts';
import { WorkerDevice } from './device.ts';
import type { WorkerStart } from './messages.ts';

assert(parentPort !== null, 'this file is the entry of a worker thread');
new WorkerDevice(workerData as WorkerStart, parentPort).run();
process.exit(0);
