// How the tests play the simulator: in a process of its own, since Jest's sandbox makes every use of a
// global several times slower.
import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { ROOT } from '../support/root.ts';
import { FAST } from './fast.ts';

/** Against what never ends, not a measure of speed. */
export const PATIENCE_MS = 600_000;

export function sim(...args: readonly string[]): { status: number | null; stdout: string } {
  const main = join(ROOT, 'dist/test/sim/main.js');
  return spawnSync(process.execPath, [...FAST, main, ...args], { encoding: 'utf8' });
}
