/** Whether what is at a path is still the file, or the disk, that was there before. */
import { fstat as fstatOf } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { promisify } from 'node:util';
import { deviceNumber } from '../fsio/block-device-facts.ts';

const fstat = promisify(fstatOf);

export interface LegIdentity {
  /** Of the thing itself, for as long as it lives. Null: it cannot be told from another. */
  readonly key: string | null;
  /** When its content was last changed; null for a block device, which does not say. */
  readonly changedNs: bigint | null;
}

/**
 * A file is its inode and its birth: inode numbers are used again. A block device is its number and
 * the kernel's count of disks (diskseq): so is the number.
 */
export async function identityOf(fd: number): Promise<LegIdentity> {
  const stats = await fstat(fd, { bigint: true });
  if (!stats.isBlockDevice()) {
    const key = `file:${stats.dev}:${stats.ino}:${stats.birthtimeNs}`;
    return { key, changedNs: stats.mtimeNs };
  }
  const number = deviceNumber(stats.rdev);
  const sequence = await diskSequence(number);
  return { key: sequence === null ? null : `block:${number}:${sequence}`, changedNs: null };
}

/** A partition has none of its own, but its disk has. Before Linux 5.15 there is none at all. */
async function diskSequence(number: string): Promise<string | null> {
  for (const folder of ['', '/..']) {
    try {
      return (await readFile(`/sys/dev/block/${number}${folder}/diskseq`, 'ascii')).trim();
    } catch {
      // The next place.
    }
  }
  return null;
}
