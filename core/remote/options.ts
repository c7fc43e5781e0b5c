import type { Clock } from '../base/ports.ts';
import type { Loop } from '../block/loop.ts';
import type { ServerFacts } from '../nbd/client-handshake.ts';
import type { RemoteLink } from './link.ts';
import type { RemoteReport } from './report.ts';
import type { Remembered } from './witness.ts';

/** Who connects, and who sees lost connections to their end. README.md has the rules. */
interface RemoteHost {
  /** Answered by `device.connected(slot)`, or by `refused`; tried again and again until then. */
  connect(slot: number): void;
  /**
   * Nothing more is sent on the link. Answered by `device.fenced(slot)` when nothing that was sent on
   * it can take effect any more. `link.isOver`: the server has ended it.
   */
  fence(link: RemoteLink): void;
}

export interface RemoteDeviceOptions {
  readonly name: string;
  readonly facts: ServerFacts;
  readonly readOnly: boolean;
  readonly timeoutMs: number;
  /** Links to have at once. */
  readonly links: number;
  readonly loop: Loop;
  readonly clock: Clock;
  readonly report: RemoteReport;
  readonly host: RemoteHost;
  /** What an earlier device of the same export knew, if it must hold that still. */
  readonly remembered?: readonly Remembered[];
}
