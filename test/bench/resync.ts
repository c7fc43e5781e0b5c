// Resync against dd and nbdcopy on the same legs, and what it costs clients: p99 with and without a
// scrub or resync. Ratios, printed; nothing is asserted. `npm run bench:resync -- [node|uring] [FOLDER]`
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { DMIO, DMIOD, Running } from '../support/running.ts';

const MIB = 2 ** 20;
/** What is copied for its speed: long enough that compiling our code is a small part of it. */
const COPY_MIB = 4096;
/** And beside clients. */
const SIZE_MIB = 1024;
const ROUNDS = 5;
const [engine = 'node', parent = '/dev/shm'] = process.argv.slice(2);
const folder = mkdtempSync(join(parent, 'dmiod-resync-'));
const uri = `nbd+unix:///data?socket=${folder}/nbd.sock`;

function run(program: string, ...args: readonly string[]): string {
  const { status, stdout, stderr } = spawnSync(program, args, { cwd: folder, encoding: 'utf8' });
  if (status !== 0) throw new Error(`${program} ${args.join(' ')}: ${stderr}`);
  return stdout;
}

const dmio = (...args: readonly string[]): string =>
  run(process.execPath, DMIO, '--control', 'control.sock', ...args);

function seconds(program: string, ...args: readonly string[]): number {
  const began = performance.now();
  run(program, ...args);
  return (performance.now() - began) / 1000;
}

/** By the daemon's log: from the last `resync-started` to its `resync-ended`. */
async function resyncSeconds(daemon: Running, resyncs: number): Promise<number> {
  const linesOf = (): string[] =>
    daemon.stderr.split('\n').filter((line) => line.includes('"event":"resync-'));
  await daemon.until(() => linesOf().length >= 2 * resyncs);
  const lines = linesOf();
  const times = lines.slice(-2).map((line) => (JSON.parse(line) as { time: number }).time);
  return ((times[1] ?? NaN) - (times[0] ?? NaN)) / 1000;
}

/** The legs are equal in length and different in nothing: what is measured is reading, writing, and making durable. */
async function speeds(daemon: Running): Promise<void> {
  run('sh', '-c', `head -c ${COPY_MIB * MIB} /dev/urandom > a`);
  const dd = ['if=a', 'of=b', 'bs=1M', 'conv=notrunc,fdatasync', 'status=none'];
  run('dd', ...dd);
  console.log(`${COPY_MIB} MiB of random bytes, MiB/s, engine ${engine}, ${parent}`);
  console.log('| dd, fdatasync | nbdcopy --flush | resync | of the faster |\n|---|---|---|---|');
  const rate = (s: number): string => (COPY_MIB / s).toFixed(0);
  const ratios: number[] = [];
  for (let round = 0; round < ROUNDS; round += 1) {
    const others = [seconds('dd', ...dd), seconds('nbdcopy', '--flush', 'a', 'b')];
    dmio('create', 'data', '--mirror', 'a', 'b', '--force');
    dmio('wait', 'data', '--in-sync', '--timeout', '300');
    const ours = await resyncSeconds(daemon, round + 1);
    dmio('remove', 'data');
    ratios.push(Math.min(...others) / ours);
    console.log(`| ${[...others, ours].map(rate).join(' | ')} | ${ratios.at(-1)?.toFixed(2)} |`);
  }
  const middle = ratios.toSorted((a, b) => a - b)[ROUNDS >> 1] ?? NaN;
  console.log(`resync / the faster of them: ${middle.toFixed(2)} (median of ${ROUNDS} rounds)`);
  rmSync(join(folder, 'a'));
  rmSync(join(folder, 'b'));
}

