/** The control thread's end of the tunnels in which remote legs speak TLS. */
import { assert } from '../../core/base/assert.ts';
import { hasSyscalls, loadSyscalls, type Syscalls } from '../sys/syscalls.ts';
import type { Fate, FromTunnel, ToTunnel } from './messages.ts';
import type { ServerTrust } from './server-trust.ts';
import { TlsThread, type TlsThreadOwner } from './thread.ts';

export type { Fate } from './messages.ts';

/** A server behind TLS: the descriptor of its plain bytes, and how its own socket will have ended. */
export interface Tunnel {
  readonly fd: number;
  readonly fate: Promise<Fate>;
}

export interface TunnelAttempt {
  /** Rejected with an Error whose message says why; nothing is left then. */
  readonly done: Promise<Tunnel>;
  abandon(): void;
}

const ENTRY = new URL('./tunnel-main.js', import.meta.url);

interface Digging {
  readonly fd: number;
  readonly resolve: (tunnel: Tunnel) => void;
  readonly reject: (error: Error) => void;
}

/** One thread for all legs of the process; it starts with the first. */
class Tunnels implements TlsThreadOwner<ToTunnel, FromTunnel> {
  private readonly calls: Syscalls;
  private readonly thread = new TlsThread<ToTunnel, FromTunnel>(ENTRY, this);
  private readonly digging = new Map<number, Digging>();
  private readonly fates = new Map<number, (fate: Fate) => void>();
  private count = 0;

  constructor(calls: Syscalls) {
    this.calls = calls;
  }

  start(fd: number, trust: ServerTrust): TunnelAttempt {
    const copy = this.calls.dup(fd);
    const pair = this.calls.socketPair();
    if (copy < 0 || pair === undefined) {
      if (copy >= 0) this.calls.close(copy);
      return failed('no file descriptors left');
    }
    this.count += 1;
    const id = this.count;
    const [ours, innerFd] = pair;
    const done = new Promise<Tunnel>((resolve, reject) => {
      this.digging.set(id, { fd: ours, resolve, reject });
    });
    this.thread.ask({ kind: 'server', id, fd: copy, innerFd, trust });
    return { done, abandon: () => this.thread.tell({ kind: 'abandon', id }) };
  }

  greeting(): readonly ToTunnel[] {
    return [];
  }

  heard(message: FromTunnel): void {
    const { id } = message;
    if (message.kind === 'ended') {
      this.fates.get(id)?.({ byServer: message.byServer, why: message.why });
      this.fates.delete(id);
      return;
    }
    const digging = this.digging.get(id);
    assert(digging !== undefined, 'TLS speaks of a server that nobody has');
    this.digging.delete(id);
    if (message.kind === 'failed') {
      this.calls.close(digging.fd);
      digging.reject(new Error(message.why));
      return;
    }
    const fate = new Promise<Fate>((tell) => this.fates.set(id, tell));
    digging.resolve({ fd: digging.fd, fate });
  }

  /** The next server gets a new thread. What was under way on the others nobody has seen to its end. */
  died(why: string): void {
    for (const { fd, reject } of this.digging.values()) {
      this.calls.close(fd);
      reject(new Error(why));
    }
    this.digging.clear();
    for (const tell of this.fates.values()) tell({ byServer: false, why });
    this.fates.clear();
  }
}

let tunnels: Tunnels | undefined;

/** `fd` is duplicated before this returns, and stays the caller's to close. */
export function startTunnel(fd: number, trust: ServerTrust): TunnelAttempt {
  const calls = loadSyscalls();
  if (!hasSyscalls(calls)) return failed(`TLS needs native system calls: ${calls.reason}`);
  tunnels ??= new Tunnels(calls);
  return tunnels.start(fd, trust);
}

function failed(why: string): TunnelAttempt {
  const done = Promise.reject<Tunnel>(new Error(why));
  return { done, abandon: () => undefined };
}
