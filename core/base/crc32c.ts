/** CRC-32C (Castagnoli, reflected 0x82f63b78): the checksum of everything the mirror keeps on a leg. */
const POLYNOMIAL = 0x82f63b78;
const SLICES = 8;

/** TABLES[k * 256 + b]: what byte b does to the sum with k bytes behind it. */
const TABLES = makeTables();

function makeTables(): Uint32Array {
  const tables = new Uint32Array(SLICES * 256);
  for (let byte = 0; byte < 256; byte += 1) {
    let sum = byte;
    for (let bit = 0; bit < 8; bit += 1) sum = (sum >>> 1) ^ ((sum & 1) * POLYNOMIAL);
    tables[byte] = sum;
  }
  for (let i = 256; i < tables.length; i += 1) {
    const before = tables[i - 256] ?? 0;
    tables[i] = (before >>> 8) ^ (tables[before & 255] ?? 0);
  }
  return tables;
}

/** The sum of bytes[start .. end); `seed`: the sum of what came before, to go on from there. */
export function crc32c(bytes: Uint8Array, start = 0, end = bytes.length, seed = 0): number {
  /* eslint-disable @typescript-eslint/no-non-null-assertion -- indices below 2048, and within bytes */
  const t = TABLES;
  let sum = ~seed;
  let at = start;
  for (; at + SLICES <= end; at += SLICES) {
    const low =
      sum ^ (bytes[at]! | (bytes[at + 1]! << 8) | (bytes[at + 2]! << 16) | (bytes[at + 3]! << 24));
    sum =
      t[1792 + (low & 255)]! ^
      t[1536 + ((low >>> 8) & 255)]! ^
      t[1280 + ((low >>> 16) & 255)]! ^
      t[1024 + (low >>> 24)]! ^
      t[768 + bytes[at + 4]!]! ^
      t[512 + bytes[at + 5]!]! ^
      t[256 + bytes[at + 6]!]! ^
      t[bytes[at + 7]!]!;
  }
  for (; at < end; at += 1) sum = (sum >>> 8) ^ t[(sum ^ bytes[at]!) & 255]!;
  /* eslint-enable @typescript-eslint/no-non-null-assertion */
  return ~sum >>> 0;
}
