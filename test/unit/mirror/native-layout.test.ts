import { isUuid } from '../../../core/mirror/native-bytes.ts';
import { nativeSetSectors } from '../../../core/mirror/native-format.ts';
import {
  defaultRegionSectors,
  lackSectorOf,
  mapSectorOf,
  mapShape,
  MAX_LOGICAL_BLOCK,
  nativeDataSectors,
  nativeLegSectors,
  nativeTrailerSectors,
  superblockSectors,
  UNIT_SECTORS,
} from '../../../core/mirror/native-layout.ts';

const GIB = 2 ** 21;
const TIB = 2 ** 31;

describe('the layout of a native leg', () => {
  it('finds the superblocks from the end alone, on 4 KiB', () => {
    expect(superblockSectors(2000)).toEqual({ a: 1984, b: 1968 });
    expect(superblockSectors(2007)).toEqual({ a: 1984, b: 1968 });
  });

  it('cuts the map as format.md says', () => {
    expect(mapShape(32)).toEqual({ regions: 32, stateSectors: 1, lackSectors: 1, mapSectors: 72 });
    const big = mapShape(2 ** 20);
    expect(big).toMatchObject({ stateSectors: 2115, lackSectors: 265, mapSectors: 19080 });
    expect(lackSectorOf(big, 63) + big.lackSectors).toBeLessThanOrEqual(big.mapSectors);
  });

  it('takes 512 KiB for a region, and more where the map would pass 2^20 regions', () => {
    expect(defaultRegionSectors(GIB)).toBe(1024);
    expect(defaultRegionSectors(512 * GIB)).toBe(1024);
    expect(defaultRegionSectors(512 * GIB + 1)).toBe(2048);
    expect(defaultRegionSectors(16 * TIB)).toBe(32768);
  });

  it('never lets data and trailer meet, and gives back what was asked for', () => {
    for (const regionSectors of [2, 8, 1024, 32768]) {
      for (const data of [8, 4096, 4104, 32 * 2048, GIB, GIB + 8, 16 * TIB]) {
        if (data / regionSectors > 2 ** 26) continue;
        const leg = nativeLegSectors(data, regionSectors);
        expect(nativeDataSectors(leg, regionSectors)).toBeGreaterThanOrEqual(data);
        for (const device of [leg, leg + 1, leg + 1000]) {
          const held = nativeDataSectors(device, regionSectors);
          expect(held % 8).toBe(0);
          expect(nativeTrailerSectors(device, regionSectors)).toBe(device - held);
          const regions = Math.ceil(held / regionSectors);
          expect(mapSectorOf(device, regions)).toBeGreaterThanOrEqual(held);
        }
      }
    }
  });

  it('has no room on a device that is too small', () => {
    expect(nativeDataSectors(100, 1024)).toBe(0);
    expect(nativeTrailerSectors(100, 1024)).toBe(Infinity);
  });

  it('writes in units of the longest block a leg may have', () => {
    expect(UNIT_SECTORS * 512).toBe(MAX_LOGICAL_BLOCK);
  });

  it('gives a set what its smallest leg holds', () => {
    const small = nativeLegSectors(4096, 8);
    expect(nativeSetSectors([GIB, small, TIB], 8)).toBe(nativeDataSectors(small, 8));
    expect(nativeSetSectors([GIB, 100], 1024)).toBe(0);
  });
});

it.each([
  ['00000000-0000-4000-8000-00000000000a', true],
  ['00000000-0000-4000-8000-00000000000A', false],
  ['00000000-0000-4000-8000-00000000000', false],
  ['0000000000004000800000000000000a', false],
  ['', false],
])('%j is a UUID as it is written here: %s', (text, expected) => {
  expect(isUuid(text)).toBe(expected);
});
