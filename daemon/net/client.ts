/** Who a client is, as far as its connection tells. */
import type { Socket } from 'node:net';
import type { PeerCredentials } from '../sys/syscalls.ts';
import { hasSyscalls, loadSyscalls } from '../sys/syscalls.ts';
import type { TlsPeer } from '../tls/messages.ts';
import { fdsOf } from './socket-taker.ts';

export interface ClientIdentity {
  readonly kind: 'unix' | 'tcp' | 'stdio';
  /** TCP: the address, an IPv4 one never in IPv6 dress. */
  readonly address: string | null;
  /** Unix sockets: the process that connected. */
  readonly credentials: PeerCredentials | null;
  /** Null: it talks in the clear. */
  readonly tls: TlsPeer | null;
}

export const STDIO_CLIENT: ClientIdentity = {
  kind: 'stdio',
  address: null,
  credentials: null,
  tls: null,
};

export function identityOf(socket: Socket): ClientIdentity {
  const { remoteAddress } = socket;
  if (remoteAddress !== undefined) {
    const address = remoteAddress.replace(/^::ffff:(?=\d+\.)/i, '').replace(/%.*$/, '');
    return { kind: 'tcp', address, credentials: null, tls: null };
  }
  const calls = loadSyscalls();
  const fd = fdsOf(socket, socket)?.input;
  const credentials = hasSyscalls(calls) && fd !== undefined ? calls.peerCredentials(fd) : null;
  return { kind: 'unix', address: null, credentials: credentials ?? null, tls: null };
}

/** What connections of one client have in common, for limits. */
export function limitKeyOf({ kind, address, credentials }: ClientIdentity): string {
  return `${kind} ${address ?? String(credentials?.uid ?? '')}`;
}
