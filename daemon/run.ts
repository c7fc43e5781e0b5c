/** A daemon as a process: signals in, exit code out. */
import { EXIT } from '../core/control/error.ts';
import type { Daemon } from './daemon.ts';
import type { DaemonLog } from './log.ts';

/** Longer than any drain; a leg that never answers must not keep the process for ever. */
const STOP_LIMIT_MS = 20_000;

/**
 * Signals from the first moment on: one that comes while the daemon starts is obeyed when it has started, so
 * that it too ends cleanly. A second one of a kind ends the process at once, as long as it starts.
 */
export class Signals {
  /** Which of them asked for the end. */
  readonly stop: Promise<string>;
  private readonly end: (reason: string) => void;
  private hungUp = false;
  private readonly heard = (): void => {
    this.hungUp = true;
  };

  constructor() {
    let end: (reason: string) => void = () => undefined;
    this.stop = new Promise((resolve) => {
      end = resolve;
    });
    this.end = end;
    for (const signal of ['SIGTERM', 'SIGINT']) process.once(signal, () => end(signal));
    process.on('SIGHUP', this.heard);
  }

  /** What SIGHUP does from now on, also one that has come; null: it ends the daemon. */
  hangUp(reload: (() => Promise<void>) | null): void {
    const act = (): void => {
      if (reload === null) this.end('SIGHUP');
      else void reload();
    };
    // In this order: without any listener a SIGHUP would end the process, if only for a moment.
    process.on('SIGHUP', act);
    process.removeListener('SIGHUP', this.heard);
    if (this.hungUp) act();
  }
}

export interface RunOptions {
  readonly log: DaemonLog;
  /** Made before the daemon was started. */
  readonly signals: Signals;
  /** On SIGHUP; without it SIGHUP ends the daemon, as it ends any program of a closed terminal. */
  readonly reload?: () => Promise<void>;
  /** Called when a signal would be heard: whoever is told may send one. */
  readonly ready?: () => void;
  /** Ends the run as SIGTERM would. */
  readonly ended?: Promise<void>;
  /** Told before anything is taken down. */
  readonly stopping?: () => void;
}

/** Fulfilled with the exit code when the daemon has been stopped. */
export async function runUntilStopped(daemon: Daemon, options: RunOptions): Promise<number> {
  const { log, signals, reload, ready, ended } = options;
  process.once('uncaughtException', (error) => {
    log.error({ stack: error.stack ?? error.message }, 'a defect: stopped at once');
    process.exit(EXIT.FAILED);
  });
  signals.hangUp(reload ?? null);
  ready?.();
  const gone = ended?.then(() => 'the client has gone');
  const reason = await (gone === undefined ? signals.stop : Promise.race([signals.stop, gone]));
  log.info({ reason }, 'stopping');
  options.stopping?.();
  return new Promise((exit) => {
    const hurry = (signal: string): void => {
      log.error({ signal }, 'hurried: stopped without flushing; the next start will check');
      exit(EXIT.FAILED);
    };
    for (const signal of ['SIGTERM', 'SIGINT']) process.once(signal, hurry);
    setTimeout(() => {
      log.error({}, 'a leg does not answer: stopped without flushing; the next start will check');
      exit(EXIT.FAILED);
    }, STOP_LIMIT_MS).unref();
    daemon.stop().then(
      () => {
        log.info({}, 'stopped');
        exit(EXIT.DONE);
      },
      (error: unknown) => {
        log.error({ error: String(error) }, 'stopped badly');
        exit(EXIT.FAILED);
      },
    );
  });
}
