import { FEATURE, PARAMS, SETUP } from './abi.ts';
import { close, ioUringSetup } from './syscall.ts';

/** The ways to set a ring up, best first; a kernel that does not know a flag says EINVAL. */
const SETUP_CHOICES: readonly number[] = [
  SETUP.SINGLE_ISSUER | SETUP.DEFER_TASKRUN | SETUP.TASKRUN_FLAG | SETUP.SUBMIT_ALL,
  SETUP.COOP_TASKRUN | SETUP.SUBMIT_ALL,
  0,
];

const EINVAL = 22;

export class RingSetupError extends Error {
  override readonly name = 'RingSetupError';
  readonly errno: number;

  constructor(errno: number) {
    super(`io_uring_setup failed with errno ${String(errno)}`);
    this.errno = errno;
  }
}

/** There is a ring, but too old a one. */
export class MissingFeatureError extends Error {
  override readonly name = 'MissingFeatureError';
  readonly feature: string;

  constructor(feature: string) {
    super(`this kernel's io_uring lacks ${feature}`);
    this.feature = feature;
  }
}

/** What the data plane cannot do without; EXT_ARG is the youngest (5.11). */
const NEEDED = {
  SINGLE_MMAP: FEATURE.SINGLE_MMAP,
  NODROP: FEATURE.NODROP,
  FAST_POLL: FEATURE.FAST_POLL,
  EXT_ARG: FEATURE.EXT_ARG,
} as const;

/** Sets a ring up and fills `params`. Throws RingSetupError, MissingFeatureError. */
export function setup(entries: number, params: Uint8Array): { fd: number; flags: number } {
  const view = new DataView(params.buffer);
  let result = 0;
  for (const flags of SETUP_CHOICES) {
    params.fill(0);
    view.setUint32(PARAMS.flags, flags | SETUP.CQSIZE | SETUP.CLAMP, true);
    view.setUint32(PARAMS.cqEntries, entries * 8, true);
    result = ioUringSetup(entries, params);
    if (result >= 0) {
      const features = view.getUint32(PARAMS.features, true);
      const missing = Object.entries(NEEDED).find(([, bit]) => (features & bit) === 0);
      if (missing === undefined) return { fd: result, flags };
      close(result);
      throw new MissingFeatureError(missing[0]);
    }
    if (result !== -EINVAL) break;
  }
  throw new RingSetupError(-result);
}
