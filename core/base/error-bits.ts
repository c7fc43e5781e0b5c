import { assert } from './assert.ts';

/** Regions of one write: as many as an unsigned long has bits (dm-io rule 4). */
export const MAX_REGIONS = 64;

/**
 * A set of region numbers 0..63, as the kernel's `unsigned long error_bits`. Two u32 words, because
 * a JavaScript shift wraps at 32 and a bigint costs an allocation.
 */
export class ErrorBits {
  private low = 0;
  private high = 0;

  get isEmpty(): boolean {
    return (this.low | this.high) === 0;
  }

  set(index: number): void {
    assert(index >= 0 && index < MAX_REGIONS, 'error bit outside 0..63');
    if (index < 32) this.low = (this.low | (1 << index)) >>> 0;
    else this.high = (this.high | (1 << (index - 32))) >>> 0;
  }

  test(index: number): boolean {
    assert(index >= 0 && index < MAX_REGIONS, 'error bit outside 0..63');
    const word = index < 32 ? this.low : this.high;
    return ((word >>> (index & 31)) & 1) === 1;
  }

  clear(): void {
    this.low = 0;
    this.high = 0;
  }

  copyFrom(other: ErrorBits): void {
    this.low = other.low;
    this.high = other.high;
  }

  /** How many bits are set. */
  count(): number {
    return popcount(this.low) + popcount(this.high);
  }

  /** The kernel's unsigned long. Allocates; for callers off the hot path. */
  toBigInt(): bigint {
    return (BigInt(this.high) << 32n) | BigInt(this.low);
  }
}

/** How many bits of a 32 bit word are set. */
export function popcount(word: number): number {
  let rest = word;
  let count = 0;
  while (rest !== 0) {
    rest &= rest - 1;
    count += 1;
  }
  return count;
}
