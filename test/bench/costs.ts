// The rows of the second table, as data: what mirroring, logs, resync, starting, connections and idling
// cost. Each row is a contest with a baseline; the ratio says how many times the baseline's cost.
import { copyTurns } from './copies.ts';
import { PLAIN, rowOf } from './matrix.ts';
import { controlTurn, type ControlCalls } from './control.ts';
import { dmiod, engineOf, ofManyDevices, service } from './servers.ts';
import type { Server, Target } from './servers.ts';
import { serveAndLoad } from './turn.ts';
import type { Bench } from './turn.ts';
import type { Contestant, Legs, Load, Metric, Pattern, Row } from './types.ts';

export interface CostRow {
  readonly name: string;
  readonly metric: Metric;
  /** The contestant all are compared with. */
  readonly baseline: string;
  readonly isQuick: boolean;
  /** What takes part; a turn runs on the bench. */
  readonly contestants: (bench: Bench) => readonly Contestant[];
}

const KIB = 1024;
const base = (pattern: Pattern, blockBytes: number, depth: number) => ({
  pattern,
  blockBytes,
  depth,
});
const WRITE_D1 = base('randwrite', 4 * KIB, 1);

/** Loads whose price with more legs matters. */
const MIRROR_LOADS = [
  WRITE_D1,
  base('randread', 4 * KIB, 1),
  base('randwrite', 4 * KIB, 32),
  base('randread', 4 * KIB, 32),
  base('write', 128 * KIB, 16),
  base('read', 128 * KIB, 16),
  base('write', 1024 * KIB, 4),
];
const LOG_LOADS = [WRITE_D1, base('randwrite', 4 * KIB, 32)];
const LOGS: Readonly<Record<string, (target: Target) => readonly string[]>> = {
  core: () => ['--log', 'core'],
  native: () => ['--log', 'native'],
  disk: ({ legs }) => ['--log', `disk=${legs[0] ?? ''}.log`],
};

/** In the order of the table; only what the given servers can answer. */
export function costRows(present: readonly Server[]): readonly CostRow[] {
  // What the limit costs to start is a compiler's time, and it has no memory to speak of.
  const servers = present.filter(({ isLimit = false }) => !isLimit);
  const ours = servers.filter(({ isOurs }) => isOurs);
  const rows = [
    ...ours.flatMap((server) => MIRROR_LOADS.map((load) => mirrorCost(server, load))),
    ...ours.flatMap((server) => LOG_LOADS.map((load) => logCost(server, load))),
    resync(ours),
    ...([1, 2] as const).map((legs) => startUp(servers, legs)),
    ...[1, 64, 256].map((connections) => memory(servers, connections, 1)),
    memory(servers, 64, 2),
    ...([1, 2] as const).map((legs) => idle(servers, legs)),
    ...servers.map(moreConnections),
    fairConnections(servers),
    ...ours.map(moreDevices),
    fairDevices(servers),
    ...ours.flatMap((server) => CONTROL_CALLS.map((calls) => control(server, calls))),
  ];
  return rows;
}

function served(bench: Bench, label: string, server: Server, row: Row): Contestant {
  return { label, turn: () => serveAndLoad(bench, server, row) };
}

function all(bench: Bench, servers: readonly Server[], row: Row): readonly Contestant[] {
  return servers
    .filter((server) => server.serves(row))
    .map((server) => served(bench, server.id, server, row));
}

function mirrorCost(server: Server, load: ReturnType<typeof base>): CostRow {
  const counts: readonly Legs[] = [1, 2, 3];
  return {
    name: `mirror-${server.id}-${rowOf(load, PLAIN).name}`,
    metric: 'requestsPerSecond',
    baseline: '1 leg',
    isQuick: load === WRITE_D1,
    contestants: (bench) =>
      counts.map((legs) =>
        served(
          bench,
          legs === 1 ? '1 leg' : `${legs} legs`,
          server,
          rowOf(load, { ...PLAIN, legs }),
        ),
      ),
  };
}

function logCost(server: Server, load: ReturnType<typeof base>): CostRow {
  const row = rowOf(load, { ...PLAIN, legs: 2 });
  return {
    name: `log-${server.id}-${row.name}`,
    metric: 'requestsPerSecond',
    baseline: 'core',
    isQuick: false,
    contestants: (bench) =>
      Object.entries(LOGS).map(([label, options]) =>
        served(bench, label, dmiod(engineOf(server), { options }), row),
      ),
  };
}

function resync(ours: readonly Server[]): CostRow {
  return {
    name: 'resync',
    metric: 'mibPerSecond',
    baseline: 'nbdcopy',
    isQuick: true,
    contestants: (bench) => copyTurns(bench, ours),
  };
}

