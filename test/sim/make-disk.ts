import { Prng } from '../../core/base/prng.ts';
import { DEFAULT_LIMITS } from '../../core/block/limits.ts';
import { nativeLegSectors } from '../../core/mirror/native-layout.ts';
import { at } from './at.ts';
import type { SimClock } from './clock.ts';
import { FIRST_TAG, ZEROS, type Value } from './content.ts';
import { SimDisk } from './disk.ts';
import type { SimOptions } from './options.ts';

/** Sectors of a disk from here on are metadata. */
export function rawFromOf({ log, sectors }: SimOptions): number {
  return log === 'native' ? sectors : Infinity;
}

/** The `index`-th disk of a seed. */
export function makeDisk(options: SimOptions, index: number, clock: SimClock): SimDisk {
  const limits = {
    ...DEFAULT_LIMITS,
    logicalBlockSize: at(options.blockSizes, index),
    maxSectors: at(options.maxSectors, index),
    maxSegments: options.maxSegments,
    maxDiscardSectors: options.noDiscard ? 0 : DEFAULT_LIMITS.maxDiscardSectors,
    maxWriteZeroesSectors: at(options.noZeroes, index) ? 0 : DEFAULT_LIMITS.maxSectors,
  };
  return new SimDisk(
    {
      name: `leg${index}`,
      sectors: diskSectors(options, index),
      limits,
      rawFrom: rawFromOf(options),
      origin: options.origin,
      fill: fillOf(options, index),
      latencyUs: at(options.latencyUs, index),
      tellsZeroes: options.tellsZeroes ?? 'never',
    },
    clock,
    new Prng(options.seed + 2 ** 41 + index),
  );
}

function diskSectors(options: SimOptions, index: number): number {
  if (options.log !== 'native')
    return options.origin + options.sectors + Math.max(...options.blockSizes) / 512;
  // Legs of different lengths: each has its metadata at its own end.
  return nativeLegSectors(options.sectors, options.regionSectors) + 8 * index;
}

/** What a disk holds at first. A spare holds anything, also in a set of zeros. */
function fillOf(options: SimOptions, index: number): Value {
  if (options.zeroed && index < options.legs) return ZEROS;
  return options.membersAtFirst.includes(index) ? FIRST_TAG : FIRST_TAG + 1 + index;
}
