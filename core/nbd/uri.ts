import { LIMIT } from './proto.ts';
import { encodeUtf8 } from './utf8.ts';

/** Where an export is: doc/uri.md of NetworkBlockDevice/nbd, as far as a leg can use it. */
export interface NbdUri {
  readonly address:
    | { readonly kind: 'tcp'; readonly host: string; readonly port: number }
    | { readonly kind: 'unix'; readonly path: string };
  /** Empty: the server's default export. */
  readonly exportName: string;
  /** `timeout=SECONDS`: a request that has no answer by then ends with an error. */
  readonly timeoutMs: number;
  /** `connections=N`: the most to open when the server says that it can have several. */
  readonly connections: number;
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

const NBD_URI_FORMAT =
  'nbd://HOST[:PORT]/NAME or nbd+unix:///NAME?socket=PATH, with timeout=SECONDS and connections=N if wanted';

/** The URI, or one clause that says what is wrong with it. */
export function parseNbdUri(text: string): NbdUri | string {
  const match = /^([a-z+]+):\/\/([^/?#]*)(?:\/([^?#]*))?(?:\?([^#]*))?(#.*)?$/.exec(text);
  if (match === null) return `expected ${NBD_URI_FORMAT}`;
  const [, scheme = '', authority = '', path = '', query, fragment] = match;
  if (fragment !== undefined) return 'a fragment (#) means nothing here';
  if (scheme === 'nbds' || scheme === 'nbds+unix') return 'TLS is not supported yet: only nbd://';
  if (scheme !== 'nbd' && scheme !== 'nbd+unix') return `expected ${NBD_URI_FORMAT}`;
  const exportName = decoded(path);
  if (exportName === undefined) return 'the export name is not UTF-8 in %XX';
  const nameBytes = encodeUtf8(exportName)?.length ?? 0;
  if (exportName.includes('\0')) return 'the export name has a NUL';
  if (nameBytes > LIMIT.STRING_BYTES) return `the export name has over ${LIMIT.STRING_BYTES} bytes`;
  const options = parseQuery(query);
  if (typeof options === 'string') return options;
  const address =
    scheme === 'nbd' ? tcpAddress(authority, options) : unixAddress(authority, options);
  if (typeof address === 'string') return address;
  const { timeoutMs, connections } = options;
  return { address, exportName, timeoutMs, connections };
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
}

const KEYS = ['socket', 'timeout', 'connections'];

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
  return { socket: values.get('socket'), timeoutMs: seconds * 1000, connections };
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
  if (authority.includes('@')) return 'a user name means nothing without TLS';
  const match = /^(?:\[([0-9A-Fa-f:.]+)\]|([^:[\]\s%]+))(?::(\d{1,5}))?$/.exec(authority);
  if (match === null) {
    return authority === '' ? 'the host is missing' : `no host and port: ${authority}`;
  }
  const port = match[3] === undefined ? DEFAULT_PORT : Number(match[3]);
  if (port < 1 || port > 65535) return `port ${port}: expected 1 to 65535`;
  return { kind: 'tcp', host: match[1] ?? match[2] ?? '', port };
}

function unixAddress(authority: string, { socket }: Options): NbdUri['address'] | string {
  if (authority !== '') return `nbd+unix:// has no host: write nbd+unix:///NAME?socket=PATH`;
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
