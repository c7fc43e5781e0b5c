import { assert } from './assert.ts';

/**
 * A seeded generator of u32 numbers (xoshiro128**). Home-made so that a seed means the same for
 * ever: no library churn, no floats. Probabilities are ratios.
 */
export class Prng {
  private a: number;
  private b: number;
  private c: number;
  private d: number;

  /** `seed`: any safe integer >= 0; both halves count. */
  constructor(seed: number) {
    assert(Number.isSafeInteger(seed) && seed >= 0, 'prng seed is not a safe integer >= 0');
    // splitmix32 spreads a small seed over the whole state; all zeros cannot come out of it.
    let state = (seed ^ Math.floor(seed / 2 ** 32)) >>> 0;
    const next = (): number => {
      state = (state + 0x9e3779b9) >>> 0;
      let z = state;
      z = Math.imul(z ^ (z >>> 16), 0x85ebca6b);
      z = Math.imul(z ^ (z >>> 13), 0xc2b2ae35);
      return (z ^ (z >>> 16)) >>> 0;
    };
    this.a = next();
    this.b = next();
    this.c = next();
    this.d = next() | 1;
  }

  /** 0 .. 2^32 - 1 */
  u32(): number {
    const rotated = Math.imul(this.b, 5);
    const result = Math.imul((rotated << 7) | (rotated >>> 25), 9) >>> 0;
    const t = this.b << 9;
    this.c ^= this.a;
    this.d ^= this.b;
    this.b ^= this.c;
    this.a ^= this.d;
    this.c ^= t;
    this.d = (this.d << 11) | (this.d >>> 21);
    return result;
  }

  /** 0 .. bound - 1; `bound` 1 .. 2^32. */
  below(bound: number): number {
    assert(Number.isInteger(bound) && bound >= 1 && bound <= 2 ** 32, 'prng bound outside 1..2^32');
    return Math.floor((this.u32() * bound) / 2 ** 32);
  }

  /** low .. high, both included. */
  between(low: number, high: number): number {
    return low + this.below(high - low + 1);
  }

  /** True n times out of d. */
  ratio(n: number, d: number): boolean {
    return this.below(d) < n;
  }

  /** One of the items; the list must not be empty. */
  pick<T>(items: readonly T[]): T {
    assert(items.length > 0, 'prng pick from nothing');
    return items[this.below(items.length)] as T;
  }

  shuffle(items: unknown[]): void {
    for (let i = items.length - 1; i > 0; i -= 1) {
      const j = this.below(i + 1);
      const swap = items[i];
      items[i] = items[j];
      items[j] = swap;
    }
  }
}
