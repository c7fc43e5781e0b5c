/** The export of a device that lives in a data-plane thread, as the control thread shows it. */
import { assert } from '../../core/base/assert.ts';
import type { Agreement } from '../../core/nbd/agreement.ts';
import type { ClientFds, SocketTaker, TakenClient } from '../net/socket-taker.ts';
import { dup } from '../uring/syscall.ts';
import type { WorkerHost } from './host.ts';
import type { OfferFacts } from './messages.ts';

export class WorkerOffer implements SocketTaker {
  readonly name: string;
  readonly description = '';
  private readonly host: WorkerHost;
  private readonly facts: OfferFacts;
  private readonly clients = new Map<number, (why: string) => void>();
  private takes = 0;
  private shutdown: Promise<void> | undefined;
  private isIdle = false;

  constructor(name: string, host: WorkerHost) {
    this.name = name;
    this.host = host;
    this.facts = host.offer;
  }

  get sizeBytes(): number {
    return this.facts.sizeBytes;
  }

  get readOnly(): boolean {
    return this.facts.readOnly;
  }

  get transmissionFlags(): number {
    return this.facts.transmissionFlags;
  }

  get logicalBlockBytes(): number {
    return this.facts.logicalBlockBytes;
  }

  get preferredBlockBytes(): number {
    return this.facts.preferredBlockBytes;
  }

  get contexts(): readonly string[] {
    return this.facts.contexts;
  }

  get connections(): number {
    return this.clients.size;
  }

  /** Not counted here: 1 stands for "perhaps" until the thread has said that there is none. */
  get requestsInFlight(): number {
    return this.isIdle || this.clients.size === 0 ? 0 : 1;
  }

  get isShuttingDown(): boolean {
    return this.shutdown !== undefined;
  }

  beginShutdown(): Promise<void> {
    this.shutdown ??= this.host.shutDown().then(() => {
      this.isIdle = true;
    });
    return this.shutdown;
  }

  take(
    fds: ClientFds,
    early: Uint8Array,
    agreed: Agreement,
    ended: (why: string) => void,
  ): TakenClient {
    const input = ownCopy(fds.input);
    const output = fds.output === fds.input ? input : ownCopy(fds.output);
    this.takes += 1;
    const id = this.takes;
    this.clients.set(id, ended);
    this.host.connect(id, { input, output }, early, agreed);
    return {
      hangUp: () => this.host.hangUp(id),
      standDown: () => this.host.standDown(id),
    };
  }

  /** The thread has closed a client. */
  closed(id: number, why: string): void {
    const ended = this.clients.get(id);
    this.clients.delete(id);
    ended?.(why);
  }

  /** The thread is gone, and with it every client. */
  died(): void {
    this.isIdle = true;
    for (const id of [...this.clients.keys()]) this.closed(id, 'its data plane has ended');
  }
}

/** The descriptor of the same stream, for the thread to close. */
function ownCopy(fd: number): number {
  const own = dup(fd);
  assert(own >= 0, 'a descriptor that cannot be duplicated');
  return own;
}
