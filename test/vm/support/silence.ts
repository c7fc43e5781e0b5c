// How long a machine has been silent, of the time in which it could have spoken.
import { readdirSync, readFileSync } from 'node:fs';

const LOOK_MS = 2000;

/**
 * A machine that shares its processors with much other work is silent for long without standing still: time in
 * which its processes were ready to run, and waited for a processor, does not count. (Linux says that in
 * /proc/PID/schedstat; without it all time counts.)
 */
export class Silence {
  private readonly group: number;
  private waited: ReadonlyMap<string, number> | null = null;
  private silentMs = 0;
  private lookedAt = performance.now();

  /** `group`: the process group of the machine. */
  constructor(group: number) {
    this.group = group;
  }

  heard(): void {
    this.silentMs = 0;
    this.lookedAt = performance.now();
  }

  isLongerThan(ms: number): boolean {
    const now = performance.now();
    const passed = now - this.lookedAt;
    if (passed < LOOK_MS) return false;
    this.lookedAt = now;
    const before = this.waited;
    this.waited = waitedOf(this.group);
    let waited = 0;
    // A process that was not there before has begun meanwhile.
    for (const [pid, total] of this.waited) {
      waited += before === null ? 0 : total - (before.get(pid) ?? 0);
    }
    this.silentMs += Math.max(0, passed - waited);
    return this.silentMs > ms;
  }
}

/** Milliseconds for which each process of the group has waited for a processor. */
function waitedOf(group: number): Map<string, number> {
  const waited = new Map<string, number>();
  for (const pid of readdirSync('/proc').filter((name) => /^\d+$/.test(name))) {
    try {
      const [, , , , pgrp] = readFileSync(`/proc/${pid}/stat`, 'latin1')
        .replace(/\(.*\)/, '0')
        .split(' ');
      if (Number(pgrp) !== group) continue;
      const [, delay] = readFileSync(`/proc/${pid}/schedstat`, 'latin1').split(' ');
      waited.set(pid, Number(delay) / 1e6);
    } catch {
      // It has ended meanwhile.
    }
  }
  return waited;
}
