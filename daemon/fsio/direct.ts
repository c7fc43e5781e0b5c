/** O_DIRECT: what a descriptor wants of those who use it. */
import fs from 'node:fs';
import { promisify } from 'node:util';
import { errorCodeOf } from '../sys/node-errors.ts';

const read = promisify(fs.read);

/** Longest logical block there is. */
const LONGEST_BLOCK = 65536;

/**
 * The block in which an O_DIRECT descriptor reads and writes: the shortest, from `least` on, that it
 * takes a read of. Asked is the file itself: what a file system wants is its disk's block or its
 * own, and only a young kernel says which. `memory`: page-aligned, LONGEST_BLOCK long.
 */
export async function directBlockBytes(
  fd: number,
  least: number,
  sizeBytes: number,
  memory: Uint8Array,
): Promise<number> {
  for (let block = least; block < LONGEST_BLOCK; block *= 2) {
    // Not at 0, where any offset is aligned, if the file is that long.
    const offset = sizeBytes >= 2 * block ? block : 0;
    try {
      await read(fd, memory, 0, block, offset);
      return block;
    } catch (error) {
      if (errorCodeOf(error) !== 'EINVAL') throw error;
    }
  }
  return LONGEST_BLOCK;
}

export const PROBE_BYTES = LONGEST_BLOCK;
