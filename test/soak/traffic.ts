import { spawn } from 'node:child_process';
import { setTimeout as sleep } from 'node:timers/promises';

import { ENVIRONMENT } from '../support/run.ts';

/** Each client has a range of its own: what it reads back is what it wrote. */
interface Kind {
  readonly name: string;
  readonly offsetMib: number;
  /** 0: once over the range. */
  readonly seconds: number;
  readonly args: readonly string[];
}

const VERIFY = ['--verify=crc32c', '--verify_fatal=1'];

const KINDS: readonly Kind[] = [
  {
    name: 'random 4k, verified',
    offsetMib: 0,
    seconds: 30,
    args: ['--rw=randrw', '--bs=4k', '--iodepth=16', '--size=64M', ...VERIFY],
  },
  {
    name: 'random 4k, verified, 4 connections',
    offsetMib: 64,
    seconds: 12,
    args: [
      ...['--rw=randwrite', '--bs=4k', '--iodepth=16', '--numjobs=4', '--size=16M'],
      ...['--offset_increment=16M', ...VERIFY],
    ],
  },
  {
    name: 'sequential 128k, flushed',
    offsetMib: 128,
    seconds: 20,
    args: ['--rw=rw', '--bs=128k', '--iodepth=8', '--fsync=32', '--size=128M', ...VERIFY],
  },
  {
    // Once: in a second round fio's own overlapping writes fail its verification, on any server.
    name: 'unaligned 1 to 100 KiB, verified',
    offsetMib: 256,
    seconds: 0,
    args: [
      ...['--rw=randwrite', '--bsrange=1k-100k', '--bs_unaligned=1', '--iodepth=8'],
      ...['--size=64M', ...VERIFY],
    ],
  },
  {
    name: 'trim before write',
    offsetMib: 320,
    seconds: 10,
    args: ['--rw=randtrimwrite', '--bs=64k', '--iodepth=4', '--fsync=16', '--size=64M'],
  },
  {
    name: 'flush after each',
    offsetMib: 384,
    seconds: 10,
    args: ['--rw=randwrite', '--bs=8k', '--iodepth=1', '--fsync=1', '--size=32M'],
  },
];
const COME_AND_GO_AT = 416 * 2 ** 20;
/** A client killed in mid-request: what it wrote is nobody's business, its range is its own. */
const VANISHING: Kind = {
  name: 'killed in mid-traffic',
  offsetMib: 448,
  seconds: 60,
  args: ['--rw=randrw', '--bsrange=4k-1m', '--iodepth=32', '--size=64M', '--numjobs=2'],
};
const VANISH_AFTER_MS = 2500;
const CLIENT_LIMIT_MS = 120_000;

/** Clients of every kind, beside each other, each started again when it has ended. */
export class Traffic {
  readonly failures: string[] = [];
  runs = 0;
  private readonly folder: string;
  private readonly uri: string;
  private readonly counts = new Map<string, number>();
  private running: Promise<unknown> = Promise.resolve();

  constructor(folder: string, uri: string) {
    this.folder = folder;
    this.uri = uri;
  }

  start(end: number): void {
    this.running = Promise.all([
      ...KINDS.map((kind) => this.repeat(kind.name, end, () => this.fio(kind, end))),
      this.repeat('come and go', end, () => this.comeAndGo()),
      this.repeat(VANISHING.name, end, () => this.vanish(end)),
    ]);
  }

  async ended(): Promise<void> {
    await this.running;
  }

  summary(): string {
    return [...this.counts].map(([name, count]) => `${count} x ${name}`).join(', ');
  }

  private async repeat(name: string, end: number, once: () => Promise<string>): Promise<void> {
    while (Date.now() < end) {
      const failure = await once();
      this.runs += 1;
      this.counts.set(name, (this.counts.get(name) ?? 0) + 1);
      if (failure === '') continue;
      this.failures.push(`${name}: ${failure}`);
      await sleep(1000);
    }
  }

  private fio(kind: Kind, end: number): Promise<string> {
    return this.client('fio', fioArgs(kind, this.uri, end), CLIENT_LIMIT_MS);
  }

  /** A handshake, a few requests, an end; also one that only looks. */
  private async comeAndGo(): Promise<string> {
    const at = COME_AND_GO_AT + 511;
    const commands = [`write -P 7 ${at} 70001`, 'flush', `discard ${at} 5000`, `read ${at} 70001`];
    const args = commands.flatMap((command) => ['-c', command]);
    const wrote = await this.client('qemu-io', ['-f', 'raw', ...args, this.uri], CLIENT_LIMIT_MS);
    return wrote || this.client('nbdinfo', ['--json', this.uri], CLIENT_LIMIT_MS);
  }

  private async vanish(end: number): Promise<string> {
    await this.client('fio', fioArgs(VANISHING, this.uri, end), VANISH_AFTER_MS);
    return '';
  }

  /** '' when it ended well; what it said when not. Killed, with all it started, after `limitMs`. */
  private client(command: string, args: readonly string[], limitMs: number): Promise<string> {
    return new Promise((resolve) => {
      // A group of its own: fio's jobs are processes, and a kill must reach them all.
      const options = { cwd: this.folder, env: ENVIRONMENT, detached: true };
      const child = spawn(command, args, { ...options, stdio: ['ignore', 'pipe', 'pipe'] });
      let said = '';
      for (const stream of [child.stdout, child.stderr]) {
        stream.on('data', (data: Buffer) => (said = (said + data.toString()).slice(0, 1000)));
      }
      const timer = setTimeout(() => {
        if (child.pid !== undefined) process.kill(-child.pid, 'SIGKILL');
      }, limitMs);
      child.on('error', (error) => resolve(error.message));
      child.on('close', (code) => {
        clearTimeout(timer);
        resolve(code === 0 ? '' : `${command} ended with ${code ?? 'a signal'}: ${said}`);
      });
    });
  }
}

function fioArgs(kind: Kind, uri: string, end: number): string[] {
  const left = Math.max(1, Math.ceil((end - Date.now()) / 1000));
  const timed = ['--time_based', `--runtime=${Math.min(kind.seconds, left)}`];
  return [
    ...['--name=x', '--ioengine=nbd', `--uri=${uri}`, `--offset=${kind.offsetMib}M`],
    ...(kind.seconds === 0 ? [] : timed),
    ...kind.args,
  ];
}
