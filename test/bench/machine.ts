// The facts a figure cannot be read without: the machine, the programs, who else was busy.
import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { cpus, loadavg, release, totalmem } from 'node:os';

import { ROOT } from '../support/root.ts';
import type { Children } from './children.ts';
import type { Server } from './servers.ts';

const VERSION_LIMIT_MS = 10_000;

export interface Machine {
  readonly cpu: string;
  /** CPUs this process may use. */
  readonly cpus: readonly number[];
  readonly memoryMib: number;
  readonly kernel: string;
  readonly node: string;
  readonly fileSystem: string;
  readonly loadAverage: readonly number[];
  readonly commit: string;
}

export function machineFacts(dataFolder: string): Machine {
  return {
    cpu: cpus()[0]?.model ?? 'unknown',
    cpus: allowedCpus(),
    memoryMib: Math.round(totalmem() / 2 ** 20),
    kernel: release(),
    node: process.version,
    fileSystem: output('findmnt', '-n', '-o', 'FSTYPE,SOURCE', '-T', dataFolder),
    loadAverage: loadavg(),
    commit: output('git', '-C', ROOT, 'describe', '--always', '--dirty', '--abbrev=12'),
  };
}

function output(command: string, ...args: readonly string[]): string {
  try {
    const stdio = ['ignore', 'pipe', 'ignore'] as const;
    return execFileSync(command, args, { encoding: 'utf8', stdio: [...stdio] }).trim();
  } catch {
    return 'unknown';
  }
}

function allowedCpus(): readonly number[] {
  const status = readFileSync('/proc/self/status', 'utf8');
  return parseCpuList(/^Cpus_allowed_list:\s*(\S+)$/m.exec(status)?.[1] ?? '0');
}

/** cpuset(7) "List format": `0-2,7` is 0, 1, 2, 7. */
export function parseCpuList(text: string): readonly number[] {
  return text.split(',').flatMap((part) => {
    const [first = 0, last = first] = part.split('-').map(Number);
    return Array.from({ length: last - first + 1 }, (_, i) => first + i);
  });
}

/** The first line with a number in it; programs differ in where they print it. */
export async function versionOf(children: Children, server: Server): Promise<string> {
  const child = children.start(server.version, ROOT);
  const timer = setTimeout(() => child.kill('SIGTERM'), VERSION_LIMIT_MS);
  await child.end;
  clearTimeout(timer);
  const lines = `${child.stdout}\n${child.stderr}`.split('\n');
  return lines.find((line) => /\d/.test(line))?.trim() ?? 'unknown';
}
