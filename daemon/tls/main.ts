/**
 * Entry of the TLS thread: all en- and decryption of the daemon. A client comes as a descriptor; its
 * plain bytes go to and come from one end of a pair of sockets, the other end is served like any
 * client. So TLS costs no other connection anything but this thread's share of the machine.
 */
import { Socket } from 'node:net';
import { createServer, DEFAULT_CIPHERS, type TLSSocket } from 'node:tls';
import { parentPort } from 'node:worker_threads';

import { assert } from '../../core/base/assert.ts';
import { PSK_CIPHERS } from './ciphers.ts';
import { contextOptions, type TlsCredentials } from './credentials.ts';
import type { FromTls, TlsPeer, ToTls } from './messages.ts';

assert(parentPort !== null, 'this file is the entry of a worker thread');
const port = parentPort;
let credentials: TlsCredentials | null = null;
/** Clients in their handshake. */
const handshakes = new Map<number, () => void>();

port.on('message', (message: ToTls) => {
  switch (message.kind) {
    case 'credentials':
      credentials = message.credentials;
      return;
    case 'client':
      serve(message);
      return;
    case 'abandon':
      handshakes.get(message.id)?.();
      return;
  }
});

function say(message: FromTls): void {
  port.postMessage(message);
}

function serve({ id, fd, innerFd, early, timeoutMs }: Extract<ToTls, { kind: 'client' }>): void {
  assert(credentials !== null, 'a TLS client before the credentials');
  const ends = { readable: true, writable: true, allowHalfOpen: true };
  const raw = new Socket({ fd, ...ends });
  const inner = new Socket({ fd: innerFd, ...ends });
  let isOver = false;
  const fail = (why: string): void => {
    if (isOver) return;
    isOver = true;
    handshakes.delete(id);
    raw.destroy();
    inner.destroy();
    say({ kind: 'failed', id, why });
  };
  handshakes.set(id, () => fail('given up'));
  raw.on('error', (error) => fail(error.message));
  raw.on('close', () => fail('closed in the TLS handshake'));
  // A server of its own for each client: only a tls.Server enforces that certificates are believed
  // (a bare TLSSocket does not), and this one always has the credentials of now.
  let psk: string | null = null;
  const server = createServer({
    ...optionsOf(credentials),
    handshakeTimeout: timeoutMs,
    ...(credentials.psk.length > 0 && {
      pskCallback: (_socket: TLSSocket, identity: string): Uint8Array | null => {
        const key = credentials?.psk.find(([known]) => known === identity)?.[1];
        if (key === undefined) return null;
        psk = identity;
        return Buffer.from(key, 'hex');
      },
    }),
  });
  server.on('tlsClientError', (error) => fail(error.message));
  server.on('secureConnection', (socket) => {
    if (isOver) return;
    isOver = true;
    handshakes.delete(id);
    // Not before: who leaves in the handshake is to be noticed at once.
    socket.allowHalfOpen = true;
    join(socket, inner);
    say({ kind: 'secured', id, peer: peerOf(socket, psk) });
  });
  if (early.length > 0) raw.unshift(Buffer.from(early));
  server.emit('connection', raw);
}

function optionsOf(given: TlsCredentials): object {
  const others = given.cert === null ? '' : `:${DEFAULT_CIPHERS}`;
  return {
    ...contextOptions(given),
    minVersion: 'TLSv1.2',
    requestCert: given.ca !== null,
    rejectUnauthorized: true,
    ...(given.psk.length > 0 && { ciphers: `${PSK_CIPHERS}${others}`, dhparam: 'auto' }),
  };
}

/** Bytes both ways, with back-pressure, until either end is gone. */
function join(secure: TLSSocket, inner: Socket): void {
  secure.on('error', () => inner.destroy());
  inner.on('error', () => secure.destroy());
  secure.on('close', () => inner.destroy());
  // What was written still goes out, and then the close notification.
  inner.on('close', () => secure.destroySoon());
  secure.pipe(inner);
  inner.pipe(secure);
}

function peerOf(socket: TLSSocket, psk: string | null): TlsPeer {
  const protocol = socket.getProtocol() ?? '';
  const { subject } = socket.getPeerCertificate() as {
    readonly subject?: Readonly<Record<string, string | string[]>>;
  };
  if (subject === undefined || !socket.authorized) return { protocol, subject: null, psk };
  const entries = Object.entries(subject).map(([name, value]) => [name, [value].flat()] as const);
  return { protocol, subject: Object.fromEntries(entries), psk };
}
