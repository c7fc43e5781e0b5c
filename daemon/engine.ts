/** Which engine moves the data: chosen once, with the reason and the remedy in the log. */
import { readFileSync } from 'node:fs';
import { errnoName } from '../core/base/errno.ts';
import type { Log } from '../core/base/ports.ts';
import { ControlError } from '../core/control/error.ts';
import type { Engine } from './config/schema.ts';

export type EngineName = 'uring' | 'node';

/**
 * `auto` takes Node's fs and sockets for now; `uring` moves the data in a thread of its own for
 * each device, faster, and becomes `auto` when it has been through as much as the other has.
 * @throws ControlError unsupported: `uring` was asked for and cannot be had; why, and what helps
 */
export async function chooseEngine(wanted: Engine, log: Log): Promise<EngineName> {
  if (wanted !== 'uring') return 'node';
  const problem = await uringProblem();
  if (problem !== undefined) throw new ControlError('unsupported', `engine uring: ${problem}`);
  log.info({ engine: 'uring' }, 'io_uring moves the data');
  return 'uring';
}

/** Why there is no io_uring here, and what helps; undefined: there is. */
export async function uringProblem(): Promise<string | undefined> {
  try {
    const { probeRing } = await import('./uring/probe.ts');
    const errno = probeRing();
    if (errno === 0) return undefined;
    return `io_uring_setup: ${errnoName(errno)}; ${remedy()}`;
  } catch (error) {
    return `koffi cannot be loaded: ${error instanceof Error ? error.message : String(error)}`;
  }
}

function remedy(): string {
  const disabled = setting('/proc/sys/kernel/io_uring_disabled');
  if (disabled === undefined) return 'the kernel is older than io_uring, or it was left out';
  if (disabled === '0') return 'a seccomp filter or a container forbids io_uring_setup';
  return `sysctl kernel.io_uring_disabled is ${disabled}; 0 allows it`;
}

function setting(path: string): string | undefined {
  try {
    return readFileSync(path, 'utf8').trim();
  } catch {
    return undefined;
  }
}
