/**
 * The journal's own protocol (systemd: "Native Journal Protocol"), for the lines that have a message
 * id: `journalctl MESSAGE_ID=...` and `DMIOD_DEVICE=data` find them. All else goes to stderr, which
 * systemd reads as lines with the priority in front.
 */
import { fstatSync } from 'node:fs';
import type { LogFields } from '../core/base/ports.ts';
import { EVENT_IDS } from './event.ts';
import { AF, processCalls, SOCK, unixAddress } from './sys/process-calls.ts';

const SOCKET = '/run/systemd/journal/socket';
/** syslog(3): pino's level -> priority. */
const PRIORITIES: Readonly<Record<string, number>> = { 10: 7, 20: 7, 30: 6, 40: 4, 50: 3, 60: 2 };

/** True: our stderr is the journal's (systemd.exec, JOURNAL_STREAM). */
export function isJournal(environment: NodeJS.ProcessEnv, fd = 2): boolean {
  try {
    const { dev, ino } = fstatSync(fd);
    return environment['JOURNAL_STREAM'] === `${dev}:${ino}`;
  } catch {
    return false;
  }
}

/** `<6>{"level":30,...}`: the priority of a line on stderr (sd-daemon(3)). */
export function withPriority(line: string): string {
  const level = /^\{"level":(\d+)/.exec(line)?.[1] ?? '30';
  return `<${PRIORITIES[level] ?? 6}>${line}`;
}

/** The entry of a line that has a message id; undefined: it has none. */
export function journalEntry(
  priority: number,
  fields: LogFields,
  message: string,
): string | undefined {
  const event = fields['event'];
  if (typeof event !== 'string' || !isKnown(event)) return undefined;
  const own = Object.entries(fields).map(
    ([key, value]) => [`DMIOD_${key.replace(/([A-Z])/g, '_$1').toUpperCase()}`, value] as const,
  );
  const entry = [
    ['MESSAGE', message],
    ['MESSAGE_ID', EVENT_IDS[event]],
    ['PRIORITY', priority],
    ['SYSLOG_IDENTIFIER', 'dmiod'],
    ...own,
  ] as const;
  // A line end would begin another field.
  return entry.map(([key, value]) => `${key}=${String(value).replace(/\n/g, ' ')}\n`).join('');
}

function isKnown(event: string): event is keyof typeof EVENT_IDS {
  return Object.hasOwn(EVENT_IDS, event);
}

/** Sends an entry; false: the journal does not take it. */
export function openJournal(): (entry: string) => boolean {
  const calls = processCalls();
  if (typeof calls === 'string') return () => false;
  const fd = calls.socket(AF.UNIX, SOCK.DGRAM | SOCK.CLOEXEC, 0);
  const address = unixAddress(SOCKET);
  return (entry) => fd >= 0 && calls.sendTo(fd, Buffer.from(entry), address) > 0;
}
