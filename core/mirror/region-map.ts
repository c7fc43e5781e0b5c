import { assert } from '../base/assert.ts';
import { crc32c } from '../base/crc32c.ts';
import { SECTOR_SIZE } from '../base/units.ts';
import { putHex } from './native-bytes.ts';
import {
  lackSectorOf,
  LACKS_PER_SECTOR,
  MAP_HEADER_BYTES,
  mapShape,
  STATES_PER_SECTOR,
  type MapShape,
} from './native-layout.ts';
import { RegionBits } from './region-bits.ts';

/** A region as the map on the legs knows it; what a leg lacks is said beside, in its own section. */
export const REGION_STATE = {
  /** No client has ever written there. */
  NEVER: 0,
  CLEAN: 1,
  /** Members may differ there after a crash, and a leg that is out may lack it. */
  DIRTY: 2,
} as const;

/** What ties a sector of a map to its set. */
export function setTagOf(setUuid: string): number {
  const bytes = new Uint8Array(16);
  putHex(bytes, 0, setUuid);
  return crc32c(bytes);
}

/** The one thing that tells a torn or rotten sector of a map from a whole one. */
export const MAP_SUM = {
  isRight(written: number, computed: number): boolean {
    return written === computed;
  },
};

/** Completes the sector bytes[at .. at + 512) of a map, whose payload is there already. */
export function sealMapSector(
  bytes: Uint8Array,
  at: number,
  index: number,
  tag: number,
  sequence: number,
): void {
  const view = new DataView(bytes.buffer, bytes.byteOffset + at, SECTOR_SIZE);
  view.setUint32(4, tag, true);
  view.setUint32(8, index, true);
  view.setUint32(12, sequence >>> 0, true);
  view.setUint32(0, crc32c(bytes, at + 4, at + SECTOR_SIZE), true);
}

/** True: it is sector `index` of this set's map, as it was written. */
function isMapSector(bytes: Uint8Array, at: number, index: number, tag: number): boolean {
  const view = new DataView(bytes.buffer, bytes.byteOffset + at, SECTOR_SIZE);
  if (view.getUint32(4, true) !== tag || view.getUint32(8, true) !== index) return false;
  return MAP_SUM.isRight(view.getUint32(0, true), crc32c(bytes, at + 4, at + SECTOR_SIZE));
}

/** Where the payload of a map sector begins. */
export function payloadAt(at: number): number {
  return at + MAP_HEADER_BYTES;
}

/** Counts for people. */
export interface MapCounts {
  readonly never: number;
  readonly clean: number;
  readonly dirty: number;
  /** Regions that the leg in this slot lacks by its section, for each slot that was read. */
  readonly lacks: ReadonlyMap<number, number>;
  /** Sectors of the map that could not be believed on any leg. */
  readonly badSectors: number;
}

/**
 * The map as found on one leg or several. What several legs say is joined: a mark of any of them
 * counts, so it is a superset of what any of them demands. A sector that none can show counts as
 * dirty and lacking throughout (I16).
 */
export class RegionMap {
  readonly shape: MapShape;
  readonly states: Uint8Array;
  private readonly lacks = new Map<number, RegionBits>();
  private readonly tag: number;
  /** One flag a sector: some leg has shown it. */
  private readonly seen: Uint8Array;
  private readonly slots: readonly number[];
  private bad = 0;

  /** `slots`: whose lack bits are wanted. */
  constructor(regions: number, setUuid: string, slots: readonly number[]) {
    this.shape = mapShape(regions);
    this.states = new Uint8Array(regions);
    this.tag = setTagOf(setUuid);
    this.seen = new Uint8Array(this.shape.mapSectors);
    this.slots = slots;
    for (const slot of slots) this.lacks.set(slot, new RegionBits(regions));
  }

  /** How many sectors of the map, from its start, say all that is wanted. */
  get sectorsWanted(): number {
    const last = Math.max(-1, ...this.slots);
    return last < 0
      ? this.shape.stateSectors
      : lackSectorOf(this.shape, last) + this.shape.lackSectors;
  }

  /** Regions the leg in `slot` lacks, beside those that are dirty. */
  lackOf(slot: number): RegionBits {
    const bits = this.lacks.get(slot);
    assert(bits !== undefined, 'lack bits of a slot that was not asked for');
    return bits;
  }

  get badSectors(): number {
    return this.bad;
  }

  /** bytes[at ..) is sector `index` of some leg's map. False: it cannot be believed. */
  add(bytes: Uint8Array, at: number, index: number): boolean {
    if (!isMapSector(bytes, at, index, this.tag)) return false;
    this.seen[index] = 1;
    const payload = payloadAt(at);
    if (index < this.shape.stateSectors) this.addStates(bytes, payload, index);
    else this.addLacks(bytes, payload, index);
    return true;
  }

  /** All legs have been read: what nobody could show is taken for the worst. */
  finish(): void {
    for (let index = 0; index < this.shape.stateSectors; index += 1) {
      if (this.seen[index] !== 0) continue;
      this.bad += 1;
      this.states.fill(
        REGION_STATE.DIRTY,
        index * STATES_PER_SECTOR,
        (index + 1) * STATES_PER_SECTOR,
      );
    }
    for (const [slot, bits] of this.lacks) {
      for (let i = 0; i < this.shape.lackSectors; i += 1) {
        if (this.seen[lackSectorOf(this.shape, slot) + i] !== 0) continue;
        this.bad += 1;
        const first = i * LACKS_PER_SECTOR;
        bits.setRange(first, Math.min(this.shape.regions, first + LACKS_PER_SECTOR) - 1);
      }
    }
  }

  counts(): MapCounts {
    const counts = [0, 0, 0];
    for (const state of this.states) counts[state] = (counts[state] ?? 0) + 1;
    const [never = 0, clean = 0, dirty = 0] = counts;
    const lacks = new Map([...this.lacks].map(([slot, bits]) => [slot, bits.count]));
    return { never, clean, dirty, lacks, badSectors: this.bad };
  }

  private addStates(bytes: Uint8Array, payload: number, index: number): void {
    const first = index * STATES_PER_SECTOR;
    const end = Math.min(this.shape.regions, first + STATES_PER_SECTOR);
    for (let region = first; region < end; region += 1) {
      // A state that a later version may know is taken for the worst.
      const state = Math.min(bytes[payload + region - first] ?? 0, REGION_STATE.DIRTY);
      if (state > (this.states[region] ?? 0)) this.states[region] = state;
    }
  }

  private addLacks(bytes: Uint8Array, payload: number, index: number): void {
    const inSections = index - this.shape.stateSectors;
    const bits = this.lacks.get(Math.floor(inSections / this.shape.lackSectors));
    if (bits === undefined) return;
    const first = (inSections % this.shape.lackSectors) * LACKS_PER_SECTOR;
    const count = Math.min(this.shape.regions - first, LACKS_PER_SECTOR);
    for (let i = 0; i < count; i += 8) {
      const byte = bytes[payload + i / 8] ?? 0;
      for (let bit = 0; bit < 8 && i + bit < count; bit += 1) {
        if (((byte >> bit) & 1) === 1) bits.setRange(first + i + bit, first + i + bit);
      }
    }
  }
}
