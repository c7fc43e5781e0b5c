// The benchmark as a user starts it: one cell for a fraction of a second. What it measured is not asked
// here, only that it measured, said so, and left nothing behind.
import { spawn } from 'node:child_process';
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';

import { ROOT } from '../support/root.ts';

const BENCH = join(ROOT, 'dist/test/bench/main.js');
/** Beside the other generated files: the benchmark refuses a tmpfs, which /tmp may be. */
const VAR = join(ROOT, 'var');
const LIMIT_MS = 120_000;

let folder = '';
beforeEach(() => {
  mkdirSync(VAR, { recursive: true });
  folder = mkdtempSync(join(VAR, 'bench-test-'));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

interface Ended {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** Runs it; `watch` sees what it says and may signal it. */
function bench(
  args: readonly string[],
  watch: (stderr: string, interrupt: () => void) => void = () => undefined,
): Promise<Ended> {
  const child = spawn(process.execPath, [BENCH, '--dir', folder, '--size', '16M', ...args], {
    env: { ...process.env, NODE_OPTIONS: '', TMPDIR: folder },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let stdout = '';
  let stderr = '';
  child.stdout.on('data', (data: Buffer) => (stdout += data.toString()));
  child.stderr.on('data', (data: Buffer) => {
    stderr += data.toString();
    watch(stderr, () => child.kill('SIGINT'));
  });
  return new Promise((tell) => child.on('close', (code) => tell({ code, stdout, stderr })));
}

/** Processes whose command line names the test's folder. */
function left(): readonly string[] {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name) && Number(name) !== process.pid)
    .map((pid) => {
      try {
        return readFileSync(`/proc/${pid}/cmdline`, 'utf8').replaceAll('\0', ' ');
      } catch {
        return '';
      }
    })
    .filter((command) => command.includes(folder));
}

const ONE_CELL = ['--only', '^randrw-4k-d32$', '--servers', 'dmiod-node,nbdkit'];

it(
  'measures a row, prints it, writes every sample, and leaves nothing behind',
  async () => {
    const json = join(folder, 'out.json');
    const brief = ['--rounds', '2', '--seconds', '0.2', '--json', json];
    const { code, stdout, stderr } = await bench([...ONE_CELL, ...brief]);
    expect({ code, stderr }).toMatchObject({ code: 0 });

    expect(stdout).toMatch(/\| randrw-4k-d32 +\| kIOPS +\|( +[\d.]+ \|){2} +[\d.]+x \|/);
    expect(stdout).toMatch(/\| randrw-4k-d32 +\| nbdkit +\|( +[\d.]+ \|){6}/);
    expect(stdout).not.toContain('Failed cells');

    const report = JSON.parse(readFileSync(json, 'utf8')) as Record<string, unknown>;
    const any = (type: unknown): unknown => expect.any(type) as unknown;
    const number = any(Number);
    const sample = (round: number) => ({
      round,
      loadAverage: number,
      requestsPerSecond: number,
      mibPerSecond: number,
      p50Us: number,
      p99Us: number,
      p999Us: number,
      cpuUsPerRequest: number,
      cpuPercent: number,
      memoryMib: number,
      startMs: number,
    });
    const cell = (label: string) => ({ label, failure: null, samples: [sample(1), sample(2)] });
    expect(report).toMatchObject({
      isComplete: true,
      absent: {},
      versions: { 'dmiod-node': any(String), nbdkit: any(String) },
      machine: { node: process.version, cpus: any(Array), loadAverage: any(Array) },
      rows: [
        {
          row: { name: 'randrw-4k-d32' },
          outcome: { cells: [cell('dmiod-node'), cell('nbdkit')] },
        },
      ],
    });

    expect(readdirSync(folder)).toEqual(['out.json']);
    expect(left()).toEqual([]);
  },
  LIMIT_MS,
);

it(
  'drives FUA writes and many connections with a client of its own',
  async () => {
    const only = ['--only', '^randwrite-4k-d1-fua$|^memory-c64$', '--servers', 'nbdkit,dmiod-node'];
    const { code, stdout } = await bench([...only, '--rounds', '1', '--seconds', '0.2']);
    expect({ code, stdout }).toMatchObject({ code: 0 });
    expect(stdout).toMatch(/\| randwrite-4k-d1-fua +\| kIOPS +\|( +[\d.]+ \|){2}/);
    expect(stdout).toMatch(/\| memory-c64 +\| dmiod-node +\| MiB +\| +[\d.]+ \| +[\d.]+x \|/);
    expect(stdout).not.toContain('Failed cells');
  },
  LIMIT_MS,
);

it(
  'measures 256 connections, 64 devices, and how fast the control socket answers',
  async () => {
    const names = '^memory-c256$|^fair-(c8|devices-64)$|^control-suspend-dmiod-uring$';
    const servers = ['--servers', 'nbdkit,dmiod-uring,qemu-quorum'];
    const brief = ['--rounds', '1', '--seconds', '0.3'];
    const { code, stdout } = await bench(['--only', names, ...servers, ...brief]);
    expect({ code, stdout }).toMatchObject({ code: 0 });
    const row = (name: string, contestant: string): RegExp =>
      new RegExp(`\\| ${name} +\\| ${contestant} +\\| [^|]+ \\| +[\\d.]+ \\|`);
    for (const server of ['dmiod-uring', 'nbdkit']) {
      expect(stdout).toMatch(row('memory-c256', server));
      expect(stdout).toMatch(row('fair-c8', server));
    }
    for (const server of ['dmiod-uring', 'qemu-storage-daemon']) {
      expect(stdout).toMatch(row('fair-devices-64', server));
    }
    for (const label of ['idle', 'busy']) {
      expect(stdout).toMatch(row('control-suspend-dmiod-uring', label));
    }
    expect(stdout).not.toContain('Failed cells');
  },
  LIMIT_MS,
);

it(
  'ends what it started at an interrupt, and prints what it has',
  async () => {
    let seen: readonly string[] = [];
    let interrupted = false;
    const long = ['--rounds', '1', '--seconds', '60'];
    const { code, stdout } = await bench([...ONE_CELL, ...long], (stderr, interrupt) => {
      if (interrupted || !stderr.includes('1 rows')) return;
      interrupted = true;
      // In the middle of the first turn: a server and a client are running.
      setTimeout(() => {
        seen = left();
        interrupt();
      }, 3000);
    });
    expect(seen.length).toBeGreaterThan(1);
    expect(code).toBe(130);
    expect(stdout).toContain('Interrupted: what is missing was not measured.');
    expect(readdirSync(folder)).toEqual([]);
    expect(left()).toEqual([]);
  },
  LIMIT_MS,
);
