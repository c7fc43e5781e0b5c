import { assert } from './assert.ts';
import { isPowerOfTwo } from './units.ts';

/**
 * A first-in first-out queue over an array whose length is a power of two. It doubles when full,
 * so a queue that has seen its peak allocates no more.
 *
 *      head            tail
 *       v               v
 *   [ . a b c d e f g h . . . . ]     tail - head = items held; slot of n = n & mask
 */
export class Ring<T> {
  private items: (T | undefined)[];
  private mask: number;
  private head = 0;
  private tail = 0;

  constructor(capacity = 64) {
    assert(isPowerOfTwo(capacity), 'ring capacity is not a power of two');
    this.items = new Array<T | undefined>(capacity).fill(undefined);
    this.mask = capacity - 1;
  }

  get length(): number {
    return this.tail - this.head;
  }

  push(item: T): void {
    if (this.tail - this.head > this.mask) this.grow();
    this.items[this.tail & this.mask] = item;
    this.tail += 1;
  }

  /** The oldest item, left in place. */
  peek(): T | undefined {
    return this.head === this.tail ? undefined : this.items[this.head & this.mask];
  }

  shift(): T | undefined {
    if (this.head === this.tail) return undefined;
    const slot = this.head & this.mask;
    const item = this.items[slot];
    this.items[slot] = undefined;
    this.head += 1;
    if (this.head === this.tail) {
      this.head = 0;
      this.tail = 0;
    }
    return item;
  }

  private grow(): void {
    const length = this.length;
    const grown = new Array<T | undefined>((this.mask + 1) * 2).fill(undefined);
    for (let i = 0; i < length; i += 1) grown[i] = this.items[(this.head + i) & this.mask];
    this.items = grown;
    this.mask = grown.length - 1;
    this.head = 0;
    this.tail = length;
  }
}
