/** The control path's way to the metadata on legs: core's callbacks as promises. */
import type { BlockDevice } from '../../core/block/device.ts';
import type { Loop } from '../../core/block/loop.ts';
import { DmIoClient } from '../../core/dm-io/client.ts';
import { describeLeg, type LegDescription } from '../../core/mirror/native-describe.ts';

/** Bios of a reader at once; many legs wait for each other, no more. */
const BIOS = { min: 16, max: 256 } as const;

/** What the metadata of a device says; nothing of ours is a description too. */
export function describe(device: BlockDevice, loop: Loop): Promise<LegDescription> {
  return new Promise((done) => {
    describeLeg(new DmIoClient(loop, BIOS.min, BIOS.max), device, done);
  });
}
