/**
 * The only place where sectors become bytes and sizes become numbers.
 * A sector is 512 bytes everywhere, whatever a device's logical block size.
 */
export const SECTOR_SIZE = 512;
export const PAGE_SIZE = 4096;

/** Offsets and lengths in bytes are exact doubles: none may pass 2^53 - 1. */
export const MAX_BYTES = Number.MAX_SAFE_INTEGER;
export const MAX_SECTORS = Math.floor(MAX_BYTES / SECTOR_SIZE);

/** Exact: sectors are at most 2^44, so the product stays below 2^53. */
export function bytesOfSectors(sectors: number): number {
  return sectors * SECTOR_SIZE;
}

/** Whole sectors inside `bytes`, rounded down. */
export function sectorsFloor(bytes: number): number {
  return Math.floor(bytes / SECTOR_SIZE);
}

/** Sectors that cover `bytes`, rounded up. */
export function sectorsCeil(bytes: number): number {
  return Math.ceil(bytes / SECTOR_SIZE);
}

export function isPowerOfTwo(value: number): boolean {
  if (!Number.isInteger(value) || value < 1) return false;
  // log2 alone rounds: it takes 2^53 - 1 for a power of two.
  return 2 ** Math.round(Math.log2(value)) === value;
}

const UNIT_BYTES: Readonly<Record<string, number>> = {
  '': 1,
  b: 1,
  s: SECTOR_SIZE,
  k: 2 ** 10,
  kib: 2 ** 10,
  m: 2 ** 20,
  mib: 2 ** 20,
  g: 2 ** 30,
  gib: 2 ** 30,
  t: 2 ** 40,
  tib: 2 ** 40,
  p: 2 ** 50,
  pib: 2 ** 50,
};

/** What `parseSize` accepts, for error messages. */
export const SIZE_FORMAT = 'a size such as 4096, 64KiB, 64K, 1GiB, 1G or 8s (sectors)';

/** `64KiB`, `64K`, `1G`, `4096`, `8s` -> bytes; undefined when the text is no size or passes 2^53 - 1. */
export function parseSize(text: string): number | undefined {
  const match = /^(\d+)\s*([a-z]*)$/i.exec(text.trim());
  if (match === null) return undefined;
  const unit = UNIT_BYTES[(match[2] ?? '').toLowerCase()];
  if (unit === undefined) return undefined;
  const bytes = Number(match[1]) * unit;
  return Number.isSafeInteger(bytes) ? bytes : undefined;
}

/** 1610612736 -> `1.50 GiB`. For people; `parseSize` does not read it back. */
export function formatBytes(bytes: number): string {
  const names = ['B', 'KiB', 'MiB', 'GiB', 'TiB', 'PiB'];
  let value = bytes;
  let index = 0;
  while (value >= 1024 && index < names.length - 1) {
    value /= 1024;
    index += 1;
  }
  const digits = Number.isInteger(value) ? 0 : value < 10 ? 2 : 1;
  return `${value.toFixed(digits)} ${names[index] ?? ''}`;
}
