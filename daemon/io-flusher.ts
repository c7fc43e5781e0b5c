/**
 * PR_SET_IO_FLUSHER (prctl(2)): memory that this process needs while it writes is not waited for
 * behind writes that wait for this process. Without it a machine whose own page cache is written
 * through us stands still for ever when memory runs out (seen 5 times of 5 with buffered legs).
 *
 * The flag is of a thread, and V8 and libuv have threads before our first line runs. It is kept
 * over exec and given to new threads, so the program is started once more in the same process.
 */
import { fstatSync } from 'node:fs';
import { processCalls, PR_SET_IO_FLUSHER } from './sys/process-calls.ts';

/** Says to the second start that it is one, and what came of it. */
const MARK = 'DMIOD_IO_FLUSHER';

/** Never returns when it has succeeded; without the right (CAP_SYS_RESOURCE) it does nothing. */
export function becomeIoFlusher(): void {
  if (process.env[MARK] !== undefined) return;
  const calls = processCalls();
  if (typeof calls === 'string' || calls.prctl(PR_SET_IO_FLUSHER, 1) !== 0) return;
  // execv takes the C library's environment, which Node's assignments reach.
  process.env[MARK] = '1';
  const kept = 3 + Math.max(0, Number(process.env['LISTEN_FDS'] ?? '0') || 0);
  for (let fd = 0; fd < kept; fd += 1) if (isOpen(fd)) calls.keepOverExec(fd);
  calls.execv(process.execPath, [process.execPath, ...process.execArgv, ...process.argv.slice(1)]);
  // It has failed: the flag is at least on this thread.
  process.env[MARK] = '0';
}

/** Takes the mark away, so that children start like everybody. True: every thread has the flag. */
export function takeIoFlusherMark(environment: NodeJS.ProcessEnv): boolean {
  const isSet = environment[MARK] === '1';
  Reflect.deleteProperty(environment, MARK);
  return isSet;
}

function isOpen(fd: number): boolean {
  try {
    fstatSync(fd);
    return true;
  } catch {
    return false;
  }
}
