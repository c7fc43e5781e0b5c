/**
 * Entry of the thread in which remote legs speak TLS with their servers: the mirror image of main.ts.
 * Plain bytes go to and come from one end of a pair of sockets; the leg uses the other like a server's.
 */
import { Socket, isIP } from 'node:net';
import { checkServerIdentity, connect, DEFAULT_CIPHERS, type TLSSocket } from 'node:tls';
import { parentPort } from 'node:worker_threads';

import { assert } from '../../core/base/assert.ts';
import { contextOptions } from './credentials.ts';
import { PSK_CIPHERS } from './ciphers.ts';
import type { FromTunnel, ToTunnel } from './messages.ts';
import type { ServerTrust } from './server-trust.ts';
import { tlsWords } from './words.ts';

assert(parentPort !== null, 'this file is the entry of a worker thread');
const port = parentPort;
/** Tunnels in their handshake. */
const handshakes = new Map<number, () => void>();

port.on('message', (message: ToTunnel) => {
  if (message.kind === 'abandon') handshakes.get(message.id)?.();
  else dig(message);
});

function say(message: FromTunnel): void {
  port.postMessage(message);
}

function dig({ id, fd, innerFd, trust }: Extract<ToTunnel, { kind: 'server' }>): void {
  const ends = { readable: true, writable: true, allowHalfOpen: true };
  const raw = new Socket({ fd, ...ends });
  const inner = new Socket({ fd: innerFd, ...ends });
  let isSecure = false;
  let isOver = false;
  let failure: NodeJS.ErrnoException | null = null;
  const secure = connect({ socket: raw, ...optionsOf(trust) });

  const end = (): void => {
    if (isOver) return;
    isOver = true;
    handshakes.delete(id);
    raw.destroy();
    inner.destroy();
    const why = failure === null ? '' : tlsWords(failure, trust);
    if (!isSecure) say({ kind: 'failed', id, why: why === '' ? HUNG_UP : why });
    else say({ kind: 'ended', id, byServer: isByServer(failure), why });
  };
  const fail = (error: Error): void => {
    failure ??= error;
    secure.destroy();
  };
  handshakes.set(id, () => {
    secure.destroy();
    end();
  });
  raw.on('error', fail);
  raw.on('close', end);
  secure.on('error', fail);
  secure.on('close', end);
  secure.on('secureConnect', () => {
    isSecure = true;
    handshakes.delete(id);
    join(secure, inner);
    say({ kind: 'secured', id });
  });
}

const HUNG_UP = 'the server hung up in the TLS handshake';

/** Our own verdict on what it said (a bad record, an alert) is not its end of the connection. */
function isByServer(failure: NodeJS.ErrnoException | null): boolean {
  return failure === null || failure.code === 'ECONNRESET' || failure.code === 'EPIPE';
}

function optionsOf(trust: ServerTrust): object {
  const { serverName, psk } = trust;
  const common = { minVersion: 'TLSv1.2', rejectUnauthorized: true };
  if (psk === null) {
    // A name for SNI may not be an address.
    const name = isIP(serverName) === 0 ? { servername: serverName } : {};
    return {
      ...common,
      ...contextOptions(trust),
      ...name,
      checkServerIdentity: (_: string, cert: Parameters<typeof checkServerIdentity>[1]) =>
        checkServerIdentity(serverName, cert),
    };
  }
  const [identity, key] = psk;
  return {
    ...common,
    ciphers: `${PSK_CIPHERS}:${DEFAULT_CIPHERS}`,
    // No authority is believed: a server without the key may not come with a certificate instead.
    ca: [],
    pskCallback: () => ({ identity, psk: Buffer.from(key, 'hex') }),
    checkServerIdentity: (_: string, cert: object) =>
      Object.keys(cert).length === 0 ? undefined : new Error('it shows a certificate, no key'),
  };
}

/**
 * Bytes both ways, with back-pressure. When the leg has closed its end, what it wrote goes out, then
 * our half is closed, and the server is read to its own end: the fence of the leg waits for that.
 */
function join(secure: TLSSocket, inner: Socket): void {
  // Not before: who leaves in the handshake is to be noticed at once.
  secure.allowHalfOpen = true;
  const leave = (): void => {
    secure.unpipe(inner);
    secure.end();
    secure.resume();
  };
  inner.on('error', leave);
  inner.on('close', leave);
  secure.on('end', () => secure.destroy());
  inner.pipe(secure);
  secure.pipe(inner);
}
