import { PARAMS, SETUP } from './abi.ts';
import { ioUringSetup } from './syscall.ts';

/** The ways to set a ring up, best first; a kernel that does not know a flag says EINVAL. */
const SETUP_CHOICES: readonly number[] = [
  SETUP.SINGLE_ISSUER | SETUP.DEFER_TASKRUN | SETUP.SUBMIT_ALL,
  SETUP.COOP_TASKRUN | SETUP.SUBMIT_ALL,
  0,
];

export class RingSetupError extends Error {
  override readonly name = 'RingSetupError';
  readonly errno: number;

  constructor(errno: number) {
    super(`io_uring_setup failed with errno ${String(errno)}`);
    this.errno = errno;
  }
}

/** Sets a ring up and fills `params`. Throws RingSetupError. */
export function setup(entries: number, params: Uint8Array): { fd: number; flags: number } {
  const view = new DataView(params.buffer);
  let result = 0;
  for (const flags of SETUP_CHOICES) {
    params.fill(0);
    view.setUint32(PARAMS.flags, flags | SETUP.CQSIZE | SETUP.CLAMP, true);
    view.setUint32(PARAMS.cqEntries, entries * 8, true);
    result = ioUringSetup(entries, params);
    if (result >= 0) return { fd: result, flags };
    if (result !== -22) break;
  }
  throw new RingSetupError(-result);
}
