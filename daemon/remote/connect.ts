/** From a URI to a server that has agreed to serve: connect and handshake, within a time. */
import { ClientHandshake, type ServerFacts } from '../../core/nbd/client-handshake.ts';
import type { NbdUri } from '../../core/nbd/uri.ts';
import { RemoteSocket } from './socket.ts';

export interface Connected {
  readonly socket: RemoteSocket;
  readonly facts: ServerFacts;
}

/** Why there is no connection: the end of a sentence. */
export class ConnectError extends Error {
  override readonly name = 'ConnectError';
  /** Nobody is there, or not yet; else somebody is who cannot be used. */
  readonly isAbsence: boolean;

  constructor(message: string, isAbsence: boolean) {
    super(message);
    this.isAbsence = isAbsence;
  }
}

export interface Attempt {
  readonly connected: Promise<Connected>;
  cancel(): void;
}

/** `connected` is rejected with a ConnectError; nothing is left open then. */
export function connect(uri: NbdUri, timeoutMs: number): Attempt {
  let cancel = (): void => undefined;
  const connected = new Promise<Connected>((resolve, reject) => {
    const connecting = new Connecting(uri, timeoutMs, resolve, reject);
    cancel = () => connecting.fail('given up', true);
  });
  return { connected, cancel: () => cancel() };
}

class Connecting {
  private readonly socket: RemoteSocket;
  private readonly handshake: ClientHandshake;
  private readonly timer: NodeJS.Timeout;
  private readonly resolve: (connected: Connected) => void;
  private readonly reject: (error: ConnectError) => void;
  private isOpen = false;

  constructor(
    uri: NbdUri,
    timeoutMs: number,
    resolve: (connected: Connected) => void,
    reject: (error: ConnectError) => void,
  ) {
    this.resolve = resolve;
    this.reject = reject;
    this.timer = setTimeout(() => {
      const what = this.isOpen ? 'the server does not greet' : 'no answer';
      this.fail(`${what} within ${timeoutMs} ms`, true);
    }, timeoutMs);
    this.socket = new RemoteSocket(uri, () => {
      this.isOpen = true;
    });
    this.handshake = new ClientHandshake(uri.exportName, {
      write: (bytes) => this.socket.socket.write(bytes),
    });
    this.socket.use({
      received: (bytes, count) => this.received(bytes, count),
      ended: (code) =>
        this.fail(code === '' ? 'the server hung up in the handshake' : wordsOf(code), true),
    });
  }

  fail(why: string, isAbsence: boolean): void {
    clearTimeout(this.timer);
    this.socket.destroy();
    this.reject(new ConnectError(why, isAbsence));
  }

  private received(bytes: Uint8Array, count: number): void {
    const { handshake } = this;
    const taken = handshake.consume(bytes, 0, count);
    if (handshake.state === 'CLOSED') {
      this.fail(handshake.failure, handshake.isUnknownExport);
    } else if (taken < count) {
      this.fail('the server speaks before it is asked', false);
    } else if (handshake.facts !== undefined) {
      clearTimeout(this.timer);
      this.socket.detach();
      this.resolve({ socket: this.socket, facts: handshake.facts });
    }
  }
}

const WORDS: Readonly<Record<string, string>> = {
  ECONNREFUSED: 'nobody listens there',
  ENOENT: 'there is no such socket',
  ENOTFOUND: 'there is no host of that name',
  EAI_AGAIN: 'the name of the host cannot be looked up now',
  EHOSTUNREACH: 'there is no way to that host',
  ENETUNREACH: 'there is no way to that network',
  ECONNRESET: 'the server hung up in the handshake',
  EACCES: 'permission denied',
  ENOTSOCK: 'that is no socket',
  ETIMEDOUT: 'no answer',
};

export function wordsOf(code: string): string {
  return WORDS[code] ?? code;
}
