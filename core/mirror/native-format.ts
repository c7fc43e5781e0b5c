import { ERRNO } from '../base/errno.ts';
import { bytesOfSectors, SECTOR_SIZE } from '../base/units.ts';
import type { BlockDevice } from '../block/device.ts';
import { REQ_FLAG, REQ_OP } from '../block/op.ts';
import { DmIoRequest, type DmIoOwner } from '../dm-io/request.ts';
import type { DmIoClient } from '../dm-io/client.ts';
import {
  mapSectorOf,
  mapShape,
  nativeDataSectors,
  SUPERBLOCK_BYTES,
  SUPERBLOCK_SECTORS,
  superblockSectors,
} from './native-layout.ts';
import { sealMapSector, setTagOf } from './region-map.ts';
import { encodeSuperblock, type LegEntry, type Superblock } from './superblock.ts';

/** Sectors of fresh map written at once. */
const CHUNK = 2048;
const NO_ERRORS = { read: 0, write: 0, flush: 0, resync: 0 };
export const NO_MARK = { run: '0'.repeat(16), sequence: 0 };

interface NewLeg {
  readonly name: string;
  readonly uuid: string;
  readonly device: BlockDevice;
  /** False: it holds nothing of the set yet, and is filled from a leg that is in sync. */
  readonly inSync: boolean;
}

/** A set that is about to be: its first superblocks, generation 1, clean, nothing ever written. */
export interface NewSet {
  readonly uuid: string;
  readonly name: string;
  readonly run: string;
  readonly dataSectors: number;
  readonly regionSectors: number;
  /** Every leg reads zeros everywhere now: what is never written need never be copied. */
  readonly zeroed: boolean;
  readonly nowMs: number;
  /** Leg i gets slot i. */
  readonly legs: readonly NewLeg[];
}

/** The superblock of leg i of a set that is made just now. */
function firstSuperblock(set: NewSet, slot: number, leg: NewLeg): Superblock {
  const legs = set.legs.map((each, i): LegEntry => ({
    uuid: each.uuid,
    slot: i,
    state: each.inSync ? 'in-sync' : 'resyncing',
    writeMostly: false,
    failedByHand: false,
    replaces: null,
    errors: NO_ERRORS,
    changedGeneration: 1,
    clearedWhenLeft: 0,
    last: { run: set.run, sequence: 1 },
    name: each.name,
  }));
  return {
    setUuid: set.uuid,
    setName: set.name,
    legUuid: leg.uuid,
    slot,
    sequence: 1,
    generation: 1,
    clearedGeneration: 1,
    run: set.run,
    runStart: 1,
    runGeneration: 0,
    history: [],
    clean: true,
    zeroed: set.zeroed,
    writtenAtMs: set.nowMs,
    dataSectors: set.dataSectors,
    deviceSectors: leg.device.sectors,
    regionSectors: set.regionSectors,
    scrub: null,
    legs,
  };
}

/** One write of all legs at once, again and again; the first errno ends it. */
class Steps implements DmIoOwner {
  readonly request = new DmIoRequest();
  private readonly client: DmIoClient;
  private readonly fill: (request: DmIoRequest) => boolean;
  private readonly done: (errno: number, leg: number) => void;

  /** `fill` makes the next request; false: there is no more to do. */
  constructor(
    client: DmIoClient,
    fill: (request: DmIoRequest) => boolean,
    done: (errno: number, leg: number) => void,
  ) {
    this.client = client;
    this.fill = fill;
    this.done = done;
    this.request.owner = this;
    this.request.op = REQ_OP.WRITE;
    this.request.flags = REQ_FLAG.FUA;
  }

  next(): void {
    this.request.clearRegions();
    if (this.fill(this.request)) this.client.submit(this.request);
    else this.done(ERRNO.OK, -1);
  }

  dmIoDone(request: DmIoRequest): void {
    for (let i = 0; i < request.regionCount; i += 1) {
      if (!request.errorBits.test(i)) continue;
      this.done(request.regions[i]?.error ?? ERRNO.EIO, i);
      return;
    }
    this.next();
  }
}

