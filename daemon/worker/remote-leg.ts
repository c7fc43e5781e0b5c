/** A remote leg in a device's thread: the data moves here, connections come from the control thread. */
import type { Log } from '../../core/base/ports.ts';
import { RemoteDevice } from '../../core/remote/device.ts';
import { RemoteLink } from '../../core/remote/link.ts';
import { RemoteReport } from '../../core/remote/report.ts';
import type { RemotePlan } from '../remote/leg.ts';
import type { DataPlane } from '../uring/plane.ts';
import { LinkPlace, UringLink } from '../uring/remote-link.ts';
import type { FromWorkerLeg, ToWorkerLeg } from './messages.ts';

export class WorkerRemoteLeg {
  readonly device: RemoteDevice;
  private readonly plane: DataPlane;
  private readonly places: LinkPlace[] = [];

  constructor(
    path: string,
    plan: RemotePlan,
    plane: DataPlane,
    log: Log,
    say: (message: FromWorkerLeg) => void,
  ) {
    const { id, facts, readOnly, timeoutMs, links, remembered } = plan;
    this.plane = plane;
    this.device = new RemoteDevice({
      name: path,
      facts,
      readOnly,
      timeoutMs,
      links,
      remembered,
      loop: plane.loop,
      clock: plane.clock,
      report: new RemoteReport(path, log),
      host: {
        connect: (slot) => say({ kind: 'leg-connect', id, slot }),
        fence: ({ slot, isOver }) => say({ kind: 'leg-fence', id, slot, isOver }),
      },
    });
  }

  heard(message: ToWorkerLeg): void {
    switch (message.kind) {
      case 'leg-link': {
        const { slot, fd, isStructured, allocationId } = message;
        const link = new RemoteLink(slot, this.device, isStructured, allocationId);
        // A slot's last link has let go of its memory before the next one comes.
        const place = (this.places[slot] ??= new LinkPlace(this.plane.memory));
        new UringLink(this.plane, fd, link, place);
        this.device.connected(link);
        return;
      }
      case 'leg-fenced':
        this.device.fenced(message.slot);
        return;
      case 'leg-refused':
        this.device.refused(message.why);
    }
  }
}
