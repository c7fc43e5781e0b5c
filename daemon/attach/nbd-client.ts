/** The system's nbd-client: found, started, and its failures put into words. */
import { spawn } from 'node:child_process';
import { accessSync, constants, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { ControlError } from '../../core/control/error.ts';
import { nbdPath } from './nbd-block.ts';

/** sbin is not on every user's PATH. */
const SBIN = ['/usr/local/sbin', '/usr/sbin', '/sbin', '/usr/bin', '/bin'];

const CAP_SYS_ADMIN = 21;

export const NO_NBD_CLIENT = 'nbd-client is not installed: apt-get install nbd-client';
export const NO_MODULE =
  'the kernel has no nbd: "modprobe nbd" loads the module, if this kernel has it';
export const NO_RIGHTS = 'this needs CAP_SYS_ADMIN: run dmiod as root';

export interface ConnectPlan {
  readonly index: number;
  readonly exportName: string;
  readonly socketPath: string;
  readonly connections: number;
  readonly timeoutSeconds: number;
  readonly blockBytes: number;
}

/** Long options only: what they mean has not changed since 3.10. */
export function connectArguments(plan: ConnectPlan): readonly string[] {
  return [
    ...['-unix', plan.socketPath, '-name', plan.exportName],
    ...['-connections', String(plan.connections), '-timeout', String(plan.timeoutSeconds)],
    ...['-block-size', String(plan.blockBytes), nbdPath(plan.index)],
  ];
}

export function findProgram(name: string, path = process.env['PATH'] ?? ''): string | undefined {
  const folders = [...path.split(':').filter((folder) => folder !== ''), ...SBIN];
  return folders.map((folder) => join(folder, name)).find(isExecutable);
}

/** True when the effective capabilities of this process have CAP_SYS_ADMIN. */
export function mayAdminister(status = readStatus()): boolean {
  const match = /^CapEff:\s*([0-9a-f]+)$/m.exec(status);
  return match !== null && ((BigInt(`0x${match[1] ?? '0'}`) >> BigInt(CAP_SYS_ADMIN)) & 1n) === 1n;
}

/**
 * Runs it to its end; it exits at once, the kernel keeps the connections.
 * @throws ControlError with its last words
 */
export async function nbdClient(args: readonly string[], limitMs: number): Promise<void> {
  const program = findProgram('nbd-client');
  if (program === undefined) throw new ControlError('unsupported', NO_NBD_CLIENT);
  const { code, words } = await runToEnd(program, args, limitMs);
  if (code === 0) return;
  const what = code === null ? `did not end within ${limitMs / 1000} s` : `failed with ${code}`;
  throw new ControlError('io', `nbd-client ${what}: ${words === '' ? 'no word why' : words}`);
}

interface Ended {
  readonly code: number | null;
  readonly words: string;
}

/** The loop goes on meanwhile: what is started here may read from this very daemon. */
export function runToEnd(
  program: string,
  args: readonly string[],
  limitMs: number,
): Promise<Ended> {
  return new Promise((ended) => {
    const child = spawn(program, args, {
      stdio: ['ignore', 'ignore', 'pipe'],
      timeout: limitMs,
      killSignal: 'SIGKILL',
    });
    let stderr = '';
    child.stderr.setEncoding('utf8');
    child.stderr.on('data', (text: string) => (stderr = (stderr + text).slice(-2000)));
    child.on('error', (error) => ended({ code: 127, words: error.message }));
    child.on('close', (code) => ended({ code, words: lastLine(stderr) }));
  });
}

function lastLine(text: string): string {
  const lines = text.trim().split('\n');
  // It says so of every -unix without knowing better.
  return lines.filter((line) => !line.startsWith('Warning: ')).at(-1) ?? '';
}

function isExecutable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}

function readStatus(): string {
  try {
    return readFileSync('/proc/self/status', 'utf8');
  } catch {
    return '';
  }
}
