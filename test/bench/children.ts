// Programs the benchmark starts, and the only ones it ever ends: each by its pid, each from this list.
import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { setTimeout as sleep } from 'node:timers/promises';

import { searchPath } from '../support/requirements.ts';

const KEEP_CHARACTERS = 2 ** 22;
const STOP_LIMIT_MS = 15_000;

// The benchmark measures the program as its users start it, and finds qemu-nbd in sbin too.
const ENVIRONMENT = {
  ...process.env,
  NODE_OPTIONS: '',
  PATH: searchPath(process.env['PATH']).join(':'),
};

export class Child {
  stdout = '';
  stderr = '';
  /** What ended it, or null while it runs. */
  ended: string | null = null;
  readonly end: Promise<string>;
  private readonly process: ChildProcess;

  constructor(argv: readonly string[], folder: string) {
    const [command = '', ...args] = argv;
    this.process = spawn(command, args, {
      cwd: folder,
      env: ENVIRONMENT,
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    this.process.stdout?.on('data', (data: Buffer) => {
      this.stdout = (this.stdout + data.toString()).slice(-KEEP_CHARACTERS);
    });
    this.process.stderr?.on('data', (data: Buffer) => {
      this.stderr = (this.stderr + data.toString()).slice(-KEEP_CHARACTERS);
    });
    this.end = new Promise((tell) => {
      const done = (how: string): void => tell((this.ended ??= how));
      this.process.on('error', (error) => done(error.message));
      this.process.on('close', (code, signal) => done(signal ?? `exit ${String(code)}`));
    });
  }

  get pid(): number {
    return this.process.pid ?? 0;
  }

  kill(signal: NodeJS.Signals): void {
    if (this.ended === null) this.process.kill(signal);
  }

  /** Asks it to end, and after a while no longer asks. Returns what ended it. */
  async stop(): Promise<string> {
    this.kill('SIGTERM');
    const late = sleep(STOP_LIMIT_MS, null, { ref: false });
    if ((await Promise.race([this.end, late])) === null) this.kill('SIGKILL');
    return this.end;
  }

  /** One line of what it said: the last that names an error (a stack may follow it), else the last. */
  reason(): string {
    const text = this.stderr.trim() === '' ? this.stdout : this.stderr;
    const lines = text.split('\n').map((line) => line.trim());
    const said = lines.filter((line) => line !== '');
    return said.findLast((line) => /error/i.test(line)) ?? said.at(-1) ?? 'it said nothing';
  }
}

export class Children {
  private readonly running = new Set<Child>();
  /** How to end what has left the list of children: a server that made itself a daemon. */
  private readonly orphans = new Set<() => void>();
  private isClosed = false;

  /** @throws after `stopAll` */
  start(argv: readonly string[], folder: string): Child {
    if (this.isClosed) throw new Error('the benchmark is ending');
    const child = new Child(argv, folder);
    this.running.add(child);
    void child.end.then(() => this.running.delete(child));
    return child;
  }

  /** Runs a program to its end. @throws when it fails or takes too long */
  async run(argv: readonly string[], folder: string, limitMs: number): Promise<string> {
    const child = this.start(argv, folder);
    const isLate = await Promise.race([
      child.end.then(() => false),
      sleep(limitMs, true, { ref: false }),
    ]);
    if (isLate) await child.stop();
    if (isLate) throw new Error(`${argv[0] ?? ''} did not end within ${limitMs} ms`);
    if (child.ended === 'exit 0') return child.stdout;
    throw new Error(`${argv[0] ?? ''}: ${child.ended ?? ''}: ${child.reason()}`);
  }

  addOrphan(kill: () => void): void {
    this.orphans.add(kill);
  }

  removeOrphan(kill: () => void): void {
    this.orphans.delete(kill);
  }

  /** Ends everything, for good: what a turn would still start is refused. */
  async stopAll(): Promise<void> {
    this.isClosed = true;
    for (const kill of this.orphans) kill();
    await Promise.all([...this.running].map((child) => child.stop()));
  }
}
