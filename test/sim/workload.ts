import type { Prng } from '../../core/base/prng.ts';
import { REQ_FLAG, REQ_OP, type ReqOp } from '../../core/block/op.ts';
import type { SimOptions } from './options.ts';

export interface OpShape {
  readonly op: ReqOp;
  readonly flags: number;
  readonly sector: number;
  readonly sectors: number;
}

/** What clients ask for: ranges that overlap on purpose, around a hot place. */
export class Workload {
  private readonly options: SimOptions;
  private readonly prng: Prng;
  private readonly blockSectors: number;

  constructor(options: SimOptions, prng: Prng) {
    this.options = options;
    this.prng = prng;
    const isUnaligned = options.clients?.isUnaligned === true;
    this.blockSectors = isUnaligned ? 1 : Math.max(...options.blockSizes) / 512;
  }

  next(): OpShape {
    const { weights, fuaPercent } = this.options;
    const { prng } = this;
    let rest = prng.below(
      weights.read + weights.write + weights.zeroes + weights.discard + weights.flush,
    );
    rest -= weights.flush;
    if (rest < 0) return { op: REQ_OP.FLUSH, flags: 0, sector: 0, sectors: 0 };
    const range = this.range();
    rest -= weights.read;
    if (rest < 0) return { op: REQ_OP.READ, flags: 0, ...range };
    const flags = prng.below(100) < fuaPercent ? REQ_FLAG.FUA : REQ_FLAG.NONE;
    rest -= weights.write;
    if (rest < 0) return { op: REQ_OP.WRITE, flags, ...range };
    rest -= weights.zeroes;
    return { op: rest < 0 ? REQ_OP.WRITE_ZEROES : REQ_OP.DISCARD, flags, ...range };
  }

  /** A write into the first region: the endless load of I9. */
  hotWrite(): OpShape {
    const { regionSectors, sectors } = this.options;
    const blocks = Math.min(regionSectors, sectors) / this.blockSectors;
    const sector = this.prng.below(blocks) * this.blockSectors;
    return { op: REQ_OP.WRITE, flags: 0, sector, sectors: this.blockSectors };
  }

  private range(): { sector: number; sectors: number } {
    const { sectors, maxOpSectors, hotPercent } = this.options;
    const { prng, blockSectors } = this;
    const blocks = sectors / blockSectors;
    const longest = Math.max(1, Math.min(blocks, maxOpSectors / blockSectors));
    const count = prng.ratio(1, 3) ? 1 : prng.between(1, longest);
    const isHot = prng.below(100) < hotPercent;
    const first = isHot ? Math.min(prng.below(4), blocks - 1) : prng.below(blocks);
    const length = Math.min(count, blocks - first);
    return { sector: first * blockSectors, sectors: length * blockSectors };
  }
}
