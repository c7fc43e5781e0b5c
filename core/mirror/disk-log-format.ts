/**
 * The kernel's dirty log on a device of its own (dm-log.c, `disk`), format version 2, byte for byte:
 *
 *   0     magic 0x4d695272, LE32 ("rRiM" on the disk)
 *   4     version 2, LE32; 1 is read as 2
 *   8     number of regions, LE64; 2^64 - 1: "whatever there are", as LVM initialises a log
 *   16    not used, kept as found
 *   1024  a bit a region, LE: region r is mask 1 << (r & 7) of byte 1024 + (r >> 3); 1 is clean
 *
 * The bits are padded with zeros to 8 bytes, the whole to the log device's logical block. Nothing says
 * which leg is good: the kernel copies leg 0 over the others wherever a bit is 0.
 */
import { assert } from '../base/assert.ts';
import { SECTOR_SIZE, sectorsFloor } from '../base/units.ts';
import { RegionBits } from './region-bits.ts';

const MAGIC = 0x4d695272;
const VERSION = 2;
/** Where the bits begin. */
export const DISK_LOG_BITS_AT = 1024;
const BITS_AT = DISK_LOG_BITS_AT;
const REGIONS_PER_SECTOR = SECTOR_SIZE * 8;
const WORD_REGIONS = 64;

/** What the table line says after the region size. */
export type LogSync = 'sync' | 'nosync' | undefined;

export type DiskLogFound =
  | {
      readonly kind: 'read';
      /** Regions where the legs may differ. */
      readonly dirty: RegionBits;
      /** False: no log was there, or the line says to forget it. */
      readonly wasThere: boolean;
      /** As many regions as its header says; 0 where no log was there. */
      readonly stored: number;
    }
  | { readonly kind: 'refused'; readonly reason: string };

/** Bytes of the log of so many regions, on a device of such blocks. */
export function diskLogBytes(regions: number, blockBytes: number): number {
  const bitBytes = (Math.ceil(regions / WORD_REGIONS) * WORD_REGIONS) / 8;
  return Math.ceil((BITS_AT + bitBytes) / blockBytes) * blockBytes;
}

/**
 * What the log says of a mirror of `regions` regions. Regions it does not know are dirty, or with
 * `nosync` clean; `sync` and `nosync` forget what it knows, at every start.
 */
export function readDiskLog(bytes: Uint8Array, regions: number, sync: LogSync): DiskLogFound {
  assert(bytes.length >= diskLogBytes(regions, SECTOR_SIZE), 'a log cut short');
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const hasMagic = view.getUint32(0, true) === MAGIC;
  const version = view.getUint32(4, true);
  if (hasMagic && version !== 1 && version !== VERSION) {
    return {
      kind: 'refused',
      reason: `its dirty log has version ${version}, known are 1 and ${VERSION}`,
    };
  }
  const wasThere = hasMagic && sync === undefined;
  const known = wasThere ? knownRegions(view, regions) : 0;
  const dirty = new RegionBits(regions);
  for (let region = 0; region < known; region += 1) {
    const bit = ((bytes[BITS_AT + (region >>> 3)] ?? 0) >>> (region & 7)) & 1;
    if (bit === 0) dirty.setRange(region, region);
  }
  if (known < regions && sync !== 'nosync') dirty.setRange(known, regions - 1);
  return { kind: 'read', dirty, wasThere, stored: hasMagic ? storedRegions(view) : 0 };
}

/** Writes header and bits; bytes 16 to 1023 stay what they were. */
export function writeDiskLog(bytes: Uint8Array, dirty: RegionBits): void {
  const regions = dirty.total;
  assert(bytes.length >= diskLogBytes(regions, SECTOR_SIZE), 'a log cut short');
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  view.setUint32(0, MAGIC, true);
  view.setUint32(4, VERSION, true);
  view.setUint32(8, regions >>> 0, true);
  view.setUint32(12, Math.floor(regions / 2 ** 32), true);
  bytes.fill(0, BITS_AT);
  for (let region = 0; region < regions; region += 1) {
    if (dirty.test(region)) continue;
    const at = BITS_AT + (region >>> 3);
    bytes[at] = (bytes[at] ?? 0) | (1 << (region & 7));
  }
}

/** Changes the bit of one region; the sector of the log that has to be written for it. */
export function setDiskLogBit(bytes: Uint8Array, region: number, isClean: boolean): number {
  const at = BITS_AT + (region >>> 3);
  assert(at < bytes.length, 'a region behind the end of its log');
  const mask = 1 << (region & 7);
  bytes[at] = isClean ? (bytes[at] ?? 0) | mask : (bytes[at] ?? 0) & ~mask;
  return sectorsFloor(BITS_AT) + Math.floor(region / REGIONS_PER_SECTOR);
}

/** 2^64 - 1 and everything else above is all there are. */
function knownRegions(view: DataView, regions: number): number {
  return Math.min(storedRegions(view), regions);
}

function storedRegions(view: DataView): number {
  return view.getUint32(12, true) * 2 ** 32 + view.getUint32(8, true);
}
