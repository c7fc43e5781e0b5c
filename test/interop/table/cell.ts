import type { TableServer } from './server.ts';

export const TOOLS = ['libnbd', 'qemu', 'nbd-client', 'fio'] as const;
export type Tool = (typeof TOOLS)[number];

/** Plays a feature with a tool; throws where they do not agree. */
type Play = (server: TableServer) => Promise<void>;

/** A cell: how it is shown here, or why there is nothing to show; then with the place where it is shown, if any. */
type Cell = Play | string;

export const FEATURES = [
  'GO with INFO_EXPORT',
  'EXPORT_NAME',
  'LIST',
  'a name with spaces, umlauts, a symbol',
  'a name nobody has, of 4096 bytes too',
  'unix socket and TCP',
  'BLOCK_SIZE',
  'single bytes, anywhere',
  '32 MiB in one request',
  'many requests in flight',
  'several connections (CAN_MULTI_CONN)',
  'FLUSH',
  'FUA',
  'TRIM',
  'WRITE_ZEROES, NO_HOLE',
  'FAST_ZERO',
  'CACHE',
  'structured replies, holes in READ',
  'DF',
  'errors in words',
  'base:allocation',
  'x-dmiod:mirror',
  'read-only',
  'TLS with a certificate',
  'TLS with a pre-shared key',
  'TLS is demanded',
  'a grown device',
  'stdin and stdout, socket activation',
] as const;
type Feature = (typeof FEATURES)[number];

export type Column = Readonly<Record<Feature, Cell>>;
