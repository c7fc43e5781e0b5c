import { createRequire } from 'node:module';

import pino from 'pino';
import type pinoPretty from 'pino-pretty';
import type { Log, LogFields } from '../core/base/ports.ts';
import type { LogLevel } from './config/schema.ts';
import { isJournal, journalEntry, openJournal, withPriority } from './journal.ts';

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
  const toJournal = isJournal(process.env);
  const stream = process.stderr.isTTY
    ? prettyStream(stderr)
    : toJournal
      ? { write: (line: string) => void stderr.write(withPriority(line)) }
      : stderr;
  const logger = pino({ level }, stream);
  const journal = toJournal ? openJournal() : () => false;
  /** True: the journal has it, with its message id. */
  const isTaken = (priority: number, fields: LogFields, message: string): boolean => {
    const entry = toJournal ? journalEntry(priority, fields, message) : undefined;
    return entry !== undefined && journal(entry);
  };
  return {
    info: (fields: LogFields, message: string) => {
      if (!logger.isLevelEnabled('info') || !isTaken(6, fields, message)) {
        logger.info(fields, message);
      }
    },
    warn: (fields: LogFields, message: string) => {
      if (!logger.isLevelEnabled('warn') || !isTaken(4, fields, message)) {
        logger.warn(fields, message);
      }
    },
    error: (fields: LogFields, message: string) => {
      if (!logger.isLevelEnabled('error') || !isTaken(3, fields, message)) {
        logger.error(fields, message);
      }
    },
    setLevel(next: LogLevel): void {
      logger.level = next;
    },
  };
}

/** For people. A daemon at boot does not wait for the fifty files of it. */
function prettyStream(destination: ReturnType<typeof pino.destination>): pino.DestinationStream {
  const pretty = createRequire(import.meta.url)('pino-pretty') as typeof pinoPretty;
  return pretty({ destination, ignore: 'pid,hostname', translateTime: 'SYS:HH:MM:ss.l' });
}
