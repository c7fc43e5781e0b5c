import { assert } from '../base/assert.ts';
import { popcount } from '../base/error-bits.ts';

/**
 * A set of region numbers, one bit each: "this leg lacks these regions". 1 TiB in regions of
 * 512 KiB is 256 KiB of memory.
 */
export class RegionBits {
  readonly total: number;
  private readonly words: Uint32Array;
  private members = 0;

  constructor(total: number) {
    assert(Number.isInteger(total) && total >= 1, 'region count below 1');
    this.total = total;
    this.words = new Uint32Array(Math.ceil(total / 32));
  }

  /** How many regions are in the set. */
  get count(): number {
    return this.members;
  }

  test(region: number): boolean {
    return ((this.words[region >>> 5]! >>> (region & 31)) & 1) === 1;
  }

  /** Adds regions first..last, both included. */
  setRange(first: number, last: number): void {
    assert(first >= 0 && first <= last && last < this.total, 'region outside the set');
    for (let region = first; region <= last; region += 1) {
      const word = this.words[region >>> 5]!;
      const mask = 1 << (region & 31);
      if ((word & mask) !== 0) continue;
      this.words[region >>> 5] = word | mask;
      this.members += 1;
    }
  }

  clear(region: number): void {
    assert(region >= 0 && region < this.total, 'region outside the set');
    const mask = 1 << (region & 31);
    const word = this.words[region >>> 5]!;
    if ((word & mask) === 0) return;
    this.words[region >>> 5] = word & ~mask;
    this.members -= 1;
  }

  /** Takes regions first..last out, both included. */
  clearRange(first: number, last: number): void {
    for (let region = this.next(first); region >= 0 && region <= last;) {
      this.clear(region);
      region = this.next(region + 1);
    }
  }

  /** True: some region of first..last is in one of the two only. */
  differsIn(other: RegionBits, first: number, last: number): boolean {
    for (let region = first; region <= last; region += 1) {
      if (this.test(region) !== other.test(region)) return true;
    }
    return false;
  }

  setAll(): void {
    this.setRange(0, this.total - 1);
  }

  clearAll(): void {
    if (this.members === 0) return;
    this.words.fill(0);
    this.members = 0;
  }

  addAll(other: RegionBits): void {
    assert(other.total === this.total, 'region sets of different devices');
    if (other.members === 0) return;
    let members = 0;
    for (let i = 0; i < this.words.length; i += 1) {
      const word = (this.words[i]! | other.words[i]!) >>> 0;
      this.words[i] = word;
      members += popcount(word);
    }
    this.members = members;
  }

  /** Adds what is in `these` and not in `but`. */
  addMissing(these: RegionBits, but: RegionBits): void {
    for (let region = these.next(0); region >= 0; region = these.next(region + 1)) {
      if (!but.test(region)) this.setRange(region, region);
    }
  }

  /** True when any of first..last is in the set. */
  anyIn(first: number, last: number): boolean {
    if (this.members === 0) return false;
    for (let region = first; region <= last; region += 1) if (this.test(region)) return true;
    return false;
  }

  /** The first member at `from` or above; -1 when there is none. */
  next(from: number): number {
    if (this.members === 0) return -1;
    let region = from;
    while (region < this.total) {
      const word = this.words[region >>> 5]! >>> (region & 31);
      if (word !== 0) {
        const found = region + (31 - Math.clz32(word & -word));
        return found < this.total ? found : -1;
      }
      region = ((region >>> 5) + 1) << 5;
    }
    return -1;
  }
}
