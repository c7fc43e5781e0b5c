import type { AllocateBytes } from '../../core/base/ports.ts';
import { hasSyscalls, loadSyscalls } from './syscalls.ts';

const PAGE_BYTES = 4096;

/** Zeroed memory that begins at a page and goes when nobody holds it; without native calls anywhere. */
export const alignedMemory: AllocateBytes = (lengthBytes) => {
  const calls = loadSyscalls();
  if (!hasSyscalls(calls)) return new Uint8Array(lengthBytes);
  // So long a buffer is not in V8's heap: it stays where it is.
  const bytes = new Uint8Array(lengthBytes + PAGE_BYTES);
  const begin = PAGE_BYTES - calls.offsetInPage(bytes);
  return bytes.subarray(begin, begin + lengthBytes);
};
