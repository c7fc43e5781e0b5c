/** Where clients find us: `unix:PATH`, `tcp:HOST:PORT`, sockets that systemd opened, and the URIs they mean. */

import { uriOf } from './net/address.ts';
import type { ListenAddress, ListenFd } from './net/address.ts';

/** What `parseListen` accepts, for error messages. */
export const LISTEN_FORMAT = 'unix:PATH or tcp:HOST:PORT';

/** sun_path holds 108 bytes with its final NUL (unix(7)). */
const MAX_SOCKET_PATH_BYTES = 107;

/** `unix:/run/x.sock`, `tcp:127.0.0.1:10809`, `tcp:[::1]:10809`; undefined when it is neither. */
export function parseListen(text: string): ListenAddress | undefined {
  if (text.startsWith('unix:')) {
    const path = text.slice('unix:'.length);
    return socketPathError(path) === undefined ? { kind: 'unix', path } : undefined;
  }
  const match = /^tcp:(?:\[([0-9a-fA-F:.%\w]+)\]|([^:[\]/\s]+)):(\d{1,5})$/.exec(text);
  if (match === null) return undefined;
  const host = match[1] ?? match[2] ?? '';
  const port = Number(match[3]);
  return port <= 65535 ? { kind: 'tcp', host, port } : undefined;
}

/** What is wrong with the path of a unix socket, or undefined. */
export function socketPathError(path: string): string | undefined {
  if (path === '') return 'the path of a socket must not be empty';
  if (path.includes('\0')) return 'the path of a socket must not contain NUL';
  const bytes = Buffer.byteLength(path);
  if (bytes <= MAX_SOCKET_PATH_BYTES) return undefined;
  return `socket path of ${bytes} bytes: at most ${MAX_SOCKET_PATH_BYTES} are allowed`;
}

/** What a client on this machine is given to reach the export. Null: only systemd knows where. */
export function clientUri(address: ListenAddress, name: string, isSecure = false): string | null {
  if (address.kind === 'fd') return null;
  if (address.kind === 'unix') return uriOf(address, name, isSecure);
  return uriOf({ ...address, host: WILDCARDS.get(address.host) ?? address.host }, name, isSecure);
}

/** A URI needs somewhere to go, not everywhere to listen. */
const WILDCARDS: ReadonlyMap<string, string> = new Map([
  ['0.0.0.0', '127.0.0.1'],
  ['::', '::1'],
]);

/** sd_listen_fds(3): the first descriptor is always 3. */
const FIRST_LISTEN_FD = 3;

/**
 * Sockets handed over by systemd, for us alone, with the names of their units; removes the variables, so
 * that no child takes them for its own.
 */
export function takeListenFds(environment: NodeJS.ProcessEnv, pid: number): readonly ListenFd[] {
  const count = Number(environment['LISTEN_FDS'] ?? '0');
  const names = (environment['LISTEN_FDNAMES'] ?? '').split(':');
  const forUs = Number(environment['LISTEN_PID'] ?? pid) === pid;
  for (const name of ['LISTEN_FDS', 'LISTEN_PID', 'LISTEN_FDNAMES']) {
    Reflect.deleteProperty(environment, name);
  }
  if (!forUs || !Number.isInteger(count) || count <= 0) return [];
  return Array.from({ length: count }, (_, i) => {
    const name = names[i] ?? '';
    // sd_listen_fds_with_names(3): of a socket without a name.
    const isNamed = name !== '' && name !== 'unknown';
    return { kind: 'fd', fd: FIRST_LISTEN_FD + i, ...(isNamed && { name }) };
  });
}
