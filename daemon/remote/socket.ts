/** A socket to an NBD server, read into one buffer that is used again and again. */
import { createConnection, type Socket } from 'node:net';

import type { NbdUri } from '../../core/nbd/uri.ts';

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
  private user: SocketUser = NOBODY;
  /** Undefined while it lives. */
  private endCode: string | undefined;

  constructor({ address }: NbdUri, onConnect: () => void) {
    const onread = {
      buffer: Buffer.allocUnsafeSlow(READ_BYTES),
      callback: (count: number, buffer: Uint8Array) => {
        this.user.received(buffer, count);
        return true;
      },
    };
    const where =
      address.kind === 'unix' ? { path: address.path } : { host: address.host, port: address.port };
    this.socket = createConnection(
      { ...where, onread, noDelay: true, keepAlive: true, keepAliveInitialDelay: KEEP_ALIVE_MS },
      onConnect,
    );
    this.socket.on('error', (error: NodeJS.ErrnoException) =>
      this.end(error.code ?? error.message),
    );
    this.socket.on('end', () => this.end(''));
    this.socket.on('close', () => this.end(''));
  }

  /** Where it really leads: the same for two names of one host. */
  get peer(): string | undefined {
    const { remoteAddress, remotePort } = this.socket;
    return remoteAddress === undefined ? undefined : `${remoteAddress}:${remotePort ?? 0}`;
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
    this.endCode = code;
    this.user.ended(code);
  }
}
