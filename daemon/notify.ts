/** sd_notify(3): tells systemd how we are, by datagrams to the socket it named. */
import { AF, processCalls, SOCK, unixAddress } from './sys/process-calls.ts';

export interface Notifier {
  /** The devices serve. */
  ready(status: string): void;
  reloading(): void;
  stopping(): void;
}

const SILENT_NOTIFIER: Notifier = {
  ready: () => undefined,
  reloading: () => undefined,
  stopping: () => undefined,
};

/**
 * Takes NOTIFY_SOCKET and WATCHDOG_USEC out of the environment, so that no child speaks for us.
 * With a watchdog the event loop proves that it turns, twice in its time.
 */
export function openNotifier(environment: NodeJS.ProcessEnv, pid: number): Notifier {
  const path = environment['NOTIFY_SOCKET'];
  const watchdogPid = Number(environment['WATCHDOG_PID'] ?? pid);
  const watchdogUs = watchdogPid === pid ? Number(environment['WATCHDOG_USEC'] ?? '0') : 0;
  for (const name of ['NOTIFY_SOCKET', 'WATCHDOG_USEC', 'WATCHDOG_PID']) {
    Reflect.deleteProperty(environment, name);
  }
  const calls = processCalls();
  if (path === undefined || typeof calls === 'string') return SILENT_NOTIFIER;
  const fd = calls.socket(AF.UNIX, SOCK.DGRAM | SOCK.CLOEXEC, 0);
  if (fd < 0) return SILENT_NOTIFIER;
  const address = unixAddress(path);
  const send = (...lines: readonly string[]): void => {
    calls.sendTo(fd, Buffer.from(lines.join('\n')), address);
  };
  if (watchdogUs > 0) setInterval(() => send('WATCHDOG=1'), watchdogUs / 2000).unref();
  return {
    ready: (status) => send('READY=1', `STATUS=${status}`),
    // MONOTONIC_USEC is asked for since 253.
    reloading: () => send('RELOADING=1', `MONOTONIC_USEC=${process.hrtime.bigint() / 1000n}`),
    stopping: () => send('STOPPING=1', 'STATUS=finishing what is under way'),
  };
}
