import { assert } from '../../core/base/assert.ts';

/** `items[index]`, which must be there. */
export function at<T>(items: ArrayLike<T>, index: number): T {
  const item = items[index];
  assert(item !== undefined, 'simulator: index outside');
  return item;
}