/**
 * Writes the metadata of a new set to all its legs: first the maps, the superblocks last, so that a
 * half-written set is none. `done` gets 0, or the errno and the leg that gave it.
 */
export function formatNative(
  client: DmIoClient,
  set: NewSet,
  done: (errno: number, leg: number) => void,
): void {
  const devices = set.legs.map(({ device }) => device);
  eraseNative(client, devices, (errno, leg) => {
    if (errno === 0) writeFreshMaps(client, set, devices, done);
    else done(errno, leg);
  });
}

function writeFreshMaps(
  client: DmIoClient,
  set: NewSet,
  devices: readonly BlockDevice[],
  done: (errno: number, leg: number) => void,
): void {
  const shape = mapShape(Math.ceil(set.dataSectors / set.regionSectors));
  const bytes = new Uint8Array(bytesOfSectors(Math.min(CHUNK, shape.mapSectors)));
  const tag = setTagOf(set.uuid);
  // A leg that starts out of sync lacks everything.
  const lacking = new Set<number>();
  for (const [slot, { inSync }] of set.legs.entries()) if (!inSync) lacking.add(slot);
  let sector = 0;
  const steps = new Steps(
    client,
    (request) => {
      if (sector >= shape.mapSectors) return false;
      const count = Math.min(CHUNK, shape.mapSectors - sector);
      for (let i = 0; i < count; i += 1) {
        const at = i * SECTOR_SIZE;
        const slot = Math.floor((sector + i - shape.stateSectors) / shape.lackSectors);
        bytes.fill(lacking.has(slot) ? 0xff : 0, at, at + SECTOR_SIZE);
        sealMapSector(bytes, at, sector + i, tag, 1);
      }
      request.memory.setBytes(bytes, 0);
      for (const device of devices) {
        request.addRegion(device, mapSectorOf(device.sectors, shape.regions) + sector, count);
      }
      sector += count;
      return true;
    },
    (errno, leg) => {
      if (errno === 0) writeFirstSuperblocks(client, set, done);
      else done(errno, leg);
    },
  );
  steps.next();
}

function writeFirstSuperblocks(
  client: DmIoClient,
  set: NewSet,
  done: (errno: number, leg: number) => void,
): void {
  const bytes = new Uint8Array(set.legs.length * SUPERBLOCK_BYTES);
  for (const [slot, leg] of set.legs.entries()) {
    encodeSuperblock(firstSuperblock(set, slot, leg), bytes, slot * SUPERBLOCK_BYTES);
  }
  let isDone = false;
  const steps = new Steps(
    client,
    (request) => {
      if (isDone) return false;
      isDone = true;
      request.memory.setBytes(bytes, 0);
      for (const [i, { device }] of set.legs.entries()) {
        const { b } = superblockSectors(device.sectors);
        request.addRegion(device, b, SUPERBLOCK_SECTORS, i * SUPERBLOCK_SECTORS);
      }
      return true;
    },
    done,
  );
  steps.next();
}

/** Wipes both copies of the superblock: then nothing says that the devices were legs of a set. */
export function eraseNative(
  client: DmIoClient,
  devices: readonly BlockDevice[],
  done: (errno: number, leg: number) => void,
): void {
  const zeros = new Uint8Array(2 * SUPERBLOCK_BYTES);
  let isDone = false;
  const steps = new Steps(
    client,
    (request) => {
      if (isDone) return false;
      isDone = true;
      request.memory.setBytes(zeros, 0);
      for (const device of devices) {
        const { b } = superblockSectors(device.sectors);
        // A device without room for a trailer has none to wipe.
        request.addRegion(device, Math.max(0, b), b < 0 ? 0 : 2 * SUPERBLOCK_SECTORS);
      }
      return true;
    },
    done,
  );
  steps.next();
}

/** Data sectors of a set of legs of these sizes: what the smallest holds. */
export function nativeSetSectors(deviceSectors: readonly number[], regionSectors: number): number {
  return Math.min(...deviceSectors.map((sectors) => nativeDataSectors(sectors, regionSectors)));
}
