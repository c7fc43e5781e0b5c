// What /proc says of a server: CPU time and peak memory of a process and its descendants (nbd-server
// has one process per connection; the others are one process with threads).
import { readdirSync, readFileSync } from 'node:fs';

/** USER_HZ: what /proc counts in, on every Linux that Node runs on. */
const TICKS_PER_SECOND = 100;

interface ProcessStat {
  readonly parent: number;
  /** Z (zombie) and X (dead) have ended. */
  readonly state: string;
  readonly ownTicks: number;
  /** Of the children that have ended and were waited for. */
  readonly reapedTicks: number;
}

/** proc_pid_stat(5); the command's name may hold spaces and brackets, so fields count from the last `)`. */
export function parseStat(text: string): ProcessStat {
  const fields = text.slice(text.lastIndexOf(')') + 2).split(' ');
  const number = (index: number): number => Number(fields[index] ?? NaN);
  return {
    state: fields[0] ?? '',
    parent: number(1),
    ownTicks: number(11) + number(12),
    reapedTicks: number(13) + number(14),
  };
}

function statOf(pid: number): ProcessStat | null {
  const text = read(`/proc/${pid}/stat`);
  return text === null ? null : parseStat(text);
}

export function isAlive(pid: number): boolean {
  const stat = statOf(pid);
  return stat !== null && stat.state !== 'Z' && stat.state !== 'X';
}

/** The process and all below it. */
function treeOf(root: number): readonly number[] {
  const parents = new Map<number, number>();
  for (const name of readdirSync('/proc')) {
    const stat = /^\d+$/.test(name) ? statOf(Number(name)) : null;
    if (stat !== null) parents.set(Number(name), stat.parent);
  }
  const found = [root];
  // Grows while it is walked: children of children are found from the ones just added.
  for (const parent of found) {
    for (const [pid, its] of parents) if (its === parent) found.push(pid);
  }
  return found;
}

/** CPU seconds, user and system, since each process started. */
export function cpuSecondsOf(root: number): number {
  let ticks = 0;
  for (const pid of treeOf(root)) {
    const stat = statOf(pid);
    if (stat !== null) ticks += stat.ownTicks + stat.reapedTicks;
  }
  return ticks / TICKS_PER_SECOND;
}

/** VmHWM in MiB, summed: pages that forked processes share are counted in each. */
export function memoryMibOf(root: number): number {
  let kib = 0;
  for (const pid of treeOf(root)) kib += parsePeakKib(read(`/proc/${pid}/status`) ?? '');
  return kib / 1024;
}

/** 0 for a process without memory: a kernel thread, a zombie. */
export function parsePeakKib(status: string): number {
  return Number(/^VmHWM:\s*(\d+) kB$/m.exec(status)?.[1] ?? 0);
}

function read(path: string): string | null {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return null;
  }
}
