/** A socket to an NBD server, read into one buffer that is used again and again. */
import { createConnection, Socket, type OnReadOpts, type SocketConstructorOpts } from 'node:net';

import type { NbdUri } from '../../core/nbd/uri.ts';
import type { Fate, Tunnel } from '../tls/tunnel.ts';

const READ_BYTES = 256 * 2 ** 10;
/** A peer that has vanished is found out in half a minute, also by a fence that only waits. */
const KEEP_ALIVE_MS = 10_000;

/** Who is told what a socket has to say. Replaced when the handshake is over. */
export interface SocketUser {
  received(bytes: Uint8Array, count: number): void;
  /** Once, the last thing said. `code`: Node's name of the errno; empty: the server closed it. */
  ended(code: string): void;
}

const NOBODY: SocketUser = { received: () => undefined, ended: () => undefined };

export class RemoteSocket {
  readonly socket: Socket;
  /** Where it really leads: the same for two names of one host. */
  readonly peer: () => string | undefined;
  /** Behind TLS: how the server's own socket will have ended, which this one cannot tell. */
  readonly fate: Promise<Fate> | null;
  private user: SocketUser = NOBODY;
  /** Undefined while it lives. */
  private endCode: string | undefined;

  private constructor(
    open: (onread: OnReadOpts) => Socket,
    fate: Promise<Fate> | null,
    peer: () => string | undefined,
  ) {
    this.fate = fate;
    this.peer = peer;
    this.socket = open({
      buffer: Buffer.allocUnsafeSlow(READ_BYTES),
      callback: (count, buffer) => {
        this.user.received(buffer, count);
        return true;
      },
    });
    this.socket.on('error', (error: NodeJS.ErrnoException) =>
      this.end(error.code ?? error.message),
    );
    this.socket.on('end', () => this.end(''));
    this.socket.on('close', () => this.end(''));
  }

  static connect({ address }: NbdUri, onConnect: () => void): RemoteSocket {
    const where =
      address.kind === 'unix' ? { path: address.path } : { host: address.host, port: address.port };
    const keep = { noDelay: true, keepAlive: true, keepAliveInitialDelay: KEEP_ALIVE_MS };
    let socket: Socket | undefined;
    const peer = (): string | undefined => {
      const { remoteAddress, remotePort } = socket ?? {};
      return remoteAddress === undefined ? undefined : `${remoteAddress}:${remotePort ?? 0}`;
    };
    const open = (onread: OnReadOpts): Socket =>
      (socket = createConnection({ ...where, onread, ...keep }, onConnect));
    return new RemoteSocket(open, null, peer);
  }

  /** The plain bytes of a server behind TLS; `fd` is the socket's from now on. */
  static behindTls({ fd, fate }: Tunnel, peer: string | undefined): RemoteSocket {
    // Node takes `onread` here as in `connect`; its types have it there only.
    const open = (onread: OnReadOpts): Socket =>
      new Socket({ fd, readable: true, writable: true, onread } as SocketConstructorOpts);
    return new RemoteSocket(open, fate, () => peer);
  }

  /** From now on `user` is told; an end that nobody was there to hear is told again. */
  use(user: SocketUser): void {
    this.user = user;
    const code = this.endCode;
    if (code !== undefined) setImmediate(() => this.user.ended(code));
  }

  /** Nobody listens any more. */
  detach(): Socket {
    this.user = NOBODY;
    return this.socket;
  }

  destroy(): void {
    this.detach().destroy();
  }

  private end(code: string): void {
    if (this.endCode !== undefined) return;
    if (this.fate === null) this.tell(code);
    else void this.fate.then(({ byServer, why }) => this.tell(byServer ? '' : why));
  }

  private tell(code: string): void {
    if (this.endCode !== undefined) return;
    this.endCode = code;
    this.user.ended(code);
  }
}
