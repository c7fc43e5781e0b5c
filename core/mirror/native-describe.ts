import { bytesOfSectors } from '../base/units.ts';
import type { BlockDevice } from '../block/device.ts';
import type { DmIoClient } from '../dm-io/client.ts';
import { isoTime } from './native-bytes.ts';
import { mapSectorOf, mapShape, superblockSectors } from './native-layout.ts';
import { readMap, readSuperblocks, type SuperblockCopies } from './native-reader.ts';
import type { RegionMap } from './region-map.ts';
import { newerCopy, type LegEntry, type Superblock, type SuperblockRead } from './superblock.ts';

/** A copy of the superblock, for people. */
interface CopyDescription {
  readonly sector: number;
  readonly state: 'valid' | 'none' | 'invalid';
  /** Why it is not valid; null: it is, or there is nothing of ours. */
  readonly reason: string | null;
  readonly sequence: number | null;
  readonly generation: number | null;
}

/** What a leg's metadata says, as plain data: `dmio examine`. */
export interface LegDescription {
  readonly superblockA: CopyDescription;
  readonly superblockB: CopyDescription;
  /** Of the copy that counts; null: neither can be believed. */
  readonly superblock: SuperblockDescription | null;
  readonly map: MapDescription | null;
}

interface SuperblockDescription {
  readonly set: { readonly uuid: string; readonly name: string };
  readonly leg: { readonly uuid: string; readonly slot: number };
  readonly generation: number;
  readonly clearedGeneration: number;
  readonly sequence: number;
  readonly run: string;
  readonly clean: boolean;
  readonly writtenAt: string;
  readonly dataBytes: number;
  readonly deviceBytes: number;
  readonly regionBytes: number;
  readonly regions: number;
  /** The set as this leg saw it last. */
  readonly legs: readonly LegEntry[];
}

interface MapDescription {
  readonly sector: number;
  readonly sectors: number;
  readonly neverWritten: number;
  readonly clean: number;
  readonly dirty: number;
  readonly badSectors: number;
  /** Regions each leg of the table lacks by its section. */
  readonly lacks: readonly { readonly slot: number; readonly regions: number }[];
}

/** Reads and describes the metadata of one device. */
export function describeLeg(
  client: DmIoClient,
  device: BlockDevice,
  done: (description: LegDescription) => void,
): void {
  readSuperblocks(client, device, (copies) => {
    const newer = newerCopy(copies.a, copies.b);
    if (newer.kind !== 'valid') {
      done(describe(device, copies, null, null));
      return;
    }
    const { superblock } = newer;
    const regions = regionsOf(superblock);
    const slots = superblock.legs.map(({ slot }) => slot);
    readMap(client, [device], { setUuid: superblock.setUuid, regions }, slots, (map) => {
      done(describe(device, copies, superblock, map));
    });
  });
}

export function regionsOf({ dataSectors, regionSectors }: Superblock): number {
  return Math.ceil(dataSectors / regionSectors);
}

function describe(
  device: BlockDevice,
  copies: SuperblockCopies,
  superblock: Superblock | null,
  map: RegionMap | null,
): LegDescription {
  const { a, b } = superblockSectors(device.sectors);
  return {
    superblockA: describeCopy(copies.a, a),
    superblockB: describeCopy(copies.b, b),
    superblock: superblock === null ? null : describeSuperblock(superblock),
    map: superblock === null || map === null ? null : describeMap(superblock, map),
  };
}

function describeCopy(copy: SuperblockRead, sector: number): CopyDescription {
  const isValid = copy.kind === 'valid';
  return {
    sector,
    state: copy.kind,
    reason: copy.kind === 'invalid' ? copy.reason : null,
    sequence: isValid ? copy.superblock.sequence : null,
    generation: isValid ? copy.superblock.generation : null,
  };
}

function describeSuperblock(superblock: Superblock): SuperblockDescription {
  return {
    set: { uuid: superblock.setUuid, name: superblock.setName },
    leg: { uuid: superblock.legUuid, slot: superblock.slot },
    generation: superblock.generation,
    clearedGeneration: superblock.clearedGeneration,
    sequence: superblock.sequence,
    run: superblock.run,
    clean: superblock.clean,
    writtenAt: isoTime(superblock.writtenAtMs),
    dataBytes: bytesOfSectors(superblock.dataSectors),
    deviceBytes: bytesOfSectors(superblock.deviceSectors),
    regionBytes: bytesOfSectors(superblock.regionSectors),
    regions: regionsOf(superblock),
    legs: superblock.legs,
  };
}

function describeMap(superblock: Superblock, map: RegionMap): MapDescription {
  const counts = map.counts();
  return {
    sector: mapSectorOf(superblock.deviceSectors, map.shape.regions),
    sectors: mapShape(map.shape.regions).mapSectors,
    neverWritten: counts.never,
    clean: counts.clean,
    dirty: counts.dirty,
    badSectors: counts.badSectors,
    lacks: [...counts.lacks].map(([slot, regions]) => ({ slot, regions })),
  };
}
