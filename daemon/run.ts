/** A daemon as a process: signals in, exit code out. */
import { EXIT } from '../core/control/error.ts';
import type { Daemon } from './daemon.ts';
import type { DaemonLog } from './log.ts';

/** Longer than any drain; a leg that never answers must not keep the process for ever. */
const STOP_LIMIT_MS = 20_000;

export interface RunOptions {
  readonly log: DaemonLog;
  /** On SIGHUP; without it SIGHUP ends the daemon, as it ends any program of a closed terminal. */
  readonly reload?: () => Promise<void>;
  /** Ends the run as SIGTERM would. */
  readonly ended?: Promise<void>;
  /** Told before anything is taken down. */
  readonly stopping?: () => void;
}

/** Fulfilled with the exit code when the daemon has been stopped. */
export async function runUntilStopped(daemon: Daemon, options: RunOptions): Promise<number> {
  const { log, reload, ended } = options;
  process.once('uncaughtException', (error) => {
    log.error({ stack: error.stack ?? error.message }, 'a defect: stopped at once');
    process.exit(EXIT.FAILED);
  });
  const reason = await new Promise<string>((stop) => {
    process.once('SIGTERM', () => stop('SIGTERM'));
    process.once('SIGINT', () => stop('SIGINT'));
    void ended?.then(() => stop('the client has gone'));
    process.on('SIGHUP', () => {
      if (reload === undefined) stop('SIGHUP');
      else void reload();
    });
  });
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
