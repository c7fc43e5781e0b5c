// Legs that go bad while they are in use: nbdkit's error filter behind nbdfuse, and a full file system.
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';

import { run } from './run.ts';

/** A file of `megabytes` MiB whose writes (or reads, or flushes) fail once `break` was called. */
export interface BreakableLeg {
  readonly path: string;
  break(): void;
  heal(): void;
  /** Its server stops, and nothing is answered; then it goes on. */
  stop(): void;
  goOn(): void;
}

const undo: (() => void)[] = [];

afterEach(() => {
  for (const one of undo.splice(0).reverse()) one();
});

async function until(isReady: () => boolean, what: string): Promise<void> {
  for (let i = 0; i < 500; i += 1) {
    if (isReady()) return;
    await sleep(20);
  }
  throw new Error(`${what}: not ready`);
}

/** The error filter of Debian 12 knows no flush: nbdkit's eval plugin over a file is a leg of shell. */
function nbdkitArgs(operation: string, trigger: string, file: string, megabytes: number): string[] {
  if (operation !== 'flush') {
    const fails = [`error-${operation}=EIO`, `error-${operation}-rate=1`, `error-file=${trigger}`];
    return ['--filter=error', 'memory', `${megabytes}M`, ...fails];
  }
  return [
    'eval',
    `get_size=echo ${megabytes}M`,
    `pread=dd if=${file} skip=$4 count=$3 iflag=skip_bytes,count_bytes status=none`,
    `pwrite=dd of=${file} seek=$4 oflag=seek_bytes conv=notrunc status=none`,
    'can_write=exit 0',
    'can_flush=exit 0',
    `flush=[ ! -e ${trigger} ] || { echo EIO broken >&2; exit 1; }`,
  ];
}

/** `operation`: what fails once the leg is broken. */
export async function breakableLeg(
  folder: string,
  name: string,
  operation: 'pread' | 'pwrite' | 'flush',
  megabytes: number,
): Promise<BreakableLeg> {
  const at = (suffix: string): string => join(folder, `${name}${suffix}`);
  const [socket, pid, trigger, mount] = ['.sock', '.pid', '.bad', '.d'].map(at) as [
    string,
    string,
    string,
    string,
  ];
  const file = at('.store');
  expect(run(folder, 'truncate', '-s', `${megabytes}M`, file)).toMatchObject({ code: 0 });
  const plugin = nbdkitArgs(operation, trigger, file, megabytes);
  expect(run(folder, 'nbdkit', '-U', socket, '-P', pid, ...plugin)).toMatchObject({ code: 0 });
  undo.push(() => spawnSync('sh', ['-c', `kill -CONT $(cat ${pid}); kill $(cat ${pid})`]));
  mkdirSync(mount);
  const fuse = join(mount, 'nbd');
  // nbdfuse stays in the foreground; the shell puts it behind, and the unmount ends it.
  spawnSync('sh', ['-c', `nbdfuse ${fuse} --unix ${socket} >/dev/null 2>&1 &`]);
  undo.push(() => spawnSync('fusermount3', ['-uz', mount]));
  await until(() => existsSync(fuse), 'nbdfuse');
  return {
    path: fuse,
    break: () => writeFileSync(trigger, ''),
    heal: () => rmSync(trigger, { force: true }),
    stop: () => signal(pid, 'STOP'),
    goOn: () => signal(pid, 'CONT'),
  };
}

function signal(pidFile: string, name: 'STOP' | 'CONT'): void {
  process.kill(Number(readFileSync(pidFile, 'utf8')), `SIG${name}`);
}

/** A folder on a file system of its own with room for `megabytes` MiB; needs root. */
export function smallFileSystem(folder: string, megabytes: number): string {
  const mount = join(folder, 'small');
  mkdirSync(mount);
  const made = run(folder, 'mount', '-t', 'tmpfs', '-o', `size=${megabytes}m`, 'tmpfs', mount);
  expect(made).toMatchObject({ code: 0 });
  undo.push(() => spawnSync('umount', ['-l', mount]));
  return mount;
}
