import { SETUP } from './abi.ts';
import { Ring } from './ring.ts';
import { MissingFeatureError, RingSetupError } from './setup.ts';

export interface ProbedRing {
  /** 0: the kernel gives us a ring. Else the errno with which it does not. */
  readonly errno: number;
  /** What the kernel's ring lacks that the data plane needs; empty: nothing. */
  readonly missing: string;
  /** The setup flags taken, in words. */
  readonly flags: string;
}

/** Sets a small ring up and tears it down again. */
export function probeRing(): ProbedRing {
  try {
    const ring = new Ring(8);
    ring.close();
    return { errno: 0, missing: '', flags: wordsOf(ring.setupFlags) };
  } catch (error) {
    if (error instanceof RingSetupError) return { errno: error.errno, missing: '', flags: '' };
    if (error instanceof MissingFeatureError) {
      return { errno: 0, missing: error.feature, flags: '' };
    }
    throw error;
  }
}

function wordsOf(flags: number): string {
  const words = Object.entries(SETUP).filter(([, bit]) => (flags & bit) !== 0);
  return words.length === 0 ? 'plain' : words.map(([word]) => word).join(' ');
}
