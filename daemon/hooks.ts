/** [hooks]: a program of the operator's for each event, one after the other, the event on its stdin. */
import { spawn } from 'node:child_process';
import type { Log } from '../core/base/ports.ts';
import type { Config } from './config/schema.ts';
import type { DaemonEvent } from './event.ts';

/** Events that wait behind a slow program; more are dropped, with a word in the log. */
const MAX_WAITING = 256;
const TIMEOUT_SECONDS = 30;
const WORDS_LENGTH = 500;

export type HooksConfig = NonNullable<Config['hooks']>;

export class Hooks {
  private config: HooksConfig | undefined;
  private readonly log: Log;
  private readonly waiting: DaemonEvent[] = [];
  private running = false;

  constructor(config: HooksConfig | undefined, log: Log) {
    this.config = config;
    this.log = log;
  }

  /** Another config file: for events that come from now on. */
  set(config: HooksConfig | undefined): void {
    this.config = config;
  }

  fire(event: DaemonEvent): void {
    const { config } = this;
    if (config === undefined) return;
    if (config.events !== undefined && !config.events.includes(event.event)) return;
    if (this.waiting.length >= MAX_WAITING) {
      this.log.error({ event: event.event, device: event.device }, 'hook dropped: too many wait');
      return;
    }
    this.waiting.push(event);
    if (!this.running) void this.work();
  }

  private async work(): Promise<void> {
    this.running = true;
    for (let event = this.waiting.shift(); event !== undefined; event = this.waiting.shift()) {
      if (this.config !== undefined) await this.runOne(this.config, event);
    }
    this.running = false;
  }

  private runOne({ run, timeout }: HooksConfig, event: DaemonEvent): Promise<void> {
    const [program = '', ...args] = run;
    const limitMs = (timeout ?? TIMEOUT_SECONDS) * 1000;
    return new Promise((ended) => {
      // A group of its own: what it has started ends with it.
      const child = spawn(program, args, {
        stdio: ['pipe', 'ignore', 'pipe'],
        detached: true,
        env: { ...process.env, DMIOD_EVENT: event.event, DMIOD_DEVICE: event.device },
      });
      const timer = setTimeout(() => killGroup(child.pid), limitMs);
      let words = '';
      const done = (why: string): void => {
        clearTimeout(timer);
        child.stderr.destroy();
        if (why !== '') this.log.warn({ program, event: event.event, why, words }, 'hook failed');
        ended();
      };
      child.stderr.on('data', (text: Buffer) => {
        words = (words + text.toString()).slice(-WORDS_LENGTH);
      });
      // A program that does not read is welcome.
      child.stdin.on('error', () => undefined);
      child.stdin.end(`${JSON.stringify(event)}\n`);
      child.on('error', (error) => done(error.message));
      child.on('exit', (code, signal) => {
        done(code === 0 ? '' : signal === null ? `exit code ${String(code)}` : signal);
      });
    });
  }
}

function killGroup(pid: number | undefined): void {
  if (pid === undefined) return;
  try {
    process.kill(-pid, 'SIGKILL');
  } catch {
    // It has ended meanwhile.
  }
}
