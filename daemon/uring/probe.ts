import { Ring } from './ring.ts';
import { RingSetupError } from './setup.ts';

/** 0: the kernel gives us a ring. Else the errno with which it does not. */
export function probeRing(): number {
  try {
    new Ring(8).close();
    return 0;
  } catch (error) {
    if (error instanceof RingSetupError) return error.errno;
    throw error;
  }
}
