// One start of one server: ready when it greets, stopped by its pid.
import { once } from 'node:events';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { connect, createServer } from 'node:net';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';

import type { Child, Children } from './children.ts';
import { isAlive } from './proc.ts';
import type { Address, Server } from './servers.ts';
import type { Transport } from './types.ts';

/** Against what never greets: on a machine that others keep busy Node alone needs many seconds. */
const READY_LIMIT_MS = 60_000;
const STOP_LIMIT_MS = 15_000;
/** Short against every start-up time, long enough not to take the CPU the server starts on. */
const PROBE_EVERY_MS = 2;

export interface Placement {
  readonly children: Children;
  readonly server: Server;
  readonly legs: readonly string[];
  readonly sizeBytes: number;
  readonly transport: Transport;
  readonly cpu: number | null;
  /** Sockets and pid files go below it. */
  readonly folder: string;
}

export class RunningServer {
  readonly pid: number;
  readonly address: Address;
  readonly startMs: number;
  private readonly folder: string;
  private readonly child: Child;
  /** Ends what became a daemon; null while the server is our own child. */
  private readonly killDaemon: (() => void) | null;
  private readonly children: Children;

  private constructor(fields: {
    pid: number;
    address: Address;
    startMs: number;
    folder: string;
    child: Child;
    killDaemon: (() => void) | null;
    children: Children;
  }) {
    this.pid = fields.pid;
    this.address = fields.address;
    this.startMs = fields.startMs;
    this.folder = fields.folder;
    this.child = fields.child;
    this.killDaemon = fields.killDaemon;
    this.children = fields.children;
  }

  /** @throws with what the server complained of */
  static async start(placement: Placement): Promise<RunningServer> {
    const { children, server, legs, sizeBytes, transport, cpu } = placement;
    const folder = mkdtempSync(join(placement.folder, 's-'));
    const address = { transport, path: join(folder, 'sock'), port: await freePort() };
    const { argv, file, pidFile } = server.start({ legs, sizeBytes, address, folder });
    if (file !== undefined) writeFileSync(file.path, file.text);

    const startedAt = performance.now();
    const child = children.start([...pinTo(cpu), ...argv], folder);
    const daemon = pidFile === undefined ? null : new Daemon(pidFile, folder);
    if (daemon !== null) children.addOrphan(daemon.kill);
    const forget = async (): Promise<void> => {
      daemon?.kill();
      if (daemon !== null) children.removeOrphan(daemon.kill);
      await child.stop();
      rmSync(folder, { recursive: true, force: true });
    };
    try {
      await greeted(address, child, daemon !== null);
      const startMs = performance.now() - startedAt;
      const pid = daemon === null ? child.pid : await daemon.pid();
      const killDaemon = daemon?.kill ?? null;
      return new RunningServer({ pid, address, startMs, folder, child, killDaemon, children });
    } catch (error) {
      await forget();
      throw error;
    }
  }

  /** @throws when it had ended before, or does not end */
  async stop(): Promise<void> {
    const wasAlive = isAlive(this.pid);
    if (this.killDaemon === null) {
      await this.child.stop();
    } else {
      this.killDaemon();
      const end = performance.now() + STOP_LIMIT_MS;
      while (isAlive(this.pid) && performance.now() < end) await sleep(10);
      if (isAlive(this.pid)) throw new Error('the server does not end on SIGTERM');
      this.children.removeOrphan(this.killDaemon);
    }
    rmSync(this.folder, { recursive: true, force: true });
    if (!wasAlive) throw new Error(`the server ended in mid-run: ${this.child.reason()}`);
  }
}

/** A server that left our children: known by the pid it wrote into our own folder. */
class Daemon {
  private readonly pidFile: string;
  private readonly folder: string;

  constructor(pidFile: string, folder: string) {
    this.pidFile = pidFile;
    this.folder = folder;
  }

  /** It may greet a moment before it has written its pid. */
  async pid(): Promise<number> {
    const end = performance.now() + READY_LIMIT_MS;
    while (performance.now() < end) {
      const pid = this.read();
      if (pid !== null) return pid;
      await sleep(PROBE_EVERY_MS);
    }
    throw new Error('the server wrote no pid file');
  }

  readonly kill = (): void => {
    const pid = this.read();
    if (pid !== null && this.isIt(pid)) process.kill(pid, 'SIGTERM');
  };

  /** Pids are used again: only a process whose command line names our folder is the one we started. */
  private isIt(pid: number): boolean {
    try {
      return readFileSync(`/proc/${pid}/cmdline`, 'utf8').includes(this.folder);
    } catch {
      return false;
    }
  }

  private read(): number | null {
    if (!existsSync(this.pidFile)) return null;
    const pid = Number.parseInt(readFileSync(this.pidFile, 'utf8'), 10);
    return pid > 1 ? pid : null;
  }
}

export function pinTo(cpu: number | null): readonly string[] {
  return cpu === null ? [] : ['taskset', '--cpu-list', String(cpu)];
}

async function greeted(address: Address, child: Child, mayEnd: boolean): Promise<void> {
  const end = performance.now() + READY_LIMIT_MS;
  while (!(await greets(address))) {
    if (child.ended !== null && !(mayEnd && child.ended === 'exit 0')) {
      throw new Error(`did not start: ${child.ended}: ${child.reason()}`);
    }
    if (performance.now() > end) throw new Error(`did not greet: ${child.reason()}`);
    await sleep(PROBE_EVERY_MS);
  }
}

/** Connects and waits for the first bytes, which are the server's. */
async function greets({ transport, path, port }: Address): Promise<boolean> {
  const socket = transport === 'unix' ? connect({ path }) : connect({ host: '127.0.0.1', port });
  try {
    return await new Promise((tell) => {
      socket.once('data', () => tell(true));
      socket.once('error', () => tell(false));
      socket.once('close', () => tell(false));
    });
  } finally {
    socket.destroy();
  }
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  server.close();
  await once(server, 'close');
  if (address === null || typeof address === 'string') throw new Error('no free TCP port');
  return address.port;
}
