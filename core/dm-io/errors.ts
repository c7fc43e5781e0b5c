import { ERRNO } from '../base/errno.ts';

/**
 * Input that cannot be (rule 23): thrown before any I/O and before anything is counted. `argument`
 * names what is wrong as the caller wrote it: `rw`, `regions`, `regions[3].sector`, `vecs[0].length`.
 */
export class DmIoArgumentError extends Error {
  override readonly name = 'DmIoArgumentError';
  readonly errno = ERRNO.EINVAL;
  readonly argument: string;

  constructor(argument: string, problem: string) {
    super(`${argument}: ${problem}`);
    this.argument = argument;
  }
}

/**
 * A synchronous call that would wait for ever (rule 26): made from a completion, or on a loop on
 * which nothing can end while the thread is blocked.
 */
export class DmIoWaitError extends Error {
  override readonly name = 'DmIoWaitError';
  readonly errno = ERRNO.EDEADLK;
  /** True while the request is still under way: until it is false, its memory is dm-io's. */
  inFlight: boolean;

  constructor(problem: string, inFlight: boolean) {
    super(problem);
    this.inFlight = inFlight;
  }
}
