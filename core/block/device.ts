import { ERRNO } from '../base/errno.ts';
import { SECTOR_SIZE } from '../base/units.ts';
import type { Bio } from './bio.ts';
import type { QueueLimits } from './limits.ts';
import type { Loop } from './loop.ts';
import { isWriteOp, REQ_OP } from './op.ts';
import type { Mapped } from './run.ts';

/**
 * Anything that takes bios: an engine's file, a target, a simulated disk.
 * test/conformance/block-device.ts is this contract as a suite; every implementation passes it.
 */
export interface BlockDevice extends Mapped {
  /** As its user knows it: a path, a URI, a device name. */
  readonly name: string;
  /** Capacity in sectors. */
  readonly sectors: number;
  readonly limits: QueueLimits;
  /** The loop on which the device's bios end. */
  readonly loop: Loop;

  /**
   * Starts the bio. It ends exactly once, by `bio.complete()` from the loop (`loop.defer(bio)`),
   * never from inside this call, with `bio.error` 0 or an errno. Until then the bio and its memory are the
   * device's. May not block, may not throw but for a broken promise.
   *
   * No order between bios. An ended WRITE is visible to every later READ; it is durable when a
   * FLUSH submitted after it ended has ended well, or at once with FUA. A WRITE that ended with an
   * error may have changed any part of its range; a READ that ended with an error may have changed
   * any part of its memory. A bio outside the device, off the logical block, or against `readOnly`
   * ends with the errno of `bioError`, and touches nothing.
   */
  submit(bio: Bio): void;
}

/** What is wrong with a bio before any I/O: 0, or the errno every device answers alike. */
export function bioError(device: BlockDevice, bio: Bio): number {
  const limits = device.limits;
  if (bio.op === REQ_OP.FLUSH) return 0;
  if (isWriteOp(bio.op) && limits.readOnly) return ERRNO.EROFS;
  if (bio.sector + bio.sectors > device.sectors) return ERRNO.EIO;
  const blockSectors = limits.logicalBlockSize / SECTOR_SIZE;
  if (bio.sector % blockSectors !== 0 || bio.sectors % blockSectors !== 0) return ERRNO.EINVAL;
  if (bio.op === REQ_OP.DISCARD && limits.maxDiscardSectors === 0) return ERRNO.EOPNOTSUPP;
  if (bio.op === REQ_OP.WRITE_ZEROES && limits.maxWriteZeroesSectors === 0) {
    return ERRNO.EOPNOTSUPP;
  }
  return 0;
}
