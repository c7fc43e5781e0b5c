import { assert } from '../base/assert.ts';

// Where things lie on a leg (format.md). All numbers are sectors of 512 bytes unless a name says bytes.
//
//   0             dataSectors      mapSector                    end - 32     end - 16     end
//   | data ...    | unused ...     | map: states, lack bits     | copy B     | copy A     | 0..7 unused |
//
// `end` is the device's size rounded down to 4 KiB, so that the trailer is found from the end alone.

/** Everything of the trailer begins and ends on this boundary: 4 KiB. */
export const UNIT_SECTORS = 8;
export const SUPERBLOCK_BYTES = 8192;
export const SUPERBLOCK_SECTORS = 16;
/** Slots of legs, and so sections of lack bits. */
export const MAX_SLOTS = 64;
/** In every sector of the map, before its payload: a state byte a region, or a lack bit a region. */
export const MAP_HEADER_BYTES = 16;
const MAP_PAYLOAD_BYTES = 496;
export const STATES_PER_SECTOR = MAP_PAYLOAD_BYTES;
export const LACKS_PER_SECTOR = MAP_PAYLOAD_BYTES * 8;
/** More regions than this are not asked for: the region size grows instead. */
const MOST_REGIONS = 2 ** 20;
/** No set has more, whatever its region size: memory is taken by the region. */
export const MAX_REGIONS_OF_MAP = 2 ** 26;
const SMALLEST_DEFAULT_REGION = 1024; // 512 KiB
/** The trailer is written in units of 4 KiB, so a device with a longer block cannot hold it. */
export const MAX_LOGICAL_BLOCK = 4096;

/** How the map of so many regions is cut up. */
export interface MapShape {
  readonly regions: number;
  /** Sectors of section 0: one state byte a region. */
  readonly stateSectors: number;
  /** Sectors of each section 1 + slot: one bit a region. */
  readonly lackSectors: number;
  /** Of all sections, in whole units. */
  readonly mapSectors: number;
}

export function mapShape(regions: number): MapShape {
  assert(Number.isInteger(regions) && regions >= 1, 'a map without regions');
  const stateSectors = Math.ceil(regions / STATES_PER_SECTOR);
  const lackSectors = Math.ceil(regions / LACKS_PER_SECTOR);
  return {
    regions,
    stateSectors,
    lackSectors,
    mapSectors: wholeUnits(stateSectors + MAX_SLOTS * lackSectors),
  };
}

/** First sector of the lack bits of a slot, counted from the start of the map. */
export function lackSectorOf(shape: MapShape, slot: number): number {
  assert(slot >= 0 && slot < MAX_SLOTS, 'slot outside 0..63');
  return shape.stateSectors + slot * shape.lackSectors;
}

/** Where copy A and copy B of the superblock begin, on a device of this size. */
export function superblockSectors(deviceSectors: number): {
  readonly a: number;
  readonly b: number;
} {
  const end = trailerEnd(deviceSectors);
  return { a: end - SUPERBLOCK_SECTORS, b: end - 2 * SUPERBLOCK_SECTORS };
}

/** Where the map of so many regions begins, on a device of this size. */
export function mapSectorOf(deviceSectors: number, regions: number): number {
  return superblockSectors(deviceSectors).b - mapShape(regions).mapSectors;
}

/**
 * Sectors at the end of a device that are not data, were all of it one leg; the set's data may be
 * shorter. Infinity when the device is too small for a trailer and one block of data.
 */
export function nativeTrailerSectors(deviceSectors: number, regionSectors: number): number {
  const data = nativeDataSectors(deviceSectors, regionSectors);
  return data === 0 ? Infinity : deviceSectors - data;
}

/** Data a device of this size can hold as a leg, in whole units of 4 KiB; 0: it is too small. */
export function nativeDataSectors(deviceSectors: number, regionSectors: number): number {
  const end = trailerEnd(deviceSectors) - 2 * SUPERBLOCK_SECTORS;
  if (end <= 0) return 0;
  // The map as if the superblocks' neighbours were all data: never too short, at most a unit too long.
  const data = end - mapShape(Math.ceil(end / regionSectors)).mapSectors;
  return Math.max(0, data);
}

/** The smallest device that holds so much data as a leg. */
export function nativeLegSectors(dataSectors: number, regionSectors: number): number {
  let sectors = wholeUnits(dataSectors) + 2 * SUPERBLOCK_SECTORS + UNIT_SECTORS;
  for (;;) {
    const missing = dataSectors - nativeDataSectors(sectors, regionSectors);
    if (missing <= 0) return sectors;
    sectors += wholeUnits(missing);
  }
}

/** 512 KiB up to 512 GiB of data, then as much as keeps the map at 2^20 regions: 16 MiB at 16 TiB. */
export function defaultRegionSectors(dataSectors: number): number {
  let regionSectors = SMALLEST_DEFAULT_REGION;
  while (dataSectors / regionSectors > MOST_REGIONS) regionSectors *= 2;
  return regionSectors;
}

function trailerEnd(deviceSectors: number): number {
  return deviceSectors - (deviceSectors % UNIT_SECTORS);
}

function wholeUnits(sectors: number): number {
  return Math.ceil(sectors / UNIT_SECTORS) * UNIT_SECTORS;
}
