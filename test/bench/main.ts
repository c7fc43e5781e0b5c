// `npm run bench`: reads the options, makes files, runs the contests of both tables, prints and saves.
// README.md of this folder says what is measured and how.
import { spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';

import { ensure } from '../support/requirements.ts';
import type { Requirement } from '../support/requirements.ts';
import { ROOT } from '../support/root.ts';
import { Children } from './children.ts';
import { runContest } from './contest.ts';
import { COPY_REQUIREMENTS } from './copies.ts';
import { costRows } from './costs.ts';
import type { CostRow } from './costs.ts';
import { isInMemory, LegFiles } from './legs.ts';
import { machineFacts, versionOf } from './machine.ts';
import { namesMatching, rowsOf } from './matrix.ts';
import { parseOptions, USAGE } from './options.ts';
import type { Options } from './options.ts';
import { renderReport } from './report.ts';
import type { MeasuredCost, MeasuredRow, Report } from './report.ts';
import { RunningServer } from './running-server.ts';
import type { Server } from './servers.ts';
import { serveAndLoad } from './turn.ts';
import type { Bench } from './turn.ts';

const CLIENT_REQUIREMENTS: readonly Requirement[] = [
  { command: 'fio', debian: 'fio', why: 'the load' },
  { command: 'taskset', debian: 'util-linux', why: 'puts server and client on a CPU' },
  { command: 'dd', debian: 'coreutils', why: 'drops files from the page cache' },
];
/** Starting, warming, stopping and writing back, per turn: for the estimate only. */
const TURN_EXTRA_SECONDS = 2.5;
const EXIT_INTERRUPTED = 130;

function say(text: string): void {
  console.error(text);
}

async function main(options: Options): Promise<number> {
  const needed = options.servers
    .map(({ requirement }) => requirement)
    .filter((one) => one !== null);
  const all = [...CLIENT_REQUIREMENTS, ...COPY_REQUIREMENTS, ...needed];
  const purpose = { who: 'The benchmark needs', again: 'run the benchmark again' };
  if (!ensure(all, purpose)) return 1;

  if (options.realtime) goFirst();
  const parent = resolve(options.dir ?? join(ROOT, 'var'));
  mkdirSync(parent, { recursive: true });
  if (isInMemory(parent)) throw new Error(`${parent} is a tmpfs: take a real disk, with --dir`);
  const data = mkdtempSync(join(parent, 'bench-'));
  const sockets = mkdtempSync(join(tmpdir(), 'dmio-b-'));
  const children = new Children();
  const interrupt = new AbortController();
  const onSignal = (): void => {
    if (interrupt.signal.aborted) return;
    say('interrupted: ending the servers');
    interrupt.abort();
    void children.stopAll();
  };
  process.on('SIGINT', onSignal).on('SIGTERM', onSignal);
  try {
    const report = await measure(options, { children, data, sockets, signal: interrupt.signal });
    console.log(renderReport(report));
    if (options.json !== undefined) {
      writeFileSync(options.json, `${JSON.stringify(report, null, 1)}\n`);
    }
    return interrupt.signal.aborted ? EXIT_INTERRUPTED : 0;
  } finally {
    await children.stopAll();
    rmSync(data, { recursive: true, force: true });
    rmSync(sockets, { recursive: true, force: true });
  }
}

/** Whoever we start inherits it. Linux keeps a twentieth of each CPU for the others. */
function goFirst(): void {
  const { status, stderr } = spawnSync('chrt', ['--rr', '--pid', '1', String(process.pid)], {
    encoding: 'utf8',
  });
  if (status !== 0) throw new Error(`--realtime: ${stderr.trim()}`);
}

interface Place {
  readonly children: Children;
  readonly data: string;
  readonly sockets: string;
  readonly signal: AbortSignal;
}

async function measure(options: Options, place: Place): Promise<Report> {
  const { children, data, sockets, signal } = place;
  const { rounds, seconds, warmSeconds, sizeBytes } = options;
  const machine = machineFacts(data);
  const legs = new LegFiles(data, sizeBytes);
  const { cpus } = machine;
  const bench = { children, legs, folder: sockets, rounds, seconds, warmSeconds, cpus, signal };
  const { servers, versions, absent } = await present(bench, options.servers);
  const rows = await measureRows(bench, options, servers);
  const costs = await measureCosts(bench, options, servers);
  return {
    machine,
    versions,
    absent,
    columns: servers.map(({ id, isOurs, isLimit = false }) => ({ id, isOurs, isLimit })),
    rounds,
    seconds,
    sizeBytes,
    isComplete: !signal.aborted,
    rows,
    costs,
  };
}

interface Present {
  readonly servers: readonly Server[];
  readonly versions: Readonly<Record<string, string>>;
  readonly absent: Readonly<Record<string, string>>;
}

/** Starts every server once: an engine that does not exist here is one line, not a table of failures. */
async function present(bench: Bench, wanted: readonly Server[]): Promise<Present> {
  const servers: Server[] = [];
  const versions: Record<string, string> = {};
  const absent: Record<string, string> = {};
  const { children, folder, legs: files } = bench;
  for (const server of wanted) {
    if (bench.signal.aborted) break;
    const legs = await files.of(server.files, server.id === 'qemu-quorum' ? 2 : 1);
    const { sizeBytes } = files;
    try {
      const place = { children, server, legs, sizeBytes, folder };
      const running = await RunningServer.start({ ...place, transport: 'unix', cpu: null });
      await running.stop();
      servers.push(server);
      versions[server.id] = await versionOf(children, server);
    } catch (error) {
      absent[server.id] = error instanceof Error ? error.message : String(error);
      say(`${server.id} is not measured: ${absent[server.id] ?? ''}`);
    }
  }
  return { servers, versions, absent };
}

async function measureRows(
  bench: Bench,
  options: Options,
  servers: readonly Server[],
): Promise<readonly MeasuredRow[]> {
  const rows = namesMatching(rowsOf(options.matrix), options.only);
  const turns = rows.reduce((sum, row) => sum + servers.filter((s) => s.serves(row)).length, 0);
  const minutes = (turns * bench.rounds * (bench.seconds + TURN_EXTRA_SECONDS)) / 60;
  say(`${rows.length} rows, ${turns} cells, about ${Math.ceil(minutes)} minutes`);

  const measured: MeasuredRow[] = [];
  for (const row of rows) {
    if (bench.signal.aborted) break;
    const contestants = servers
      .filter((server) => server.serves(row))
      .map((server) => ({ label: server.id, turn: () => serveAndLoad(bench, server, row) }));
    const outcome = await runContest(row.name, contestants, bench.rounds, bench.signal);
    measured.push({ row, outcome });
    say(`  ${measured.length}/${rows.length} ${row.name}`);
  }
  return measured;
}

async function measureCosts(
  bench: Bench,
  options: Options,
  servers: readonly Server[],
): Promise<readonly MeasuredCost[]> {
  const costs = wantedCosts(options, servers);
  say(`${costs.length} rows of costs`);

  const measured: MeasuredCost[] = [];
  for (const { name, metric, baseline, contestants } of costs) {
    if (bench.signal.aborted) break;
    const outcome = await runContest(name, contestants(bench), bench.rounds, bench.signal);
    measured.push({ cost: { name, metric, baseline }, outcome });
    say(`  ${measured.length}/${costs.length} ${name}`);
  }
  return measured;
}

function wantedCosts(options: Options, servers: readonly Server[]): readonly CostRow[] {
  const rows = costRows(servers).filter(({ isQuick }) => options.matrix !== 'quick' || isQuick);
  return namesMatching(rows, options.only);
}

try {
  const options = parseOptions(process.argv.slice(2));
  if (options.help) console.log(USAGE);
  else if (options.list) listRows(options);
  else process.exitCode = await main(options);
} catch (error) {
  console.error(`bench: ${error instanceof Error ? error.message : String(error)}`);
  process.exitCode = 1;
}

function listRows(options: Options): void {
  const rows = namesMatching(rowsOf(options.matrix), options.only);
  for (const { name } of [...rows, ...wantedCosts(options, options.servers)]) console.log(name);
}
