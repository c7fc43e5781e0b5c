/** From a URI to a server that has agreed to serve: connect and handshake, within a time. */
import { ClientHandshake, type ServerFacts } from '../../core/nbd/client-handshake.ts';
import type { NbdUri } from '../../core/nbd/uri.ts';
import { fdOf } from '../net/socket-taker.ts';
import { loadServerTrust, type ServerTrust } from '../tls/server-trust.ts';
import { startTunnel, type TunnelAttempt } from '../tls/tunnel.ts';
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
    let trust: ServerTrust | null;
    try {
      trust = uri.tls === null ? null : loadServerTrust(uri.tls);
    } catch (error) {
      reject(new ConnectError((error as Error).message, false));
      return;
    }
    const connecting = new Connecting(uri, trust, timeoutMs, resolve, reject);
    cancel = () => connecting.fail('given up', true);
  });
  return { connected, cancel: () => cancel() };
}

class Connecting {
  /** Behind TLS it takes the place of the one that was connected. */
  private socket: RemoteSocket;
  private readonly trust: ServerTrust | null;
  private tunnel: TunnelAttempt | null = null;
  private readonly handshake: ClientHandshake;
  private readonly timer: NodeJS.Timeout;
  private readonly resolve: (connected: Connected) => void;
  private readonly reject: (error: ConnectError) => void;
  private isOpen = false;
  private isGivenUp = false;

  constructor(
    uri: NbdUri,
    trust: ServerTrust | null,
    timeoutMs: number,
    resolve: (connected: Connected) => void,
    reject: (error: ConnectError) => void,
  ) {
    this.trust = trust;
    this.resolve = resolve;
    this.reject = reject;
    this.timer = setTimeout(() => {
      const greets = this.tunnel === null ? 'the server does not greet' : 'no end of its handshake';
      const what = this.isOpen ? greets : 'no answer';
      this.fail(`${what} within ${timeoutMs} ms`, true);
    }, timeoutMs);
    this.socket = RemoteSocket.connect(uri, () => {
      this.isOpen = true;
    });
    const sink = { write: (bytes: Uint8Array) => this.socket.socket.write(bytes) };
    this.handshake = new ClientHandshake(uri.exportName, sink, trust !== null);
    this.listen();
  }

  private listen(): void {
    this.socket.use({
      received: (bytes, count) => this.received(bytes, count),
      // What TLS has to say (our certificate, say) is a server's no, not its absence.
      ended: (code) => {
        const why = code === '' ? this.hungUp() : wordsOf(code);
        this.fail(why, this.tunnel === null || code === '');
      },
    });
  }

  /** With TLS 1.3 a server says no to our certificate when the handshake is over, often without a word. */
  private hungUp(): string {
    if (this.tunnel === null || this.trust?.psk !== null) {
      return 'the server hung up in the handshake';
    }
    const reason =
      this.trust.cert === null ? 'want a client certificate' : 'not believe our certificate';
    return `the server hung up after the TLS handshake: it may ${reason}`;
  }

  fail(why: string, isAbsence: boolean): void {
    clearTimeout(this.timer);
    this.isGivenUp = true;
    this.tunnel?.abandon();
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
    } else if (handshake.state === 'TLS') void this.secure();
    else if (handshake.facts !== undefined) {
      clearTimeout(this.timer);
      this.socket.detach();
      this.resolve({ socket: this.socket, facts: handshake.facts });
    }
  }

  /** The socket goes to the TLS thread; the handshake goes on on what comes back. */
  private async secure(): Promise<void> {
    const { trust, socket } = this;
    const fd = fdOf(socket.socket);
    if (trust === null || fd === undefined) {
      this.fail('the server hung up in the handshake', true);
      return;
    }
    const peer = socket.peer();
    this.tunnel = startTunnel(fd, trust);
    socket.destroy();
    try {
      this.socket = RemoteSocket.behindTls(await this.tunnel.done, peer);
    } catch (error) {
      this.fail((error as Error).message, false);
      return;
    }
    if (this.isGivenUp) {
      this.socket.destroy();
      return;
    }
    this.listen();
    this.handshake.secured();
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
