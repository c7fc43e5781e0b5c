/** Which engine moves the data: chosen once, with the reason and the remedy in the log. */
import { readFileSync } from 'node:fs';
import { errnoName } from '../core/base/errno.ts';
import type { Log } from '../core/base/ports.ts';
import { ControlError } from '../core/control/error.ts';
import type { Engine } from './config/schema.ts';

export type EngineName = 'uring' | 'node';

/**
 * `auto` takes io_uring where the kernel gives it to us, else Node's fs and sockets: slower, and as
 * complete. What it took, and what would help, is one line of the log.
 * @throws ControlError unsupported: `uring` was asked for and cannot be had; why, and what helps
 */
export async function chooseEngine(wanted: Engine, log: Log): Promise<EngineName> {
  if (wanted === 'node') {
    log.info({ engine: 'node' }, "Node's fs moves the data, as asked; engine auto may be faster");
    return 'node';
  }
  const found = await probeUring();
  if (found.problem === undefined) {
    log.info({ engine: 'uring', ring: found.ring }, 'io_uring moves the data');
    return 'uring';
  }
  const { problem } = found;
  if (wanted === 'uring') throw new ControlError('unsupported', `engine uring: ${problem}`);
  log.info({ engine: 'node', why: problem }, "Node's fs moves the data: io_uring would be faster");
  return 'node';
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
