import type { ErrorBits } from '../base/error-bits.ts';
import type { Completion, Loop } from '../block/loop.ts';
import { DmIoWaitError } from './errors.ts';

// Rule 26: what a synchronous call does with the thread it blocks.

/** A synchronous call that waits. */
export interface Wait {
  ended: boolean;
  /** Set when the caller had to give up: who ends the request then says so here. */
  error: DmIoWaitError | null;
}

/** What a synchronous service returns (rule 9). */
export interface DmIoSyncResult {
  /** 0: no bit is set. -EIO: some are, or rule 1 refused the call, and then none is. */
  readonly ret: 0 | -5;
  /** The caller's own, to keep. */
  readonly errorBits: ErrorBits;
  /** The extra of rule 25: for each region 0, or the errno of the first part that failed. */
  readonly errnos: readonly number[];
}

/** Completions that may throw in one wait before it is given up: a driver's `block` that throws. */
const MAX_THROWN = 1000;

/** @throws DmIoWaitError in a completion, where the endings waited for cannot come */
export function mayBlock(loop: Loop): void {
  if (loop.isRunning) throw new DmIoWaitError('a completion must not wait for another', false);
}

/**
 * Runs the loop until the wait has ended; a request under way is never abandoned (rule 10). What
 * other requests' routines throw meanwhile is not this caller's: the loop throws it at its next run.
 * @throws DmIoWaitError when nothing can end while the thread is blocked
 */
export function blockUntilEnded(loop: Loop, wait: Wait): void {
  const thrown: Thrown[] = [];
  while (!wait.ended && thrown.length < MAX_THROWN) {
    try {
      if (!loop.poll()) break;
    } catch (error) {
      thrown.push(new Thrown(error));
    }
  }
  for (const completion of thrown) loop.defer(completion);
  if (wait.ended) return;
  wait.error = new DmIoWaitError(
    'nothing can end while this thread is blocked: use the asynchronous service here',
    true,
  );
  throw wait.error;
}

/** An error on its way to whoever runs the loop. */
class Thrown implements Completion {
  private readonly error: unknown;

  constructor(error: unknown) {
    this.error = error;
  }

  complete(): void {
    throw this.error;
  }
}