function ownRow(name: string, legs: Legs, load: Omit<Load, 'client' | 'sync'>): Row {
  return {
    name,
    load: { ...load, sync: 'none', client: 'own' },
    legs,
    transport: 'unix',
    pin: 'free',
  };
}

const suffixOf = (legs: Legs): string => (legs === 1 ? '' : `-${legs}legs`);
const baselineOf = (legs: Legs): string => (legs === 1 ? 'nbdkit' : 'qemu-quorum');

function startUp(servers: readonly Server[], legs: Legs): CostRow {
  const name = `start-up${suffixOf(legs)}`;
  const load = { pattern: 'idle', blockBytes: 4 * KIB, depth: 1, connections: 1 } as const;
  return {
    name,
    metric: 'startMs',
    baseline: baselineOf(legs),
    isQuick: legs === 1,
    contestants: (bench) => all({ ...bench, seconds: 0.1 }, servers, ownRow(name, legs, load)),
  };
}

function memory(servers: readonly Server[], connections: number, legs: Legs): CostRow {
  const name = `memory-c${connections}${suffixOf(legs)}`;
  const load = { pattern: 'randrw', blockBytes: 128 * KIB, depth: 4, connections } as const;
  return {
    name,
    metric: 'memoryMib',
    baseline: baselineOf(legs),
    isQuick: connections === 64 && legs === 1,
    contestants: (bench) =>
      all(bench, legs === 1 ? servers.map(roomy) : servers, ownRow(name, legs, load)),
  };
}

/** `dmio serve` takes 128 connections of one client; the daemon can be told to take more. */
function roomy(server: Server): Server {
  return server.isOurs ? service(engineOf(server)) : server;
}

function idle(servers: readonly Server[], legs: Legs): CostRow {
  const name = `idle-cpu${suffixOf(legs)}`;
  const load = { pattern: 'idle', blockBytes: 4 * KIB, depth: 1, connections: 1 } as const;
  return {
    name,
    metric: 'cpuPercent',
    baseline: baselineOf(legs),
    isQuick: false,
    contestants: (bench) => all(bench, servers, ownRow(name, legs, load)),
  };
}

/** Does the total fall with eight connections of one device? */
function moreConnections(server: Server): CostRow {
  const load = base('randread', 4 * KIB, 32);
  const legs = server.id === 'qemu-quorum' ? 2 : 1;
  const labels = { '1 connection': 1, '8 connections': 8 };
  return {
    name: `connections-${server.id}`,
    metric: 'requestsPerSecond',
    baseline: '1 connection',
    isQuick: false,
    contestants: (bench) =>
      Object.entries(labels).map(([label, connections]) =>
        served(bench, label, server, rowOf(load, { ...PLAIN, legs, connections })),
      ),
  };
}

function fairConnections(servers: readonly Server[]): CostRow {
  const load = { pattern: 'randrw', blockBytes: 4 * KIB, depth: 8, connections: 8 } as const;
  return {
    name: 'fair-c8',
    metric: 'unevenness',
    baseline: 'nbdkit',
    isQuick: true,
    contestants: (bench) => all(bench, servers, ownRow('fair-c8', 1, load)),
  };
}

const MANY = 64;
const MANY_LOAD = { pattern: 'randrw', blockBytes: 4 * KIB, depth: 4, connections: MANY } as const;

/** Does the total fall when 64 clients have a device each? */
function moreDevices(server: Server): CostRow {
  const row = ownRow(`devices-${server.id}`, 1, MANY_LOAD);
  const engine = engineOf(server);
  return {
    name: row.name,
    metric: 'requestsPerSecond',
    baseline: '64 of one',
    isQuick: false,
    contestants: (bench) => [
      served(bench, '64 of one', service(engine), row),
      served(bench, '64 of 64', service(engine, 'data#'), { ...row, devices: MANY }),
    ],
  };
}

function fairDevices(servers: readonly Server[]): CostRow {
  const row = { ...ownRow('fair-devices-64', 1, MANY_LOAD), devices: MANY };
  return {
    name: row.name,
    metric: 'unevenness',
    baseline: 'qemu-storage-daemon',
    isQuick: true,
    contestants: (bench) => {
      const many = servers.map(ofManyDevices).filter((server) => server !== null);
      return all(bench, many, row);
    },
  };
}

const CONTROL_CALLS: readonly ControlCalls[] = ['stats', 'suspend'];

/** How long a word of the control socket takes, while a client asks for all it can and while none does. */
function control(server: Server, calls: ControlCalls): CostRow {
  return {
    name: `control-${calls}-${server.id}`,
    metric: 'p99Us',
    baseline: 'idle',
    isQuick: calls === 'stats',
    contestants: (bench) =>
      (['idle', 'busy'] as const).map((label) => ({
        label,
        turn: () => controlTurn(bench, service(engineOf(server)), calls, label === 'busy'),
      })),
  };
}
