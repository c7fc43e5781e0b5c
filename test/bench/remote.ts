// A mirror of two exports: ours beside qemu's quorum over the same nbdkit servers, turn by turn.
// `npm run bench:remote -- [ROUNDS] [SECONDS]`; prints a table of medians and ratios.
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { nbdkit, SocketServer } from '../support/remote-servers.ts';
import { DMIO } from '../support/running.ts';
import { runWell } from '../support/run.ts';

const JOBS = [
  { name: 'random reads 4K, depth 16', args: ['--rw=randread', '--bs=4k', '--iodepth=16'] },
  { name: 'random writes 4K, depth 16', args: ['--rw=randwrite', '--bs=4k', '--iodepth=16'] },
  { name: 'random reads 4K, depth 1', args: ['--rw=randread', '--bs=4k', '--iodepth=1'] },
  { name: 'random writes 4K, depth 1', args: ['--rw=randwrite', '--bs=4k', '--iodepth=1'] },
  { name: 'sequential reads 1M, depth 4', args: ['--rw=read', '--bs=1m', '--iodepth=4'] },
  { name: 'sequential writes 1M, depth 4', args: ['--rw=write', '--bs=1m', '--iodepth=4'] },
] as const;

const [rounds = 3, seconds = 3] = process.argv.slice(2).map(Number);
const folder = mkdtempSync(join(tmpdir(), 'dmio-remote-'));
const legs = ['one', 'two'];
const socket = (name: string): string => join(folder, `${name}.sock`);
const started: SocketServer[] = [];

async function main(): Promise<void> {
  for (const leg of legs) await begin(nbdkit(folder, leg, 'memory', '1G'));
  const uris = legs.map((leg) => `nbd+unix:///?socket=${socket(leg)}`);
  const serve = ['serve', '--mirror', ...uris, '--assume-clean', '--create', '--size', '1G'];
  const ours = (engine: string): Promise<string> =>
    served(engine, 'data', process.execPath, DMIO, ...serve, '--engine', engine);
  const contestants = new Map([
    ['dmiod uring', await ours('uring')],
    ['dmiod node', await ours('node')],
    ['qemu quorum', await quorum()],
  ]);
  for (const job of JOBS) await contest(job, contestants);
}

async function begin(server: SocketServer): Promise<void> {
  started.push(server);
  await server.start();
}

/** A server of ours or theirs; its export's URI. */
async function served(
  name: string,
  exportName: string,
  ...argv: readonly string[]
): Promise<string> {
  const [command = '', ...args] = argv;
  const place = command === process.execPath ? ['--socket', socket(name)] : [];
  await begin(new SocketServer(folder, socket(name), command, ...args, ...place));
  return `nbd+unix:///${exportName}?socket=${socket(name)}`;
}

function quorum(): Promise<string> {
  const blockdevs = legs.flatMap((leg, i) => [
    '--blockdev',
    `driver=nbd,node-name=leg${i},server.type=unix,server.path=${socket(leg)}`,
  ]);
  return served(
    'qemu',
    'bench',
    'qemu-storage-daemon',
    ...blockdevs,
    ...[
      '--blockdev',
      'driver=quorum,node-name=mirror,vote-threshold=1,read-pattern=fifo,children.0=leg0,children.1=leg1',
    ],
    ...['--nbd-server', `addr.type=unix,addr.path=${socket('qemu')},max-connections=0`],
    ...['--export', 'type=nbd,id=bench,node-name=mirror,name=bench,writable=on'],
  );
}

async function contest(
  job: (typeof JOBS)[number],
  contestants: ReadonlyMap<string, string>,
): Promise<void> {
  const speeds = new Map<string, number[]>();
  for (let round = 0; round < rounds; round += 1) {
    for (const [name, uri] of contestants) {
      const before = speeds.get(name) ?? [];
      speeds.set(name, [...before, await speedOf(uri, job.args)]);
    }
  }
  const theirs = median(speeds.get('qemu quorum') ?? []);
  for (const [name, all] of speeds) {
    const mine = median(all);
    const ratio = (mine / theirs).toFixed(2);
    process.stdout.write(`${job.name}\t${name}\t${(mine / 1024).toFixed(1)} MiB/s\t${ratio}x\n`);
  }
}

/** KiB a second. */
async function speedOf(uri: string, args: readonly string[]): Promise<number> {
  const common = ['--name=x', '--ioengine=nbd', `--uri=${uri}`, '--size=1G', '--time_based'];
  const report = await runWell('fio', [
    ...[...common, ...args, `--runtime=${seconds}`, '--output-format=json'],
  ]);
  const parsed = JSON.parse(report.slice(report.indexOf('{'))) as {
    readonly jobs: readonly { readonly read: { bw: number }; readonly write: { bw: number } }[];
  };
  const [job] = parsed.jobs;
  return (job?.read.bw ?? 0) + (job?.write.bw ?? 0);
}

function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.floor(sorted.length / 2)] ?? 0;
}

try {
  await main();
} finally {
  for (const server of started.reverse()) await server.kill();
  rmSync(folder, { recursive: true, force: true });
}
