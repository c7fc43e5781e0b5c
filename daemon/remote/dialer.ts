/** Keeps the connections of one leg: connects with a back-off, sees lost ones to their end. */
import type { Log } from '../../core/base/ports.ts';
import type { ServerFacts } from '../../core/nbd/client-handshake.ts';
import type { NbdUri } from '../../core/nbd/uri.ts';
import { difference, unfitness } from '../../core/remote/facts.ts';
import type { Fate } from '../tls/tunnel.ts';
import { connect, type Attempt } from './connect.ts';
import { fence, type Remains } from './fence.ts';
import type { RemoteSocket } from './socket.ts';

const FIRST_PAUSE_MS = 100;
const LONGEST_PAUSE_MS = 5000;
const CONNECT_TIMEOUT_MS = 5000;

/** A new connection may not take longer than a request. */
export function connectTimeoutMs({ timeoutMs }: NbdUri): number {
  return Math.min(timeoutMs, CONNECT_TIMEOUT_MS);
}

/** Where connections are used: in this thread or in that of a device. */
export interface LinkUser {
  connected(slot: number, socket: RemoteSocket, facts: ServerFacts): void;
  refused(why: string): void;
}

export interface DialerOptions {
  readonly uri: NbdUri;
  /** As the user knows the leg. */
  readonly name: string;
  readonly key: string;
  readonly facts: ServerFacts;
  readonly readOnly: boolean;
  readonly log: Log;
}

export class Dialer {
  user: LinkUser;
  private readonly options: DialerOptions;
  private readonly attempts = new Map<number, Attempt>();
  private readonly timers = new Map<number, NodeJS.Timeout>();
  private isComplaining = false;
  private isClosed = false;

  constructor(options: DialerOptions, user: LinkUser) {
    this.options = options;
    this.user = user;
  }

  connect(slot: number): void {
    this.after(slot, 0, FIRST_PAUSE_MS);
  }

  /** `then` is called unless the leg is closed meanwhile. */
  fence(remains: Remains, fate: Promise<Fate> | null, then: () => void): void {
    void fence(this.options.key, remains, fate).then(() => {
      if (!this.isClosed) then();
    });
  }

  close(): void {
    this.isClosed = true;
    for (const timer of this.timers.values()) clearTimeout(timer);
    for (const attempt of this.attempts.values()) attempt.cancel();
  }

  private after(slot: number, delayMs: number, pauseMs: number): void {
    const timer = setTimeout(() => void this.attempt(slot, pauseMs), delayMs);
    this.timers.set(slot, timer);
  }

  private async attempt(slot: number, pauseMs: number): Promise<void> {
    const { uri, facts, readOnly, name, log } = this.options;
    const attempt = connect(uri, connectTimeoutMs(uri));
    this.attempts.set(slot, attempt);
    try {
      const made = await attempt.connected;
      const why = difference(facts, made.facts) ?? unfitness(made.facts, readOnly) ?? '';
      if (why === '' && !this.isClosed) {
        this.isComplaining = false;
        this.user.connected(slot, made.socket, made.facts);
        return;
      }
      made.socket.destroy();
      if (this.isClosed) return;
      log.error({ leg: name, why }, 'another server answers where the remote leg was: refused');
      this.user.refused(`another server answers: ${why}`);
    } catch (error) {
      if (this.isClosed) return;
      const why = error instanceof Error ? error.message : String(error);
      if (!this.isComplaining) log.warn({ leg: name, why }, 'the remote leg cannot be reached');
      this.isComplaining = true;
      this.after(slot, pauseMs, Math.min(2 * pauseMs, LONGEST_PAUSE_MS));
    } finally {
      this.attempts.delete(slot);
    }
  }
}
