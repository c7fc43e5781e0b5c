// The real binaries, as a user starts them: `dmio` to its end, `dmiod` and `dmio serve` until stopped.
// Whatever a test started and did not stop is killed after it.
import { spawn, spawnSync } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, lstatSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';

import { ROOT } from './root.ts';

const DMIO = join(ROOT, 'dist/cli/main.js');
const DMIOD = join(ROOT, 'dist/daemon/main.js');
const START_LIMIT_MS = 20_000;
const STOP_LIMIT_MS = 20_000;

/** Jest's own flags are not for the children. */
const ENVIRONMENT = { ...process.env, NODE_OPTIONS: '', DMIO_CONTROL: undefined };

/** `TEST_ENGINE=uring npm run jest -- integration` runs the same tests on the other engine. */
export const TEST_ENGINE = process.env['TEST_ENGINE'] ?? 'node';
const ENGINE = ['--engine', TEST_ENGINE];

export interface Ran {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** Any program, to its end. */
export function run(folder: string, command: string, ...args: readonly string[]): Ran {
  const { status, stdout, stderr, error } = spawnSync(command, args, {
    cwd: folder,
    encoding: 'utf8',
    env: ENVIRONMENT,
    timeout: 120_000,
    maxBuffer: 64 * 1024 * 1024,
  });
  if (error !== undefined) throw error;
  return { code: status, stdout, stderr };
}

/** `dmio ARGS...` in a folder; the daemon of `startDaemon` is found by its control socket there. */
export function dmio(folder: string, ...args: readonly string[]): Ran {
  return run(folder, process.execPath, DMIO, '--control', 'control.sock', ...args);
}

/** `dmiod ARGS...`, expected to end by itself. */
export function dmiod(folder: string, ...args: readonly string[]): Ran {
  return run(folder, process.execPath, DMIOD, ...args);
}

export class Running {
  stdout = '';
  stderr = '';
  readonly exited: Promise<number | string>;
  private readonly child: ChildProcess;

  constructor(folder: string, args: readonly string[]) {
    this.child = spawn(process.execPath, args, {
      cwd: folder,
      env: ENVIRONMENT,
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    this.child.stdout?.on('data', (data: Buffer) => (this.stdout += data.toString()));
    this.child.stderr?.on('data', (data: Buffer) => (this.stderr += data.toString()));
    this.exited = new Promise((tell) => {
      this.child.on('close', (code, signal) => tell(code ?? signal ?? 'unknown'));
    });
    started.add(this);
  }

  get pid(): number {
    return this.child.pid ?? 0;
  }

  /** Sends the signal and waits for the end: its exit code, or the signal that ended it. */
  async stop(signal: NodeJS.Signals = 'SIGTERM'): Promise<number | string> {
    this.child.kill(signal);
    const late = sleep(STOP_LIMIT_MS, 'still running', { ref: false });
    const code = await Promise.race([this.exited, late]);
    started.delete(this);
    return code;
  }

  signal(signal: NodeJS.Signals): void {
    this.child.kill(signal);
  }

  /** Waits until `isReady`; an early end or too long a wait is the test's failure. */
  async until(isReady: () => boolean): Promise<this> {
    const end = Date.now() + START_LIMIT_MS;
    let code: number | string | undefined;
    void this.exited.then((value) => (code = value));
    while (!isReady()) {
      if (code !== undefined) throw new Error(`ended with ${code}: ${this.stderr}`);
      if (Date.now() > end) throw new Error(`not ready: ${this.stdout}${this.stderr}`);
      await sleep(10);
    }
    return this;
  }
}

const started = new Set<Running>();

afterEach(async () => {
  for (const one of started) await one.stop('SIGKILL');
});

/** A daemon whose everything is in `folder`: control.sock, nbd.sock, state/. */
export async function startDaemon(folder: string, ...more: readonly string[]): Promise<Running> {
  const places = ['--control', 'control.sock', '--state-dir', 'state', '--listen', 'unix:nbd.sock'];
  const daemon = new Running(folder, [DMIOD, ...places, ...ENGINE, ...more]);
  return daemon.until(() => daemon.stderr.includes('"msg":"ready"'));
}

/** `dmio serve ARGS...`, ready. */
export async function startServe(folder: string, ...args: readonly string[]): Promise<Running> {
  const serve = new Running(folder, [DMIO, 'serve', ...args, ...ENGINE]);
  return serve.until(() => /^serving .* at .*\n/.test(serve.stdout));
}

/** Every file below a folder with its kind, length and content: what "nothing changed" compares. */
export function snapshot(folder: string): Readonly<Record<string, string>> {
  const found: Record<string, string> = {};
  if (!existsSync(folder)) return found;
  for (const name of readdirSync(folder, { recursive: true, encoding: 'utf8' }).sort()) {
    const path = join(folder, name);
    const stats = lstatSync(path);
    if (!stats.isFile()) found[name] = stats.isDirectory() ? 'folder' : 'other';
    else found[name] = createHash('sha256').update(readFileSync(path)).digest('hex');
  }
  return found;
}
