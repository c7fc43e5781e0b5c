// A program that runs until it is stopped, and where ours are.
import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';

import { ROOT } from './root.ts';
import { ENVIRONMENT } from './run.ts';

export const DMIO = join(ROOT, 'dist/cli/main.js');
export const DMIOD = join(ROOT, 'dist/daemon/main.js');

/** Against what never comes, not a measure of speed: machines may have other work. */
const START_LIMIT_MS = 60_000;
const STOP_LIMIT_MS = 60_000;

/** A Node program of ours, started with `args` in `folder`. */
export class Running {
  stdout = '';
  stderr = '';
  readonly exited: Promise<number | string>;
  private readonly child: ChildProcess;

  /** `before`: a program that becomes ours, as `ip netns exec NAME` does. */
  constructor(folder: string, args: readonly string[], before: readonly string[] = []) {
    const [command = '', ...all] = [...before, process.execPath, ...args];
    this.child = spawn(command, all, {
      cwd: folder,
      env: ENVIRONMENT,
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    this.child.stdout?.on('data', (data: Buffer) => (this.stdout += data.toString()));
    this.child.stderr?.on('data', (data: Buffer) => (this.stderr += data.toString()));
    this.exited = new Promise((tell) => {
      this.child.on('close', (code, signal) => tell(code ?? signal ?? 'unknown'));
    });
  }

  get pid(): number {
    return this.child.pid ?? 0;
  }

  /** Sends the signal and waits for the end: its exit code, or the signal that ended it. */
  async stop(signal: NodeJS.Signals = 'SIGTERM'): Promise<number | string> {
    this.child.kill(signal);
    const late = sleep(STOP_LIMIT_MS, 'still running', { ref: false });
    return Promise.race([this.exited, late]);
  }

  signal(signal: NodeJS.Signals): void {
    this.child.kill(signal);
  }

  /** Waits until `isReady`; an early end or too long a wait is the caller's failure. */
  async until(isReady: () => boolean, limitMs = START_LIMIT_MS): Promise<this> {
    const end = Date.now() + limitMs;
    let code: number | string | undefined;
    void this.exited.then((value) => (code = value));
    while (!isReady()) {
      if (code !== undefined) throw new Error(`ended with ${code}: ${this.stderr}`);
      if (Date.now() > end) throw new Error(`not ready: ${this.stdout}${this.stderr}`);
      await sleep(10);
    }
    return this;
  }
}
