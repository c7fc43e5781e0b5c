/** The control path's way to the metadata on legs: core's callbacks as promises. */
import { errnoName } from '../../core/base/errno.ts';
import type { BlockDevice } from '../../core/block/device.ts';
import type { Loop } from '../../core/block/loop.ts';
import { ControlError } from '../../core/control/error.ts';
import { DmIoClient } from '../../core/dm-io/client.ts';
import type { LegMetadata } from '../../core/mirror/assemble-native.ts';
import { describeLeg, type LegDescription } from '../../core/mirror/native-describe.ts';
import { eraseNative, formatNative, type NewSet } from '../../core/mirror/native-format.ts';
import { metadataOf, readLegs, readMap } from '../../core/mirror/native-reader.ts';
import type { RegionMap } from '../../core/mirror/region-map.ts';

/** Bios of a reader at once; many legs wait for each other, no more. */
const BIOS = { min: 16, max: 256 } as const;

function clientOf(loop: Loop): DmIoClient {
  return new DmIoClient(loop, BIOS.min, BIOS.max);
}

/** What the metadata of a device says; nothing of ours is a description too. */
export function describe(device: BlockDevice, loop: Loop): Promise<LegDescription> {
  return new Promise((done) => {
    describeLeg(clientOf(loop), device, done);
  });
}

/** The superblocks of some devices, in their order. */
export function metadataAt(
  devices: readonly BlockDevice[],
  loop: Loop,
): Promise<readonly LegMetadata[]> {
  return new Promise((done) => {
    readLegs(clientOf(loop), devices, (legs) => done(legs.map(metadataOf)));
  });
}

/** What the maps on these devices say together. */
export function mapAt(
  devices: readonly BlockDevice[],
  loop: Loop,
  geometry: { readonly setUuid: string; readonly regions: number },
  slots: readonly number[],
): Promise<RegionMap> {
  return new Promise((done) => {
    readMap(clientOf(loop), devices, geometry, slots, done);
  });
}

/** @throws ControlError io: some legs may have their metadata, and some not */
export function formatLegs(set: NewSet, loop: Loop): Promise<void> {
  const names = set.legs.map(({ name }) => name);
  return new Promise((done, failed) => {
    formatNative(clientOf(loop), set, endOf(names, 'written', done, failed));
  });
}

/**
 * Nothing says any more that the devices are legs of a set.
 * @throws ControlError io
 */
export function eraseLegs(devices: readonly BlockDevice[], loop: Loop): Promise<void> {
  const names = devices.map(({ name }) => name);
  return new Promise((done, failed) => {
    eraseNative(clientOf(loop), devices, endOf(names, 'erased', done, failed));
  });
}

function endOf(
  names: readonly string[],
  what: string,
  done: () => void,
  failed: (error: ControlError) => void,
): (errno: number, leg: number) => void {
  return (errno, leg) => {
    if (errno === 0) {
      done();
      return;
    }
    const name = names[leg] ?? names[0] ?? '';
    failed(
      new ControlError('io', `leg ${name}: its metadata cannot be ${what}: ${errnoName(errno)}`),
    );
  };
}
