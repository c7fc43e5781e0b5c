import { Prng } from '../../core/base/prng.ts';
import { ERRNO } from '../../core/base/errno.ts';
import type { Bio } from '../../core/block/bio.ts';
import { isWriteOp } from '../../core/block/op.ts';
import {
  mapSectorOf,
  mapShape,
  SUPERBLOCK_SECTORS,
  superblockSectors,
} from '../../core/mirror/native-layout.ts';
import { at } from './at.ts';
import type { SimDisk } from './disk.ts';
import type { FaultKind } from './faults.ts';
import type { SimOptions } from './options.ts';

/** A transfer that is held up so long, in microseconds: requests of clients take 20 to 20,000. */
const STUCK_US = [50_000, 300_000, 900_000, 20_000_000] as const;
const MOST_STUCK_US = 900_000;
/** A crash that was provoked by a metadata write comes so many events later, at most. */
const CRASH_WITHIN = 14;

interface Range {
  readonly name: string;
  readonly first: number;
  readonly last: number;
}

/**
 * Faults in the metadata of native legs: reads and writes of superblocks and of the map that fail, once
 * or for good, with a part of the write landed; sectors that cannot be read; transfers that are stuck
 * and land long after; and the end of the daemon or of the power around a metadata write. The atlas
 * stays what it is: the anchor, and a set whose every copy may be wanted, are only held up.
 */
export class MetaFaults {
  private readonly options: SimOptions;
  private readonly disks: readonly SimDisk[];
  private readonly prng: Prng;
  /** Events until the crash that a metadata write has provoked; 0: none is due. */
  private crashIn = 0;

  constructor(options: SimOptions, disks: readonly SimDisk[]) {
    this.options = options;
    this.disks = disks;
    this.prng = new Prng(options.seed + 2 ** 51);
  }

  /** Perhaps something breaks now; what, for the trace. */
  act(): string | null {
    const { metaFaultEvery, atlas, anchor } = this.options;
    if (metaFaultEvery === 0 || !this.prng.ratio(1, metaFaultEvery)) return null;
    const leg = this.prng.below(this.disks.length);
    const isSpared =
      atlas === 'calm' || atlas === 'latent' || (atlas === 'anchor' && leg === anchor);
    return isSpared ? this.holdUp(leg) : this.plant(leg);
  }

  /** Told of each bio of the daemon: around metadata writes it is most worth while to end. */
  sent(bio: Bio, rawFrom: number): void {
    if (this.crashIn > 0 || bio.sector < rawFrom || !isWriteOp(bio.op)) return;
    if (this.prng.below(1000) < this.options.metaCrashPermille) {
      this.crashIn = 1 + this.prng.below(CRASH_WITHIN);
    }
  }

  /** An event has passed. True: the daemon dies now. */
  isCrashDue(): boolean {
    if (this.crashIn === 0) return false;
    this.crashIn -= 1;
    return this.crashIn === 0;
  }

  private plant(leg: number): string {
    const { prng } = this;
    const { faults, name } = at(this.disks, leg);
    const kind = prng.pick(['write', 'write', 'write', 'read', 'latent', 'stuck'] as const);
    if (kind === 'stuck') return this.holdUp(leg);
    const range = this.range(leg, kind === 'latent');
    if (kind === 'latent') {
      faults.addLatent(range.first, range.last);
    } else {
      const errno = kind === 'write' && prng.ratio(1, 4) ? ERRNO.ENOSPC : ERRNO.EIO;
      const left = prng.pick([1, 1, 1, 2, 5, Infinity]);
      faults.add({
        kind: kind satisfies FaultKind,
        first: range.first,
        last: range.last,
        errno,
        left,
      });
    }
    return `${kind} of ${range.name} on ${name}`;
  }

  private holdUp(leg: number): string {
    const range = this.range(leg, false);
    // A cleaner that turns every third of a millisecond would make a long wait too many events.
    const most = this.options.cleanAfterMs < 10 ? MOST_STUCK_US : Infinity;
    const delayUs = Math.min(most, this.prng.pick(STUCK_US));
    const left = this.prng.pick([1, 1, 2]);
    at(this.disks, leg).faults.addStuck({ first: range.first, last: range.last, delayUs, left });
    return `${range.name} stuck for ${delayUs / 1000} ms on leg${leg}`;
  }

  /** A superblock, both, a part of the map, or all of it; `one`: never both superblocks. */
  private range(leg: number, one: boolean): Range {
    const { prng } = this;
    const { sectors } = at(this.disks, leg);
    const { a, b } = superblockSectors(sectors);
    const shape = mapShape(Math.ceil(this.options.sectors / this.options.regionSectors));
    const map = mapSectorOf(sectors, shape.regions);
    const end = map + shape.mapSectors - 1;
    const sector = map + prng.below(shape.stateSectors + this.disks.length * shape.lackSectors);
    const lastA = a + SUPERBLOCK_SECTORS - 1;
    const lastB = b + SUPERBLOCK_SECTORS - 1;
    const ranges: Range[] = [
      { name: 'superblock A', first: a, last: lastA },
      { name: 'superblock B', first: b, last: lastB },
      { name: `map sector ${sector - map}`, first: sector, last: sector },
      { name: 'the map', first: map, last: end },
    ];
    const all: Range[] = [
      { name: 'both superblocks', first: Math.min(a, b), last: Math.max(lastA, lastB) },
      { name: 'all metadata', first: map, last: sectors - 1 },
    ];
    return prng.pick(one ? ranges : [...ranges, ...all]);
  }
}
