import { assert } from './assert.ts';

/**
 * Records made once and used again. `reserve` of them exist from the start; up to `limit` are made
 * when demand asks for them and kept for good, so a pool that has seen its peak allocates no more.
 */
export class Pool<T> {
  private readonly free: T[] = [];
  private readonly make: () => T;
  private readonly limit: number;
  private made = 0;

  constructor(reserve: number, limit: number, make: () => T) {
    assert(Number.isInteger(reserve) && reserve >= 1, 'pool reserve below 1');
    assert(limit >= reserve, 'pool limit below its reserve');
    this.make = make;
    this.limit = limit;
    while (this.made < reserve) {
      this.free.push(make());
      this.made += 1;
    }
  }

  /** Records handed out and not yet returned. */
  get inUse(): number {
    return this.made - this.free.length;
  }

  get isEmpty(): boolean {
    return this.free.length === 0 && this.made >= this.limit;
  }

  /** A record, or undefined when all `limit` are in use. Its fields are as the last user left them. */
  get(): T | undefined {
    const item = this.free.pop();
    if (item !== undefined) return item;
    if (this.made >= this.limit) return undefined;
    this.made += 1;
    return this.make();
  }

  /** A record in use will never come back: another may be made in its place. */
  forget(): void {
    assert(this.free.length < this.made, 'pool: a record was forgotten that was not handed out');
    this.made -= 1;
  }

  put(item: T): void {
    assert(this.free.length < this.made, 'pool: more records returned than handed out');
    this.free.push(item);
  }
}
