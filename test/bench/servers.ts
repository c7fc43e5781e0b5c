// The servers that are compared: one object each, how it is started and what it can be asked.
import { dirname, join } from 'node:path';

import type { Requirement } from '../support/requirements.ts';
import { ROOT } from '../support/root.ts';
import type { Row, Transport } from './types.ts';

export interface Address {
  readonly transport: Transport;
  /** A socket path for `unix`. */
  readonly path: string;
  /** A free port; nbd-server wants one even beside its unix socket. */
  readonly port: number;
}

/** What a server is to serve, and where. */
export interface Target {
  readonly legs: readonly string[];
  readonly sizeBytes: number;
  readonly address: Address;
  /** A folder of this start's own, for what the server itself needs. */
  readonly folder: string;
}

interface Start {
  readonly argv: readonly string[];
  /** Written before the start. */
  readonly file?: { readonly path: string; readonly text: string };
  /** The program makes itself a daemon and writes its pid there. */
  readonly pidFile?: string;
}

export interface Server {
  readonly id: string;
  readonly isOurs: boolean;
  /** The least a server can do: shown beside the others, never one of them. */
  readonly isLimit?: boolean;
  readonly exportName: string;
  /** `direct` opens its legs with O_DIRECT, which would drop the page cache of the others' files. */
  readonly files: 'cached' | 'direct';
  readonly requirement: Requirement | null;
  /** Prints the version. */
  readonly version: readonly string[];
  readonly serves: (row: Row) => boolean;
  readonly start: (target: Target) => Start;
}

const DMIO = join(ROOT, 'dist/cli/main.js');
const DMIOD = join(ROOT, 'dist/daemon/main.js');
const isLinear = ({ legs }: Row): boolean => legs === 1;
const isMirror = ({ legs }: Row): boolean => legs > 1;

type Engine = 'uring' | 'node';

/** What the cost rows ask of a `dmio serve` beyond the plain one. */
interface Extra {
  readonly options?: (target: Target) => readonly string[];
  /** Legs count as different: a resync starts at once, and a control socket tells when it has ended. */
  readonly resync?: boolean;
}

export function dmiod(engine: Engine, { options = () => [], resync = false }: Extra = {}): Server {
  return {
    id: `dmiod-${engine}`,
    isOurs: true,
    exportName: 'data',
    files: 'cached',
    requirement: null,
    version: [process.execPath, DMIO, '--version'],
    serves: () => true,
    start: (target) => {
      const { legs, address } = target;
      const place =
        address.transport === 'unix'
          ? ['--socket', address.path]
          : ['--port', String(address.port), '--bind', '127.0.0.1'];
      // The legs were made equal; what an ended turn left different does not matter to the next.
      const clean = resync ? [] : ['--assume-clean'];
      const fresh = ['--create', '--size', String(target.sizeBytes), ...clean];
      const device = legs.length === 1 ? ['--linear', ...legs] : ['--mirror', ...legs, ...fresh];
      const control = resync ? ['--control', controlOf(address)] : [];
      const serve = ['serve', '--engine', engine, ...device, ...place, ...options(target)];
      return { argv: [process.execPath, DMIO, ...control, ...serve] };
    },
  };
}

/**
 * dmiod itself, with a config file: a device of each leg, and room for more connections of one client
 * than by default. `dmio serve` has one device and no config.
 */
export function service(engine: Engine, exportName: 'data0' | 'data#' = 'data0'): Server {
  return {
    ...dmiod(engine),
    exportName,
    serves: isLinear,
    start: ({ legs, address, folder }) => {
      const config = join(folder, 'dmiod.toml');
      const { transport, path, port } = address;
      const listen = transport === 'unix' ? `unix:${path}` : `tcp:127.0.0.1:${port}`;
      const lines = [
        '[limits]',
        `connections = ${MOST_CONNECTIONS}`,
        `connections-per-client = ${MOST_CONNECTIONS}`,
        ...legs.flatMap((leg, i) => [`[device.data${i}]`, `linear = ${JSON.stringify(leg)}`]),
      ];
      const places = ['--control', controlOf(address), '--state-dir', join(folder, 'state')];
      const how = ['--config', config, '--listen', listen, '--engine', engine];
      return {
        argv: [process.execPath, DMIOD, ...how, ...places],
        file: { path: config, text: `${lines.join('\n')}\n` },
      };
    },
  };
}

/** Twice what a row asks for: those of the warm-up may still be closing. */
const MOST_CONNECTIONS = 512;

/** Beside the NBD socket. */
export function controlOf({ path }: Address): string {
  return join(dirname(path), 'control');
}

export function engineOf(server: Server): Engine {
  return server.id === 'dmiod-uring' ? 'uring' : 'node';
}

const NBDKIT: Server = {
  id: 'nbdkit',
  isOurs: false,
  exportName: '',
  files: 'cached',
  requirement: { command: 'nbdkit', debian: 'nbdkit', why: 'a server to compare with' },
  version: ['nbdkit', '--version'],
  serves: isLinear,
  start: ({ legs, address: { transport, path, port } }) => {
    const place =
      transport === 'unix' ? ['--unix', path] : ['--ipaddr', '127.0.0.1', '--port', String(port)];
    return { argv: ['nbdkit', '--foreground', '--exit-with-parent', ...place, 'file', ...legs] };
  },
};

