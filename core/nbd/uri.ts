import { LIMIT } from './proto.ts';
import { encodeUtf8 } from './utf8.ts';

/** Where an export is: doc/uri.md of NetworkBlockDevice/nbd, as far as a leg can use it. */
export interface NbdUri {
  readonly address:
    | { readonly kind: 'tcp'; readonly host: string; readonly port: number }
    | { readonly kind: 'unix'; readonly path: string };
  /** Null: in the clear. */
  readonly tls: UriTls | null;
  /** Empty: the server's default export. */
  readonly exportName: string;
  /** `timeout=SECONDS`: a request that has no answer by then ends with an error. */
  readonly timeoutMs: number;
  /** `connections=N`: the most to open when the server says that it can have several. */
  readonly connections: number;
}

/** How the server is to prove who it is, and we to it (doc/uri.md, "TLS"; names as libnbd has them). */
export interface UriTls {
  /** The host that its certificate must be for. */
  readonly serverName: string;
  /** A folder: ca-cert.pem, perhaps client-cert.pem and client-key.pem. Null: the authorities all believe. */
  readonly certificates: string | null;
  /** A pre-shared key instead of certificates: whose, and the file that has it. */
  readonly psk: { readonly identity: string; readonly file: string } | null;
}

/** IANA's. */
const DEFAULT_PORT = 10809;
const DEFAULT_TIMEOUT_MS = 10_000;
/** Two servers' threads at once; more costs memory and wake-ups. */
const DEFAULT_CONNECTIONS = 2;
const TIMEOUT_SECONDS = { LEAST: 1, MOST: 3600 } as const;
const CONNECTIONS_MOST = 16;
/** sockaddr_un.sun_path, without its NUL. */
const SOCKET_PATH_BYTES = 107;

/** What certificates are for where there is no host: libnbd's choice. */
const UNIX_SERVER_NAME = 'localhost';

const NBD_URI_FORMAT =
  'nbd://HOST[:PORT]/NAME or nbd+unix:///NAME?socket=PATH (nbds: with TLS), with timeout=SECONDS and connections=N if wanted';
const SCHEMES = ['nbd', 'nbd+unix', 'nbds', 'nbds+unix'];

