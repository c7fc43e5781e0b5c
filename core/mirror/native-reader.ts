import { errnoName } from '../base/errno.ts';
import { bytesOfSectors, SECTOR_SIZE } from '../base/units.ts';
import type { BlockDevice } from '../block/device.ts';
import { REQ_FLAG, REQ_OP } from '../block/op.ts';
import { DmIoRequest, type DmIoOwner } from '../dm-io/request.ts';
import type { DmIoClient } from '../dm-io/client.ts';
import type { LegMetadata } from './assemble-native.ts';
import {
  mapSectorOf,
  SUPERBLOCK_BYTES,
  SUPERBLOCK_SECTORS,
  superblockSectors,
  UNIT_SECTORS,
} from './native-layout.ts';
import { RegionMap } from './region-map.ts';
import { decodeSuperblock, newerCopy, type SuperblockRead } from './superblock.ts';

/** Sectors read at once of a map; where that fails, unit by unit. */
const MAP_CHUNK = 2048;

/** Both copies of a leg's superblock, as they were found. */
export interface SuperblockCopies {
  readonly a: SuperblockRead;
  readonly b: SuperblockRead;
}

/** One read and what comes of it: `errno` 0 or why there are no bytes. */
class Read implements DmIoOwner {
  private readonly done: (errno: number) => void;

  constructor(done: (errno: number) => void) {
    this.done = done;
  }

  dmIoDone(request: DmIoRequest): void {
    this.done(request.errorBits.isEmpty ? 0 : (request.regions[0]?.error ?? 0));
  }
}

function read(
  client: DmIoClient,
  device: BlockDevice,
  sector: number,
  sectors: number,
  done: (errno: number, bytes: Uint8Array) => void,
): void {
  const bytes = new Uint8Array(bytesOfSectors(sectors));
  const request = new DmIoRequest();
  request.owner = new Read((errno) => {
    done(errno, bytes);
  });
  request.op = REQ_OP.READ;
  request.flags = REQ_FLAG.NONE;
  request.memory.setBytes(bytes, 0);
  request.addRegion(device, sector, sectors);
  client.submit(request);
}

/** Reads both copies of the superblock; a copy that cannot be read does not hide the other. */
export function readSuperblocks(
  client: DmIoClient,
  device: BlockDevice,
  done: (copies: SuperblockCopies) => void,
): void {
  const { a, b } = superblockSectors(device.sectors);
  if (b < 0) {
    done({ a: { kind: 'none' }, b: { kind: 'none' } });
    return;
  }
  read(client, device, b, 2 * SUPERBLOCK_SECTORS, (errno, bytes) => {
    if (errno === 0) {
      done({
        a: decodeSuperblock(bytes, SUPERBLOCK_BYTES, device.sectors),
        b: decodeSuperblock(bytes, 0, device.sectors),
      });
      return;
    }
    readCopy(client, device, a, (copyA) => {
      readCopy(client, device, b, (copyB) => {
        done({ a: copyA, b: copyB });
      });
    });
  });
}

function readCopy(
  client: DmIoClient,
  device: BlockDevice,
  sector: number,
  done: (copy: SuperblockRead) => void,
): void {
  read(client, device, sector, SUPERBLOCK_SECTORS, (errno, bytes) => {
    if (errno === 0) done(decodeSuperblock(bytes, 0, device.sectors));
    else done({ kind: 'invalid', reason: `cannot be read: ${errnoName(errno)}` });
  });
}

export function metadataOf(copies: SuperblockCopies): LegMetadata {
  const newer = newerCopy(copies.a, copies.b);
  if (newer.kind !== 'valid') return newer;
  const copy = newer === copies.a ? 'a' : 'b';
  return { kind: 'superblock', superblock: newer.superblock, copy };
}

/** Reads the superblocks of many devices at once; `done` gets one answer a device, in their order. */
export function readLegs(
  client: DmIoClient,
  devices: readonly BlockDevice[],
  done: (legs: readonly SuperblockCopies[]) => void,
): void {
  const none: SuperblockRead = { kind: 'none' };
  const legs: SuperblockCopies[] = devices.map(() => ({ a: none, b: none }));
  let left = devices.length;
  if (left === 0) done(legs);
  for (const [i, device] of devices.entries()) {
    readSuperblocks(client, device, (copies) => {
      legs[i] = copies;
      left -= 1;
      if (left === 0) done(legs);
    });
  }
}

/**
 * Reads the map of the given legs, all of one set and generation, and joins what they say. What
 * cannot be read or believed on one leg is taken from another; on all, for the worst.
 */
export function readMap(
  client: DmIoClient,
  devices: readonly BlockDevice[],
  geometry: { readonly setUuid: string; readonly regions: number },
  slots: readonly number[],
  done: (map: RegionMap) => void,
): void {
  const map = new RegionMap(geometry.regions, geometry.setUuid, slots);
  let left = devices.length;
  const ended = (): void => {
    left -= 1;
    if (left > 0) return;
    map.finish();
    done(map);
  };
  for (const device of devices) readMapOf(client, device, map, 0, MAP_CHUNK, ended);
}

function readMapOf(
  client: DmIoClient,
  device: BlockDevice,
  map: RegionMap,
  first: number,
  length: number,
  done: () => void,
): void {
  const { sectorsWanted } = map;
  if (first >= sectorsWanted) {
    done();
    return;
  }
  const start = mapSectorOf(device.sectors, map.shape.regions);
  // Whole units, and no more of them than say something that is asked for.
  const end = Math.ceil(sectorsWanted / UNIT_SECTORS) * UNIT_SECTORS;
  const count = Math.min(length, end - first);
  read(client, device, start + first, count, (errno, bytes) => {
    if (errno !== 0 && count > UNIT_SECTORS) {
      // Somewhere in here is a bad unit: smaller steps up to the end of this piece.
      readUnits(client, device, map, first, first + count, () => {
        readMapOf(client, device, map, first + count, length, done);
      });
      return;
    }
    const believed = errno === 0 ? Math.min(count, sectorsWanted - first) : 0;
    for (let i = 0; i < believed; i += 1) map.add(bytes, i * SECTOR_SIZE, first + i);
    readMapOf(client, device, map, first + count, length, done);
  });
}

function readUnits(
  client: DmIoClient,
  device: BlockDevice,
  map: RegionMap,
  first: number,
  end: number,
  done: () => void,
): void {
  if (first >= end) {
    done();
    return;
  }
  const start = mapSectorOf(device.sectors, map.shape.regions);
  read(client, device, start + first, UNIT_SECTORS, (errno, bytes) => {
    for (let i = 0; errno === 0 && i < UNIT_SECTORS; i += 1) {
      map.add(bytes, i * SECTOR_SIZE, first + i);
    }
    readUnits(client, device, map, first + UNIT_SECTORS, end, done);
  });
}
