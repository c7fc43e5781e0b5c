import { once } from 'node:events';
import { chmodSync, existsSync, fstatSync, lstatSync, readFileSync, unlinkSync } from 'node:fs';
import { connect, createServer, type Server, type Socket } from 'node:net';
import { dirname } from 'node:path';

import { assert } from '../../core/base/assert.ts';
import { addressText, ListenError, type ListenAddress } from './address.ts';

/** sockaddr_un.sun_path holds 108 bytes, the last a NUL; Node would cut a longer path silently. */
const MAX_UNIX_PATH_BYTES = 107;
/** How long a socket file's server may take to answer before we call it taken. */
const PROBE_TIMEOUT_MS = 2000;

export interface Listener {
  /** As bound: port 0 has become the port taken. */
  readonly address: ListenAddress;
  /** Takes no more clients; a unix socket's file goes away. Those connected stay. */
  close(): void;
}

/** @throws ListenError one line that says what is wrong and with which address */
export async function listen(
  address: ListenAddress,
  accept: (socket: Socket, peer: string) => void,
): Promise<Listener> {
  if (address.kind === 'unix') await makeRoom(address.path);
  // Half open: a client that only stops sending still gets its answers.
  const server = createServer({ allowHalfOpen: true, noDelay: true, keepAlive: true });
  server.on('connection', (socket) => accept(socket, peerOf(socket)));
  try {
    server.listen(optionsOf(address));
    await once(server, 'listening');
  } catch (error) {
    throw listenError(address, error);
  }
  if (address.kind === 'unix' && address.mode !== undefined) chmodSync(address.path, address.mode);
  server.on('error', () => undefined); // an accept that failed (EMFILE): the next one may do
  return {
    address: boundAddress(server, address),
    close: () => void server.close(),
  };
}

function optionsOf(
  address: ListenAddress,
): { path: string } | { host: string; port: number } | { fd: number } {
  switch (address.kind) {
    case 'unix':
      return { path: address.path };
    case 'tcp':
      return { host: address.host, port: address.port };
    case 'fd':
      return { fd: address.fd };
  }
}

function boundAddress(server: Server, asked: ListenAddress): ListenAddress {
  if (asked.kind === 'fd') return addressOfFd(server, asked);
  if (asked.kind !== 'tcp') return asked;
  const bound = server.address();
  assert(bound !== null && typeof bound === 'object', 'a TCP listener without a port');
  return { kind: 'tcp', host: asked.host, port: bound.port };
}

/** Where a socket listens that systemd has opened; `fd` when that cannot be told. */
function addressOfFd(server: Server, asked: ListenAddress & { kind: 'fd' }): ListenAddress {
  const bound = server.address();
  if (bound !== null && typeof bound === 'object') {
    return { kind: 'tcp', host: bound.address, port: bound.port };
  }
  try {
    // proc_net_unix: the seventh column is the socket's inode, the eighth its path.
    const inode = String(fstatSync(asked.fd).ino);
    const rows = readFileSync('/proc/self/net/unix', 'utf8').split('\n');
    const row = rows.map((line) => line.trim().split(/\s+/)).find((words) => words[6] === inode);
    const path = row?.[7];
    return path?.startsWith('/') === true ? { kind: 'unix', path } : asked;
  } catch {
    return asked;
  }
}

/** Removes a socket file whose server is gone; complains about one that answers, and about files. */
async function makeRoom(path: string): Promise<void> {
  if (Buffer.byteLength(path) > MAX_UNIX_PATH_BYTES) {
    throw new ListenError(
      'ENAMETOOLONG',
      `cannot listen on ${path}: a socket path has at most ${String(MAX_UNIX_PATH_BYTES)} bytes`,
    );
  }
  const found = lstatSync(path, { throwIfNoEntry: false });
  if (found === undefined) {
    // libuv would say EACCES of a missing directory.
    if (existsSync(dirname(path))) return;
    throw new ListenError('ENOENT', `cannot listen on ${path}: there is no such directory`);
  }
  if (!found.isSocket()) {
    throw new ListenError('EEXIST', `cannot listen on ${path}: the file exists and is no socket`);
  }
  if (await isAnswered(path)) {
    throw new ListenError('EADDRINUSE', `cannot listen on ${path}: another server answers there`);
  }
  unlinkSync(path);
}

/** Only ECONNREFUSED proves that nobody listens: in doubt the socket is somebody's. */
function isAnswered(path: string): Promise<boolean> {
  return new Promise((resolve) => {
    const probe = connect({ path });
    const answer = (answered: boolean): void => {
      probe.destroy();
      resolve(answered);
    };
    probe.setTimeout(PROBE_TIMEOUT_MS, () => answer(true));
    probe.on('connect', () => answer(true));
    probe.on('error', (error: NodeJS.ErrnoException) => {
      answer(error.code !== 'ECONNREFUSED' && error.code !== 'ENOENT');
    });
  });
}

const REASONS: Readonly<Record<string, string>> = {
  EADDRINUSE: 'the address is in use',
  EADDRNOTAVAIL: 'this machine has no such address',
  EACCES: 'permission denied',
  ENOTDIR: 'a part of the path is no directory',
  ENOTFOUND: 'there is no such host',
};

/** What `listen` fails with is always the system's: it has a code. */
function listenError(address: ListenAddress, error: unknown): ListenError {
  const { code, message } = error as NodeJS.ErrnoException;
  const reason = REASONS[code ?? ''] ?? message;
  return new ListenError(code ?? 'EIO', `cannot listen on ${addressText(address)}: ${reason}`);
}

function peerOf(socket: Socket): string {
  const { remoteAddress, remotePort } = socket;
  if (remoteAddress === undefined || remotePort === undefined) return 'unix';
  return addressText({ kind: 'tcp', host: remoteAddress, port: remotePort });
}
