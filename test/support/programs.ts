// The real binaries, as a user starts them: `dmio` to its end, `dmiod` and `dmio serve` until stopped.
// Whatever a test started and did not stop is killed after it.
import { createHash } from 'node:crypto';
import { existsSync, lstatSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';

import { probeRing } from '../../daemon/uring/probe.ts';
import { run } from './run.ts';
import type { Ran } from './run.ts';
import { DMIO, DMIOD, Running } from './running.ts';

/** Of the project of jest.config.js: these tests are played on the engine that `auto` finds, and again on Node's. */
export const TEST_ENGINE = engineOfProject();
const ENGINE = ['--engine', TEST_ENGINE];

function engineOfProject(): string {
  const chosen: unknown = Reflect.get(globalThis, 'TEST_ENGINE');
  // Were it lost on its way, half of the tests would be played on the wrong engine.
  if (typeof chosen !== 'string') throw new Error('jest.config.js names no TEST_ENGINE');
  return chosen;
}

/** The engine such a daemon says it has. */
export function engineInUse(): string {
  if (TEST_ENGINE !== 'auto') return TEST_ENGINE;
  const { errno, missing } = probeRing();
  return errno === 0 && missing === '' ? 'uring' : 'node';
}

/** `dmio ARGS...` in a folder; the daemon of `startDaemon` is found by its control socket there. */
export function dmio(folder: string, ...args: readonly string[]): Ran {
  return run(folder, process.execPath, DMIO, '--control', 'control.sock', ...args);
}

/** `dmiod ARGS...`, expected to end by itself. */
export function dmiod(folder: string, ...args: readonly string[]): Ran {
  return run(folder, process.execPath, DMIOD, ...args);
}

const started = new Set<Running>();

afterEach(async () => {
  for (const one of started) await one.stop('SIGKILL');
  started.clear();
});

/** A Node program of ours, killed after the test if it still runs. */
export function start(folder: string, ...args: readonly string[]): Running {
  const one = new Running(folder, args);
  started.add(one);
  return one;
}

/** What `dmiod` is started with when its everything is in its working folder. */
export const DAEMON_ARGS: readonly string[] = [
  ...[DMIOD, '--control', 'control.sock', '--state-dir', 'state', '--listen', 'unix:nbd.sock'],
  ...ENGINE,
];

/** Its log says that it serves. */
export function isReady(daemon: Running): boolean {
  return daemon.stderr.includes('"msg":"ready"');
}

/** A daemon whose everything is in `folder`: control.sock, nbd.sock, state/. */
export async function startDaemon(folder: string, ...more: readonly string[]): Promise<Running> {
  const daemon = start(folder, ...DAEMON_ARGS, ...more);
  return daemon.until(() => isReady(daemon));
}

/** `dmio serve ARGS...`, ready. */
export async function startServe(folder: string, ...args: readonly string[]): Promise<Running> {
  const serve = start(folder, DMIO, 'serve', ...args, ...ENGINE);
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
