/** What legs hold when they come: nothing that can be told from noise, a copy, or somebody's data. */
import { open } from 'node:fs/promises';
import { ERRNO, errnoName } from '../../core/base/errno.ts';
import { bytesOfSectors, sectorsCeil, sectorsFloor } from '../../core/base/units.ts';
import { Bio } from '../../core/block/bio.ts';
import type { BlockDevice } from '../../core/block/device.ts';
import { REQ_OP } from '../../core/block/op.ts';
import { ControlError } from '../../core/control/error.ts';
import { isLegUri } from '../../core/control/leg-name.ts';
import type { OpenLegs } from './legs.ts';
import { contentIdOf, signatureOf, SIGNATURE_BYTES } from './signature.ts';

/**
 * A new mirror overwrites its legs with the content of the first, and the first may be somebody's:
 * none may carry data that can be told from noise.
 * @throws ControlError would-lose-data
 */
export async function refuseForeignContent(
  legs: OpenLegs,
  paths: Iterable<string>,
  howToForce: string,
): Promise<void> {
  for (const path of paths) {
    const found = signatureOf(await headOf(legs, path));
    if (found === undefined) continue;
    throw new ControlError('would-lose-data', `leg ${path} carries ${found}; ${howToForce}`);
  }
}

/** The same for legs that may be copies of each other already: those of one beginning. */
export async function refuseDifferentContent(
  legs: OpenLegs,
  paths: readonly string[],
  howToForce: string,
): Promise<void> {
  const [first, ...others] = paths;
  if (first === undefined) return;
  const head = await headOf(legs, first);
  const different: string[] = [];
  for (const path of others) {
    const other = await headOf(legs, path);
    const length = Math.min(head.length, other.length);
    if (!head.subarray(0, length).equals(other.subarray(0, length))) different.push(path);
  }
  await refuseForeignContent(legs, different, howToForce);
}

/**
 * A leg that comes back is filled from the others: what it carries must be of the set, or nothing
 * that can be told from noise.
 * @throws ControlError would-lose-data
 */
export async function refuseStranger(
  legs: OpenLegs,
  path: string,
  member: string,
  remedy: string,
): Promise<void> {
  const [head, ours] = [await headOf(legs, path), await headOf(legs, member)];
  const found = signatureOf(head);
  const isCopy = head.equals(ours.subarray(0, head.length));
  if (found === undefined || isCopy) return;
  const id = contentIdOf(head);
  if (id !== undefined && id === contentIdOf(ours)) return;
  throw new ControlError('would-lose-data', `leg ${path} carries ${found} of its own; ${remedy}`);
}

/** The first bytes of a leg; fewer when it is shorter. */
async function headOf(legs: OpenLegs, path: string): Promise<Buffer> {
  const stacked = legs.stacked.get(path);
  if (stacked !== undefined) {
    const sectors = sectorsFloor(SIGNATURE_BYTES);
    return Buffer.from(await stacked.lower.runner.call('head', { sectors }));
  }
  const device = legs.devices.get(path);
  if (isLegUri(path) && device !== undefined) return readHead(device);
  const file = await open(path, 'r');
  try {
    const head = Buffer.alloc(SIGNATURE_BYTES);
    const { bytesRead } = await file.read(head, 0, head.length, 0);
    return head.subarray(0, bytesRead);
  } finally {
    await file.close();
  }
}

async function readHead(device: BlockDevice): Promise<Buffer> {
  const block = sectorsCeil(device.limits.logicalBlockSize);
  const wanted = Math.ceil(sectorsCeil(SIGNATURE_BYTES) / block) * block;
  const head = Buffer.alloc(bytesOfSectors(Math.min(device.sectors, wanted)));
  const step = Math.min(device.limits.maxSectors, sectorsCeil(head.length));
  for (let at = 0; at < sectorsCeil(head.length); at += step) {
    const sectors = Math.min(step, sectorsCeil(head.length) - at);
    head.set(await readSectors(device, at, sectors), bytesOfSectors(at));
  }
  return head.subarray(0, SIGNATURE_BYTES);
}

/** @throws ControlError io */
export async function readSectors(
  device: BlockDevice,
  sector: number,
  sectors: number,
): Promise<Buffer> {
  const bytes = Buffer.alloc(bytesOfSectors(sectors));
  const bio = new Bio();
  bio.op = REQ_OP.READ;
  bio.sector = sector;
  bio.sectors = sectors;
  bio.setBuffer(bytes, 0, bytes.length);
  const errno = await new Promise<number>((ended) => {
    bio.owner = { endIo: () => ended(bio.error) };
    device.submit(bio);
  });
  if (errno === ERRNO.OK) return bytes;
  throw new ControlError('io', `leg ${device.name} cannot be read: ${errnoName(errno)}`);
}
