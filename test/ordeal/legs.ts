// A leg that can be made bad and good again while it is in use: a file behind nbdkit (error and rate
// filters) behind nbdfuse, so that the daemon sees a file.
import { spawn, spawnSync, type ChildProcess } from 'node:child_process';
import { existsSync, mkdirSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';

import { ENVIRONMENT, run } from '../support/run.ts';

/** Against what never comes: a machine with much other work takes minutes to start a program. */
export const LIMIT_SECONDS = 600;
/** A slow leg's rate, in bits a second: about a hundredth of what the others do. */
const SLOW = '24M';
const QUICK = '100G';

export class OrdealLeg {
  /** What the mirror is given. */
  readonly path: string;
  /** What is really there, for comparing. */
  readonly store: string;
  private readonly folder: string;
  private server: ChildProcess | null = null;
  private fuse: ChildProcess | null = null;

  constructor(folder: string, name: string, megabytes: number) {
    this.folder = join(folder, name);
    mkdirSync(join(this.folder, 'd'), { recursive: true });
    this.path = join(this.folder, 'd', 'nbd');
    this.store = join(this.folder, 'store.img');
    const made = run(folder, 'truncate', '-s', `${megabytes}M`, this.store);
    if (made.code !== 0) throw new Error(made.stderr);
  }

  /** The leg's machine comes up. */
  async start(): Promise<void> {
    const socket = join(this.folder, 'sock');
    rmSync(socket, { force: true });
    this.setRate(QUICK);
    this.server = this.launch('nbdkit', [
      ...['-f', '-U', socket, '--filter=error', '--filter=rate', 'file', this.store],
      ...['error-pread=EIO', 'error-pread-rate=1', `error-pread-file=${this.at('gone')}`],
      ...['error-pwrite=ENOSPC', 'error-pwrite-rate=1', `error-pwrite-file=${this.at('full')}`],
      ...['error-zero=ENOSPC', 'error-zero-rate=1', `error-zero-file=${this.at('full')}`],
      ...[`rate-file=${this.at('rate')}`],
    ]);
    await until(() => existsSync(socket), 'nbdkit');
    this.fuse = this.launch('nbdfuse', [this.path, '--unix', socket]);
    await until(() => existsSync(this.path), 'nbdfuse');
  }

  /** Its machine vanishes: the open file gives errors for ever, and the path is gone. */
  async kill(): Promise<void> {
    this.server?.kill('SIGKILL');
    await ended(this.server);
    spawnSync('fusermount3', ['-uz', join(this.folder, 'd')]);
    this.fuse?.kill('SIGKILL');
    await ended(this.fuse);
    this.server = null;
    this.fuse = null;
  }

  /** Reads and writes fail, but it stays open. */
  fail(): void {
    writeFileSync(this.at('gone'), '');
    writeFileSync(this.at('full'), '');
  }

  fill(): void {
    writeFileSync(this.at('full'), '');
  }

  slow(): void {
    this.setRate(SLOW);
  }

  /** Good again, and up. */
  async heal(): Promise<void> {
    rmSync(this.at('gone'), { force: true });
    rmSync(this.at('full'), { force: true });
    this.setRate(QUICK);
    if (this.server === null) await this.start();
  }

  private at(name: string): string {
    return join(this.folder, name);
  }

  /** As nbdkit wants it: never half a number. */
  private setRate(rate: string): void {
    writeFileSync(this.at('rate.new'), rate);
    renameSync(this.at('rate.new'), this.at('rate'));
  }

  private launch(command: string, args: readonly string[]): ChildProcess {
    return spawn(command, args, { cwd: this.folder, env: ENVIRONMENT, stdio: 'ignore' });
  }
}

export async function until(isReady: () => boolean, what: string): Promise<void> {
  const end = Date.now() + LIMIT_SECONDS * 1000;
  while (!isReady()) {
    if (Date.now() > end) throw new Error(`${what} is not ready after ${LIMIT_SECONDS} s`);
    await sleep(20);
  }
}

function ended(child: ChildProcess | null): Promise<void> {
  if (child === null || child.exitCode !== null || child.signalCode !== null) {
    return Promise.resolve();
  }
  return new Promise((resolve) => child.once('exit', () => resolve()));
}
