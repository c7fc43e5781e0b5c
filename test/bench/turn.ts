// One turn: start a server, warm it up, load it, read what it cost, stop it. A fresh start each time:
// memory is this load's own, and no other server is running beside it.
import { join } from 'node:path';
import { z } from 'zod';

import { ROOT } from '../support/root.ts';
import type { Children } from './children.ts';
import type { Job } from './client/connection.ts';
import { fioArguments, parseFio } from './fio.ts';
import type { LegFiles } from './legs.ts';
import { isReadOnly } from './matrix.ts';
import { cpuSecondsOf, memoryMibOf } from './proc.ts';
import { pinTo, RunningServer } from './running-server.ts';
import { uriOf } from './servers.ts';
import type { Server } from './servers.ts';
import type { LoadResult, Metrics, Pin, Row } from './types.ts';

const CLIENT = join(ROOT, 'dist/test/bench/client/main.js');
/** Over the load's own time: starting a client, connecting, closing. */
const CLIENT_EXTRA_MS = 60_000;
const MEMORY_EVERY_MS = 250;

export interface Bench {
  readonly children: Children;
  readonly legs: LegFiles;
  /** For sockets: short paths, any file system. */
  readonly folder: string;
  readonly rounds: number;
  readonly seconds: number;
  readonly warmSeconds: number;
  /** CPUs this process may use. */
  readonly cpus: readonly number[];
  readonly signal: AbortSignal;
}

export const NOTHING: Metrics = {
  requestsPerSecond: null,
  mibPerSecond: null,
  p50Us: null,
  p99Us: null,
  p999Us: null,
  unevenness: null,
  cpuUsPerRequest: null,
  cpuPercent: null,
  memoryMib: null,
  startMs: null,
};

export async function serveAndLoad(bench: Bench, server: Server, row: Row): Promise<Metrics> {
  const { children, folder } = bench;
  const files = row.devices === undefined ? bench.legs : bench.legs.parts(row.devices);
  const legs = await files.of(server.files, row.devices ?? row.legs);
  if (server.files === 'cached') await files.refresh(legs, children);
  const cpu = cpusFor(row.pin, bench.cpus);
  const { sizeBytes } = files;
  const place = { children, server, legs, sizeBytes, transport: row.transport, folder };
  const running = await RunningServer.start({ ...place, cpu: cpu.server });
  try {
    const client = new Client({ ...bench, legs: files }, server, running, row, cpu.client);
    if (row.load.pattern !== 'idle') await client.run(bench.warmSeconds);
    return await measure(client, running, bench.seconds);
  } finally {
    await running.stop();
    if (!isReadOnly(row.load.pattern)) files.touch(legs);
  }
}

async function measure(client: Client, running: RunningServer, seconds: number): Promise<Metrics> {
  let memoryMib = 0;
  const look = (): void => {
    memoryMib = Math.max(memoryMib, memoryMibOf(running.pid));
  };
  const timer = setInterval(look, MEMORY_EVERY_MS);
  try {
    const cpuBefore = cpuSecondsOf(running.pid);
    const result = await client.run(seconds);
    const cpuSeconds = cpuSecondsOf(running.pid) - cpuBefore;
    look();
    return metricsOf(result, { cpuSeconds, memoryMib, startMs: running.startMs });
  } finally {
    clearInterval(timer);
  }
}

interface ServerCost {
  readonly cpuSeconds: number;
  readonly memoryMib: number;
  readonly startMs: number;
}

export function metricsOf(result: LoadResult, cost: ServerCost): Metrics {
  const { requests, bytes, seconds, p50Us, p99Us, p999Us, unevenness } = result;
  const isIdle = requests === 0;
  return {
    requestsPerSecond: isIdle ? null : requests / seconds,
    mibPerSecond: isIdle ? null : bytes / 2 ** 20 / seconds,
    p50Us,
    p99Us,
    p999Us,
    unevenness,
    cpuUsPerRequest: isIdle ? null : (cost.cpuSeconds * 1e6) / requests,
    cpuPercent: (cost.cpuSeconds * 100) / seconds,
    memoryMib: cost.memoryMib,
    startMs: cost.startMs,
  };
}

interface Cpus {
  readonly server: number | null;
  readonly client: number | null;
}

/** @throws when there are too few CPUs to be apart */
export function cpusFor(pin: Pin, cpus: readonly number[]): Cpus {
  const [first = 0, second] = cpus;
  switch (pin) {
    case 'free':
      return { server: null, client: null };
    case 'same':
      return { server: first, client: first };
    case 'apart':
      if (second === undefined) throw new Error('this machine has one CPU: nothing can be apart');
      return { server: first, client: second };
  }
}

const loadResult = z.object({
  requests: z.number(),
  bytes: z.number(),
  seconds: z.number().positive(),
  p50Us: z.number().nullable(),
  p99Us: z.number().nullable(),
  p999Us: z.number().nullable(),
  unevenness: z.number().nullable(),
});

class Client {
  private readonly bench: Bench;
  private readonly server: Server;
  private readonly running: RunningServer;
  private readonly row: Row;
  private readonly cpu: number | null;

  constructor(bench: Bench, server: Server, running: RunningServer, row: Row, cpu: number | null) {
    this.bench = bench;
    this.server = server;
    this.running = running;
    this.row = row;
    this.cpu = cpu;
  }

  async run(seconds: number): Promise<LoadResult> {
    const isFio = this.row.load.client === 'fio';
    const command = isFio ? this.fio(seconds) : this.own(seconds);
    const argv = [...pinTo(this.cpu), ...command];
    const limitMs = seconds * 1000 + CLIENT_EXTRA_MS;
    const stdout = await this.bench.children.run(argv, this.bench.folder, limitMs);
    const result = isFio ? parseFio(stdout) : loadResult.parse(JSON.parse(stdout));
    const isIdle = this.row.load.pattern === 'idle';
    if (!isIdle && result.requests === 0) throw new Error('not one request was answered');
    return result;
  }

  private fio(seconds: number): readonly string[] {
    const uri = uriOf(this.running.address, this.server.exportName);
    return fioArguments(this.row.load, uri, this.bench.legs.sizeBytes, seconds);
  }

  private own(seconds: number): readonly string[] {
    const job: Job = {
      load: this.row.load,
      address: this.running.address,
      exportName: this.server.exportName,
      sizeBytes: this.bench.legs.sizeBytes,
      seconds,
    };
    return [process.execPath, CLIENT, JSON.stringify(job)];
  }
}
