/** Which engine moves the data: chosen once, with the reason and the remedy for the log. */
import { readFileSync } from 'node:fs';
import { errnoName } from '../core/base/errno.ts';
import type { LogFields } from '../core/base/ports.ts';
import { ControlError } from '../core/control/error.ts';
import type { Engine } from './config/schema.ts';

export type EngineName = 'uring' | 'node';

/** The engine, and the line of the log that says why it is this one. */
export interface ChosenEngine {
  readonly name: EngineName;
  readonly fields: LogFields;
  readonly message: string;
}

/**
 * `auto` takes io_uring where the kernel gives it to us, else Node's fs and sockets: slower, and as
 * complete.
 * @throws ControlError unsupported: `uring` was asked for and cannot be had; why, and what helps
 */
export async function chooseEngine(wanted: Engine): Promise<ChosenEngine> {
  if (wanted === 'node') {
    const message = "Node's fs moves the data, as asked; engine auto may be faster";
    return { name: 'node', fields: { engine: 'node' }, message };
  }
  const found = await probeUring();
  if (found.problem === undefined) {
    const fields = { engine: 'uring', ring: found.ring };
    return { name: 'uring', fields, message: 'io_uring moves the data' };
  }
  const { problem } = found;
  if (wanted === 'uring') throw new ControlError('unsupported', `engine uring: ${problem}`);
  const message = "Node's fs moves the data: io_uring would be faster";
  return { name: 'node', fields: { engine: 'node', why: problem }, message };
}

/** `ring`: the flags it is set up with, best first; `problem`: why there is none, and what helps. */
type Found = { readonly ring: string; readonly problem?: undefined } | { readonly problem: string };

export async function probeUring(): Promise<Found> {
  try {
    const { probeRing } = await import('./uring/probe.ts');
    const found = probeRing();
    if (found.errno !== 0)
      return { problem: `io_uring_setup: ${errnoName(found.errno)}; ${remedy()}` };
    if (found.missing !== '') {
      return { problem: `this kernel's io_uring lacks ${found.missing}; Linux 5.11 has it` };
    }
    return { ring: found.flags };
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error);
    return { problem: `koffi cannot be loaded: ${why}` };
  }
}

function remedy(): string {
  const disabled = setting('/proc/sys/kernel/io_uring_disabled');
  if (disabled !== undefined && disabled !== '0') {
    return `sysctl kernel.io_uring_disabled is ${disabled}; 0 allows it`;
  }
  return disabled === undefined && setting('/proc/sys/kernel/osrelease')?.startsWith('4.') === true
    ? 'the kernel is older than io_uring'
    : 'a seccomp filter or a container forbids it, or the kernel was built without';
}

function setting(path: string): string | undefined {
  try {
    return readFileSync(path, 'utf8').trim();
  } catch {
    return undefined;
  }
}
