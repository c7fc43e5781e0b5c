import pino from 'pino';
import pretty from 'pino-pretty';
import type { Log, LogFields } from '../core/base/ports.ts';
import type { LogLevel } from './config/schema.ts';

/** The core's Log, whose level may change while it runs. */
export interface DaemonLog extends Log {
  setLevel(level: LogLevel): void;
}

/**
 * JSON lines on stderr; pretty when stderr is a terminal. Both write in this thread and at once: a
 * transport in a worker would lose the last lines, which are the ones that say why it ended.
 */
export function openLog(level: LogLevel): DaemonLog {
  const stderr = pino.destination({ fd: 2, sync: true });
  // Whoever read the log has gone; the data has not.
  stderr.on('error', () => undefined);
  const stream = process.stderr.isTTY
    ? pretty({ destination: stderr, ignore: 'pid,hostname', translateTime: 'SYS:HH:MM:ss.l' })
    : stderr;
  const logger = pino({ level }, stream);
  return {
    info: (fields: LogFields, message: string) => logger.info(fields, message),
    warn: (fields: LogFields, message: string) => logger.warn(fields, message),
    error: (fields: LogFields, message: string) => logger.error(fields, message),
    setLevel(next: LogLevel): void {
      logger.level = next;
    },
  };
}
