import { assert } from '../../core/base/assert.ts';

/** `items[index]`, which must be there. */
export function at<T>(items: ArrayLike<T>, index: number): T {
  const item = items[index];
  assert(item !== undefined, 'simulator: index outside');
  return item;
}

/** The same of words, apart from all other lists: what is asked for most often stays fast. */
export function wordAt(words: Uint32Array, index: number): number {
  const word = words[index];
  assert(word !== undefined, 'simulator: index outside');
  return word;
}