/** The URI, or one clause that says what is wrong with it. */
export function parseNbdUri(text: string): NbdUri | string {
  const match = /^([a-z+]+):\/\/([^/?#]*)(?:\/([^?#]*))?(?:\?([^#]*))?(#.*)?$/.exec(text);
  if (match === null) return `expected ${NBD_URI_FORMAT}`;
  const [, scheme = '', authority = '', path = '', query, fragment] = match;
  if (fragment !== undefined) return 'a fragment (#) means nothing here';
  if (!SCHEMES.includes(scheme)) return `expected ${NBD_URI_FORMAT}`;
  const exportName = decoded(path);
  if (exportName === undefined) return 'the export name is not UTF-8 in %XX';
  const nameBytes = encodeUtf8(exportName)?.length ?? 0;
  if (exportName.includes('\0')) return 'the export name has a NUL';
  if (nameBytes > LIMIT.STRING_BYTES) return `the export name has over ${LIMIT.STRING_BYTES} bytes`;
  const options = parseQuery(query);
  if (typeof options === 'string') return options;
  const at = authority.lastIndexOf('@');
  const user = at < 0 ? undefined : decoded(authority.slice(0, at));
  if (at >= 0 && (user === undefined || user === '')) return 'the user name is not UTF-8 in %XX';
  const place = authority.slice(at + 1);
  const address = scheme.endsWith('unix')
    ? unixAddress(place, options)
    : tcpAddress(place, options);
  if (typeof address === 'string') return address;
  const tls = tlsOf(scheme.startsWith('nbds'), user, address, options.values);
  if (typeof tls === 'string') return tls;
  const { timeoutMs, connections } = options;
  return { address, tls, exportName, timeoutMs, connections };
}

/** The same for two URIs that name one export in different words, as far as words can tell. */
export function exportKey({ address, exportName }: NbdUri): string {
  const place =
    address.kind === 'unix'
      ? `unix:${address.path}`
      : `tcp:${address.host.toLowerCase()}:${address.port}`;
  return `${place}/${exportName}`;
}

interface Options {
  readonly socket: string | undefined;
  readonly timeoutMs: number;
  readonly connections: number;
  readonly values: ReadonlyMap<string, string>;
}

const TLS_KEYS = ['tls-certificates', 'tls-psk-file', 'tls-hostname'] as const;
const KEYS = ['socket', 'timeout', 'connections', ...TLS_KEYS];

function parseQuery(query: string | undefined): Options | string {
  const values = new Map<string, string>();
  for (const part of query === undefined || query === '' ? [] : query.split('&')) {
    const [key = '', ...rest] = part.split('=');
    const value = decoded(rest.join('='));
    if (!KEYS.includes(key)) {
      return `unknown parameter ${JSON.stringify(key)} (allowed: ${KEYS.join(', ')})`;
    }
    if (values.has(key)) return `${key} is given twice`;
    if (value === undefined || value === '' || value.includes('\0')) return `${key} has no value`;
    values.set(key, value);
  }
  const { LEAST, MOST } = TIMEOUT_SECONDS;
  const seconds = numberIn(values.get('timeout'), LEAST, MOST, DEFAULT_TIMEOUT_MS / 1000);
  if (seconds === undefined) return `timeout: expected ${LEAST} to ${MOST} seconds`;
  const connections = numberIn(values.get('connections'), 1, CONNECTIONS_MOST, DEFAULT_CONNECTIONS);
  if (connections === undefined) return `connections: expected 1 to ${CONNECTIONS_MOST}`;
  return { socket: values.get('socket'), timeoutMs: seconds * 1000, connections, values };
}

/** Null: no TLS. Paths are absolute: a daemon stands in no folder of its user's. */
function tlsOf(
  isSecure: boolean,
  user: string | undefined,
  address: NbdUri['address'],
  values: ReadonlyMap<string, string>,
): UriTls | null | string {
  if (!isSecure) {
    if (user !== undefined) return 'a user name means nothing without TLS';
    const key = TLS_KEYS.find((one) => values.has(one));
    return key === undefined ? null : `${key} goes with nbds://`;
  }
  const [folder, file, hostName] = TLS_KEYS.map((key) => values.get(key));
  if (folder !== undefined && file !== undefined) {
    return 'tls-certificates and tls-psk-file: only one of them can be';
  }
  if (file !== undefined && user === undefined) {
    return 'tls-psk-file needs the name of a key: nbds://NAME@HOST/';
  }
  if (file === undefined && user !== undefined) return 'a user name goes with tls-psk-file';
  if (file !== undefined && hostName !== undefined) return 'tls-hostname goes with certificates';
  for (const path of [folder, file]) {
    if (path?.startsWith('/') === false) return `${path}: expected an absolute path`;
  }
  const host = address.kind === 'tcp' ? address.host : UNIX_SERVER_NAME;
  const psk = file === undefined || user === undefined ? null : { identity: user, file };
  return { serverName: hostName ?? host, certificates: folder ?? null, psk };
}

function numberIn(
  text: string | undefined,
  least: number,
  most: number,
  absent: number,
): number | undefined {
  if (text === undefined) return absent;
  const value = /^\d{1,5}$/.test(text) ? Number(text) : Number.NaN;
  return value >= least && value <= most ? value : undefined;
}

function tcpAddress(authority: string, { socket }: Options): NbdUri['address'] | string {
  if (socket !== undefined) return 'socket= goes with nbd+unix://';
  const match = /^(?:\[([0-9A-Fa-f:.]+)\]|([^:[\]\s%]+))(?::(\d{1,5}))?$/.exec(authority);
  if (match === null) {
    return authority === '' ? 'the host is missing' : `no host and port: ${authority}`;
  }
  const port = match[3] === undefined ? DEFAULT_PORT : Number(match[3]);
  if (port < 1 || port > 65535) return `port ${port}: expected 1 to 65535`;
  return { kind: 'tcp', host: match[1] ?? match[2] ?? '', port };
}

function unixAddress(authority: string, { socket }: Options): NbdUri['address'] | string {
  if (authority !== '') return 'nbd+unix:// has no host: write nbd+unix:///NAME?socket=PATH';
  if (socket === undefined) return 'socket=PATH is missing';
  if (!socket.startsWith('/')) return `socket=${socket}: expected an absolute path`;
  const bytes = encodeUtf8(socket)?.length ?? 0;
  if (bytes > SOCKET_PATH_BYTES) {
    return `the socket's path has ${bytes} bytes: at most ${SOCKET_PATH_BYTES}`;
  }
  return { kind: 'unix', path: socket };
}

function decoded(text: string): string | undefined {
  try {
    return decodeURIComponent(text);
  } catch {
    return undefined;
  }
}
