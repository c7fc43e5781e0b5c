/** How a remote leg's connections reach the thread of its device. */
import { assert } from '../../core/base/assert.ts';
import { fdOf } from '../net/socket-taker.ts';
import type { LinkTaker } from '../remote/leg.ts';
import { dup } from '../uring/syscall.ts';
import type { WorkerHost } from './host.ts';

export function workerTaker(id: number, host: WorkerHost): LinkTaker {
  return {
    take: (slot, socket, facts) => {
      const fd = fdOf(socket.socket);
      if (fd === undefined) return undefined;
      const copy = dup(fd);
      assert(copy >= 0, 'no descriptor for a connection');
      socket.destroy();
      const { isStructured, allocationId = null } = facts;
      host.tellLeg({ kind: 'leg-link', id, slot, fd: copy, isStructured, allocationId });
      return copy;
    },
    fenced: (slot) => host.tellLeg({ kind: 'leg-fenced', id, slot }),
    refused: (why) => host.tellLeg({ kind: 'leg-refused', id, why }),
  };
}
