/** Comparing what legs hold. Buffers are fresh Uint8Arrays whose length is a multiple of 512. */

export function isZero(bytes: Uint8Array, length: number): boolean {
  const words = wordsOf(bytes);
  const end = length / 4;
  // Four at a time: the common answers, "all zeros" and "not at all", are both fast.
  for (let i = 0; i < end; i += 4) {
    if ((words[i]! | words[i + 1]! | words[i + 2]! | words[i + 3]!) !== 0) return false;
  }
  return true;
}

/** True when bytes from..end-1 of both are the same; both bounds are multiples of 512. */
export function isEqual(a: Uint8Array, b: Uint8Array, from: number, end: number): boolean {
  const mine = wordsOf(a);
  const other = wordsOf(b);
  const last = end / 4;
  for (let i = from / 4; i < last; i += 4) {
    const difference =
      (mine[i]! ^ other[i]!) |
      (mine[i + 1]! ^ other[i + 1]!) |
      (mine[i + 2]! ^ other[i + 2]!) |
      (mine[i + 3]! ^ other[i + 3]!);
    if (difference !== 0) return false;
  }
  return true;
}

const VIEWS = new WeakMap<Uint8Array, Int32Array>();

function wordsOf(bytes: Uint8Array): Int32Array {
  let words = VIEWS.get(bytes);
  if (words === undefined) {
    // eslint-disable-next-line no-restricted-syntax -- once a buffer
    words = new Int32Array(bytes.buffer, bytes.byteOffset, bytes.byteLength / 4);
    VIEWS.set(bytes, words);
  }
  return words;
}
