import { readFile } from 'node:fs/promises';
import { SECTOR_SIZE } from '../../core/base/units.ts';

/** What sysfs says about a block device. */
export interface BlockDeviceFacts {
  readonly sizeBytes: number;
  readonly logicalBlockSize: number;
  readonly readOnly: boolean;
}

/** `rdev`: the device's number, as stat gives it. A partition has its disk's queue. */
export async function blockDeviceFacts(rdev: bigint): Promise<BlockDeviceFacts> {
  const directory = `/sys/dev/block/${deviceNumber(rdev)}`;
  const [sectors, readOnly, blockSize] = await Promise.all([
    readNumber(`${directory}/size`),
    readNumber(`${directory}/ro`),
    // A disk's own queue; a partition's directory is a child of its disk's.
    readNumber(`${directory}/queue/logical_block_size`).catch(() =>
      readNumber(`${directory}/../queue/logical_block_size`),
    ),
  ]);
  return {
    sizeBytes: sectors * SECTOR_SIZE,
    logicalBlockSize: blockSize,
    readOnly: readOnly !== 0,
  };
}

/** 2065n -> `8:17`. Linux's split of a 64-bit dev_t, as of glibc's major and minor. */
export function deviceNumber(rdev: bigint): string {
  const major = ((rdev >> 8n) & 0xfffn) | ((rdev >> 32n) & 0xfffff000n);
  const minor = (rdev & 0xffn) | ((rdev >> 12n) & 0xffffff00n);
  return `${major}:${minor}`;
}

async function readNumber(path: string): Promise<number> {
  const text = (await readFile(path, 'ascii')).trim();
  if (!/^\d+$/.test(text)) throw new Error(`${path} holds ${JSON.stringify(text)}, not a number`);
  return Number(text);
}
