// The kernel's dirty log, byte for byte. The golden bytes are those of dm-log.c on an x86-64 host.
import {
  diskLogBytes,
  readDiskLog,
  setDiskLogBit,
  writeDiskLog,
} from '../../../core/mirror/disk-log-format.ts';
import { RegionBits } from '../../../core/mirror/region-bits.ts';

const HEADER = '72 52 69 4d 02 00 00 00';

/** A log of zeros with these bytes put in. */
function logOf(bytes: number, parts: Readonly<Record<number, string>>): Uint8Array {
  const log = new Uint8Array(bytes);
  for (const [at, hex] of Object.entries(parts)) {
    log.set(Buffer.from(hex.replaceAll(' ', ''), 'hex'), Number(at));
  }
  return log;
}

function dirtyOf(log: Uint8Array, regions: number, sync?: 'sync' | 'nosync'): number[] | string {
  const found = readDiskLog(log, regions, sync);
  if (found.kind === 'refused') return found.reason;
  const dirty: number[] = [];
  for (let r = found.dirty.next(0); r >= 0; r = found.dirty.next(r + 1)) dirty.push(r);
  return dirty;
}

/** 2100 sectors in regions of 1024: three regions, of which 0 and 2 are clean. */
const THREE = logOf(1536, { 0: `${HEADER} 03 00 00 00 00 00 00 00`, 1024: '05' });

describe('the disk log', () => {
  it.each([
    [1, 512, 1536],
    [64, 512, 1536],
    [4096, 512, 1536],
    [4097, 512, 2048],
    [2048, 512, 1536],
    [2_097_152, 512, 263_168],
    [2_097_152, 4096, 266_240],
    [3, 4096, 4096],
  ])('of %d regions on blocks of %d is %d bytes long', (regions, block, bytes) => {
    expect(diskLogBytes(regions, block)).toBe(bytes);
  });

  it('is what the kernel writes', () => {
    const dirty = new RegionBits(3);
    dirty.setRange(1, 1);
    const log = new Uint8Array(1536);
    writeDiskLog(log, dirty);
    expect(Buffer.from(log).equals(THREE)).toBe(true);
    expect(dirtyOf(THREE, 3)).toEqual([1]);
  });

  it('is padded with zeros, whatever was there, and keeps what the kernel does not use', () => {
    const log = new Uint8Array(1536).fill(0xff);
    writeDiskLog(log, new RegionBits(70));
    expect(Buffer.from(log.subarray(1024, 1040)).toString('hex')).toBe(
      `${'ff'.repeat(8)}3f${'00'.repeat(7)}`,
    );
    expect(log.subarray(1040).every((byte) => byte === 0)).toBe(true);
    expect(log.subarray(16, 1024).every((byte) => byte === 0xff)).toBe(true);
  });

  it.each<[string, Uint8Array, number, 'sync' | 'nosync' | undefined, number[]]>([
    ['a device of zeros', new Uint8Array(1536), 3, undefined, [0, 1, 2]],
    ['a device of zeros and nosync', new Uint8Array(1536), 3, 'nosync', []],
    ['a log that sync forgets', THREE, 3, 'sync', [0, 1, 2]],
    ['a log that nosync forgets', THREE, 3, 'nosync', []],
    ['a mirror that has grown', THREE, 5, undefined, [1, 3, 4]],
    ['a mirror that has shrunk', THREE, 2, undefined, [1]],
    ['version 1', logOf(1536, { 0: '72 52 69 4d 01', 8: '03', 1024: '07' }), 3, undefined, []],
    ['a log of LVM', logOf(1536, { 0: HEADER, 8: 'ff'.repeat(8), 1024: '06' }), 3, undefined, [0]],
    ['another magic', logOf(1536, { 0: '4d 69 52 72 02', 8: '03', 1024: '07' }), 3, undefined, [0, 1, 2]],
  ])('%s', (_name, log, regions, sync, dirty) => {
    expect(dirtyOf(log, regions, sync)).toEqual(dirty);
  }); // prettier-ignore

  it('of a version that nobody knows is refused', () => {
    const log = logOf(1536, { 0: '72 52 69 4d 03', 8: '03', 1024: '07' });
    expect(dirtyOf(log, 3)).toBe('its dirty log has version 3, known are 1 and 2');
  });

  it('changes a bit at a time, and names the sector it is in', () => {
    const log = new Uint8Array(diskLogBytes(10_000, 512));
    writeDiskLog(log, new RegionBits(10_000));
    expect([0, 4095, 4096, 9999].map((region) => setDiskLogBit(log, region, false))).toEqual([
      2, 2, 3, 4,
    ]);
    expect(dirtyOf(log, 10_000)).toEqual([0, 4095, 4096, 9999]);
    setDiskLogBit(log, 4096, true);
    expect(dirtyOf(log, 10_000)).toEqual([0, 4095, 9999]);
  });
});