function qemuNbd(id: string, cache: 'writeback' | 'none'): Server {
  return {
    id,
    isOurs: false,
    exportName: '',
    files: cache === 'none' ? 'direct' : 'cached',
    requirement: { command: 'qemu-nbd', debian: 'qemu-utils', why: 'a server to compare with' },
    version: ['qemu-nbd', '--version'],
    serves: isLinear,
    start: ({ legs, address: { transport, path, port } }) => {
      const place =
        transport === 'unix' ? [`--socket=${path}`] : ['--bind=127.0.0.1', `--port=${port}`];
      const how = ['--format=raw', `--cache=${cache}`, '--aio=io_uring', '--discard=unmap'];
      // --shared=0: any number of clients.
      return { argv: ['qemu-nbd', '--persistent', '--shared=0', ...how, ...place, ...legs] };
    },
  };
}

const NBD_SERVER: Server = {
  id: 'nbd-server',
  isOurs: false,
  exportName: 'bench',
  files: 'cached',
  requirement: { command: 'nbd-server', debian: 'nbd-server', why: 'a server to compare with' },
  version: ['nbd-server', '--version'],
  serves: isLinear,
  start: ({ legs, address: { transport, path, port }, folder }) => {
    const config = join(folder, 'nbd-server.conf');
    const pidFile = join(folder, 'nbd-server.pid');
    const lines = [
      '[generic]',
      ...(transport === 'unix' ? [`unixsock = ${path}`] : []),
      'listenaddr = 127.0.0.1',
      `port = ${port}`,
      '[bench]',
      `exportname = ${legs.join('')}`,
      'flush = true',
      'fua = true',
    ];
    return {
      // Its -d ("do not fork") serves one connection and ends, so it becomes a daemon.
      argv: ['nbd-server', '-C', config, '-p', pidFile],
      file: { path: config, text: `${lines.join('\n')}\n` },
      pidFile,
    };
  },
};

const QEMU_QUORUM: Server = {
  id: 'qemu-quorum',
  isOurs: false,
  exportName: 'bench',
  files: 'cached',
  // Debian 12 has it in this package, not in qemu-utils.
  requirement: {
    command: 'qemu-storage-daemon',
    debian: 'qemu-system-common',
    why: 'a mirror to compare with',
  },
  version: ['qemu-storage-daemon', '--version'],
  serves: isMirror,
  start: ({ legs, address: { transport, path, port } }) => {
    const files = legs.flatMap((leg, i) => [
      '--blockdev',
      `driver=file,node-name=leg${i},filename=${leg.replaceAll(',', ',,')},aio=io_uring,discard=unmap`,
    ]);
    const children = legs.map((_, i) => `children.${i}=leg${i}`).join(',');
    const listen =
      transport === 'unix'
        ? `addr.type=unix,addr.path=${path}`
        : `addr.type=inet,addr.host=127.0.0.1,addr.port=${port}`;
    return {
      argv: [
        'qemu-storage-daemon',
        ...files,
        '--blockdev',
        `driver=quorum,node-name=mirror,vote-threshold=1,read-pattern=fifo,${children}`,
        '--nbd-server',
        `${listen},max-connections=0`,
        '--export',
        'type=nbd,id=bench,node-name=mirror,name=bench,writable=on',
      ],
    };
  },
};

/** A server of many devices for each that can be one, by the same names as for one device. */
export function ofManyDevices(server: Server): Server | null {
  if (server.isOurs) return service(engineOf(server), 'data#');
  if (server.id !== 'qemu-quorum') return null;
  return { ...QEMU_DEVICES, requirement: server.requirement };
}

const QEMU_DEVICES: Server = {
  ...QEMU_QUORUM,
  id: 'qemu-storage-daemon',
  exportName: 'data#',
  serves: isLinear,
  start: ({ legs, address: { path } }) => ({
    argv: [
      'qemu-storage-daemon',
      ...legs.flatMap((leg, i) => [
        '--blockdev',
        `driver=file,node-name=leg${i},filename=${leg.replaceAll(',', ',,')},aio=io_uring`,
      ]),
      '--nbd-server',
      `addr.type=unix,addr.path=${path},max-connections=0`,
      ...legs.flatMap((_, i) => [
        '--export',
        `type=nbd,id=data${i},node-name=leg${i},name=data${i},writable=on`,
      ]),
    ],
  }),
};

/** limit.c, compiled into the start's own folder: so it is never older than its source. */
const LIMIT: Server = {
  id: 'limit',
  isOurs: false,
  isLimit: true,
  exportName: '',
  files: 'cached',
  requirement: { command: 'gcc', debian: 'gcc', why: 'compiles the limit, limit.c' },
  version: ['gcc', '--version'],
  serves: ({ legs, transport }) => legs === 1 && transport === 'unix',
  start: ({ legs, address: { path }, folder }) => ({
    argv: [
      'sh',
      '-c',
      'gcc -O2 -pthread -o "$1/limit" "$2" && exec "$1/limit" "$3" "$4"',
      'limit',
      folder,
      join(ROOT, 'test/bench/limit.c'),
      path,
      ...legs,
    ],
  }),
};

/** In the order of the columns. */
export const SERVERS: readonly Server[] = [
  dmiod('uring'),
  dmiod('node'),
  NBDKIT,
  qemuNbd('qemu-nbd', 'writeback'),
  qemuNbd('qemu-nbd-none', 'none'),
  NBD_SERVER,
  QEMU_QUORUM,
  LIMIT,
];

export function uriOf({ transport, path, port }: Address, exportName: string): string {
  return transport === 'unix'
    ? `nbd+unix:///${exportName}?socket=${path}`
    : `nbd://127.0.0.1:${port}/${exportName}`;
}