/** p99 of reads and writes in microseconds, of fio at a fixed rate. */
function latencies(runtime: number): readonly [read: number, write: number] {
  const text = run(
    'fio',
    ...['--name=x', '--ioengine=nbd', `--uri=${uri}`, '--rw=randrw', '--bs=4k', '--iodepth=4'],
    ...[`--size=${SIZE_MIB}m`, '--time_based', `--runtime=${runtime}`, '--rate_iops=1000,1000'],
    ...['--output-format=json', '--percentile_list=99', '--output=fio.json'],
  );
  const json = text + readFileSync(join(folder, 'fio.json'), 'utf8');
  type Side = { readonly clat_ns: { readonly percentile: Readonly<Record<string, number>> } };
  const { jobs } = JSON.parse(json.slice(json.indexOf('{'))) as {
    readonly jobs: readonly { readonly read: Side; readonly write: Side }[];
  };
  const p99 = (side: Side | undefined): number =>
    (side?.clat_ns.percentile['99.000000'] ?? NaN) / 1000;
  return [p99(jobs[0]?.read), p99(jobs[0]?.write)];
}

/** Clients at work while a leg is filled from nothing. */
function withResync(): readonly [number, number] {
  dmio('leg', 'remove', 'data', 'b');
  dmio('leg', 'add', 'data', 'b', '--force');
  const found = latencies(6);
  const { devices } = JSON.parse(dmio('status', 'data', '--json')) as {
    readonly devices: readonly { readonly resync: { readonly doneBytes: number } | null }[];
  };
  const done = devices[0]?.resync?.doneBytes;
  console.log(
    `resync beside clients: ${done === undefined ? 'ended' : `${(done / MIB).toFixed(0)} MiB`} in 6 s`,
  );
  dmio('wait', 'data', '--in-sync', '--timeout', '300');
  return found;
}

/** Of the runs of a kind the middle one, as a ratio to that without anything beside. */
function printRatios(rows: readonly (readonly [string, readonly [number, number]])[]): void {
  const middle = (what: string, side: 0 | 1): number => {
    const found = rows.filter(([name]) => name === what).map(([, values]) => values[side]);
    return found.toSorted((a, b) => a - b)[Math.floor(found.length / 2)] ?? NaN;
  };
  for (const what of ['with a scrub', 'with a resync']) {
    const ratios = ([0, 1] as const).map((side) => middle(what, side) / middle('alone', side));
    const [read = NaN, write = NaN] = ratios;
    console.log(`${what}: p99 of reads ${read.toFixed(2)}x, of writes ${write.toFixed(2)}x`);
  }
}

async function costs(): Promise<void> {
  run('sh', '-c', `head -c ${SIZE_MIB * MIB} /dev/urandom > a; cp a b`);
  dmio('create', 'data', '--mirror', 'a', 'b', '--assume-clean', '--force');
  latencies(2);
  console.log('| clients at 2000 requests/s | p99 read | p99 write |\n|---|---|---|');
  const rows: [string, readonly [number, number]][] = [];
  for (let round = 0; round < ROUNDS; round += 1) {
    rows.push(['alone', latencies(6)]);
    dmio('scrub', 'data', '--background', '--restart');
    rows.push(['with a scrub', latencies(6)]);
    try {
      dmio('scrub', 'data', '--stop');
    } catch {
      rows.push(['(the scrub had ended)', [NaN, NaN]]);
    }
    await sleep(500);
    rows.push(['with a resync', withResync()]);
  }
  for (const [what, [read, write]] of rows) {
    console.log(`| ${what} | ${read.toFixed(0)} us | ${write.toFixed(0)} us |`);
  }
  printRatios(rows);
  dmio('remove', 'data');
}

const places = ['--control', 'control.sock', '--state-dir', 'state', '--listen', 'unix:nbd.sock'];
const daemon = new Running(folder, [DMIOD, ...places, '--engine', engine]);
try {
  await daemon.until(() => daemon.stderr.includes('"msg":"ready"'));
  await speeds(daemon);
  await costs();
} finally {
  await daemon.stop();
  rmSync(folder, { recursive: true, force: true });
}
