/** The control thread's end of the TLS thread. */
import { Socket } from 'node:net';

import { assert } from '../../core/base/assert.ts';
import { ControlError } from '../../core/control/error.ts';
import { hasSyscalls, loadSyscalls, type Syscalls } from '../sys/syscalls.ts';
import type { TlsCredentials } from './credentials.ts';
import type { FromTls, TlsPeer, ToTls } from './messages.ts';
import { TlsThread, type TlsThreadOwner } from './thread.ts';

const ENTRY = new URL('./main.js', import.meta.url);

/** A client behind TLS: its plain bytes, and who it is. */
export interface SecuredClient {
  readonly plain: Socket;
  readonly peer: TlsPeer;
}

/** A TLS handshake that may end well, badly, or be given up. */
export interface TlsAttempt {
  /** Rejected with an Error whose message says why. */
  readonly done: Promise<SecuredClient>;
  abandon(): void;
}

interface Waiting {
  readonly ours: number;
  readonly resolve: (client: SecuredClient) => void;
  readonly reject: (error: Error) => void;
}

/** Ends the TLS of clients in a thread of its own. The thread starts with the first client. */
export class TlsTerminator implements TlsThreadOwner<ToTls, FromTls> {
  private credentials: TlsCredentials;
  private readonly calls: Syscalls;
  private readonly thread = new TlsThread<ToTls, FromTls>(ENTRY, this);
  private readonly waiting = new Map<number, Waiting>();
  private clients = 0;

  /** @throws ControlError unsupported: a system without the calls it takes */
  constructor(credentials: TlsCredentials) {
    const calls = loadSyscalls();
    if (!hasSyscalls(calls)) {
      throw new ControlError('unsupported', `TLS needs native system calls: ${calls.reason}`);
    }
    this.credentials = credentials;
    this.calls = calls;
  }

  /** For the clients to come; those connected keep what they have. */
  reload(credentials: TlsCredentials): void {
    this.credentials = credentials;
    this.thread.tell({ kind: 'credentials', credentials });
  }

  /** `fd` is duplicated before this returns, and stays the caller's to close. */
  start(fd: number, early: Uint8Array, timeoutMs: number): TlsAttempt {
    const copy = this.calls.dup(fd);
    const pair = this.calls.socketPair();
    if (copy < 0 || pair === undefined) {
      if (copy >= 0) this.calls.close(copy);
      const done = Promise.reject<SecuredClient>(new Error('no file descriptors left'));
      return { done, abandon: () => undefined };
    }
    this.clients += 1;
    const id = this.clients;
    const [ours, innerFd] = pair;
    const done = new Promise<SecuredClient>((resolve, reject) => {
      this.waiting.set(id, { ours, resolve, reject });
    });
    this.thread.ask({ kind: 'client', id, fd: copy, innerFd, early, timeoutMs });
    return { done, abandon: () => this.thread.tell({ kind: 'abandon', id }) };
  }

  /** Clients still behind it are cut off. */
  async close(): Promise<void> {
    await this.thread.terminate();
  }

  greeting(): readonly ToTls[] {
    return [{ kind: 'credentials', credentials: this.credentials }];
  }

  heard(message: FromTls): void {
    const waiting = this.waiting.get(message.id);
    assert(waiting !== undefined, 'TLS speaks of a client that nobody has');
    this.waiting.delete(message.id);
    if (message.kind === 'failed') {
      this.calls.close(waiting.ours);
      waiting.reject(new Error(message.why));
      return;
    }
    const ends = { readable: true, writable: true, allowHalfOpen: true };
    waiting.resolve({ plain: new Socket({ fd: waiting.ours, ...ends }), peer: message.peer });
  }

  /** The next client gets a new thread. */
  died(why: string): void {
    for (const [id, { ours, reject }] of this.waiting) {
      this.waiting.delete(id);
      this.calls.close(ours);
      reject(new Error(why));
    }
  }
}
