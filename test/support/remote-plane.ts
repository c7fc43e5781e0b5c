import { setTimeout as sleep } from 'node:timers/promises';

import { SILENT_LOG } from '../../core/base/ports.ts';
import type { BlockDevice } from '../../core/block/device.ts';
import { NODE_CLOCK } from '../../daemon/clock.ts';
import { fdOf } from '../../daemon/net/socket-taker.ts';
import { createNodeLoop } from '../../daemon/node-loop.ts';
import { openRemoteLeg } from '../../daemon/remote/leg.ts';
import { dup } from '../../daemon/uring/syscall.ts';
import { WorkerRemoteLeg } from '../../daemon/worker/remote-leg.ts';
import { pollingPlane } from './uring-plane.ts';

const SETTLE_LIMIT_MS = 5000;

/** A remote leg on a data plane in the test's own thread; what threads say to each other is called. */
export async function legOnPlane(
  uri: string,
  readOnly: boolean,
): Promise<{ readonly device: BlockDevice; close(): Promise<void> }> {
  const polling = pollingPlane();
  const { plane } = polling;
  const loop = createNodeLoop();
  const leg = await openRemoteLeg(uri, { loop, clock: NODE_CLOCK, log: SILENT_LOG, readOnly });
  const { id } = leg.plan;
  const there = new WorkerRemoteLeg(uri, leg.plan, plane, SILENT_LOG, (message) => {
    if (message.kind === 'leg-connect') leg.connectAway(message.slot);
    else leg.fenceAway(message.slot, message.isOver);
  });
  leg.handTo({
    take: (slot, made, facts) => {
      const fd = dup(fdOf(made.socket) ?? -1);
      made.destroy();
      const { isStructured, allocationId = null } = facts;
      there.heard({ kind: 'leg-link', id, slot, fd, isStructured, allocationId });
      return fd;
    },
    fenced: (slot) => there.heard({ kind: 'leg-fenced', id, slot }),
    refused: (why) => there.heard({ kind: 'leg-refused', id, why }),
  });
  // Its own FLUSH, when it has connected: what is in flight at the end is somebody else's.
  while (there.device.inFlight > 0) await sleep(1);
  return {
    device: there.device,
    close: async () => {
      // Its second connection may be looked at only now.
      for (let i = 0; there.device.inFlight > 0 && i < SETTLE_LIMIT_MS; i += 1) await sleep(1);
      expect(there.device.inFlight).toBe(0);
      await polling.stop();
      await leg.close();
    },
  };
}
