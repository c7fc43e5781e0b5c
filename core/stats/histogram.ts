/**
 * Latencies counted on a logarithmic scale: eight steps an octave, so a quantile is off by at most
 * one step in eight. Microseconds from 0 to 2^31. One array, made once: noting allocates nothing.
 */
const SUB_BITS = 3;
const STEPS = 1 << SUB_BITS;
const MAX_US = 0x7fffffff;
export const BUCKETS = (32 - SUB_BITS) * STEPS;

export class Histogram {
  /** Doubles: at a million requests a second 32 bits are full after an hour. */
  readonly counts = new Float64Array(BUCKETS);
  total = 0;
  sumUs = 0;
  maxUs = 0;

  note(ms: number): void {
    const exact = ms * 1000;
    const us = exact > MAX_US ? MAX_US : Math.floor(exact > 0 ? exact : 0);
    this.counts[bucketOf(us)]! += 1;
    this.total += 1;
    this.sumUs += us;
    if (us > this.maxUs) this.maxUs = us;
  }

  /** The latency in microseconds below which the share `ratio` lies; 0 when nothing was noted. */
  quantileUs(ratio: number): number {
    return Math.min(quantileOf(this.counts, this.total, ratio), this.maxUs);
  }
}

/** Below STEPS every microsecond has a bucket; above, the highest SUB_BITS bits behind the first count. */
export function bucketOf(us: number): number {
  if (us < STEPS) return us;
  const exponent = 31 - Math.clz32(us);
  const shift = exponent - SUB_BITS;
  return (shift + 1) * STEPS + ((us >>> shift) & (STEPS - 1));
}

/** The first microsecond of a bucket. */
export function bucketStartUs(bucket: number): number {
  if (bucket < STEPS) return bucket;
  const shift = Math.floor(bucket / STEPS) - 1;
  return (STEPS + (bucket % STEPS)) * 2 ** shift;
}

/** As `quantileUs`, of any counts: the last microsecond of the bucket that holds it. */
export function quantileOf(counts: Float64Array, total: number, ratio: number): number {
  if (total <= 0) return 0;
  let left = Math.max(1, Math.ceil(total * ratio));
  for (let bucket = 0; bucket < BUCKETS; bucket += 1) {
    left -= counts[bucket]!;
    if (left <= 0) return bucketStartUs(bucket + 1) - 1;
  }
  return MAX_US;
}
