import { setImmediate as turn } from 'node:timers/promises';

import { DataPlane } from '../../daemon/uring/plane.ts';
import { eventfd } from '../../daemon/uring/syscall.ts';

/** A data plane in the test's own thread, turned by Node's loop instead of sleeping. */
export function pollingPlane(): { readonly plane: DataPlane; stop(): Promise<void> } {
  const plane = new DataPlane({ arenaBytes: 64 * 2 ** 20, maxConnections: 4 }, eventfd());
  let stopped = false;
  const running = (async () => {
    while (!stopped) {
      plane.poll();
      await turn();
    }
  })();
  return {
    plane,
    stop: async () => {
      stopped = true;
      await running;
      plane.close();
    },
  };
}
