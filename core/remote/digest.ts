import { copyBytes } from './copy.ts';
import type { BioVec } from '../block/bio.ts';

/** The same memory as words, by page: an arena is one page. */
const wordsOf = new WeakMap<Uint8Array, Uint32Array>();
/** For bytes that do not lie as words do. */
let gathered = new Uint8Array(4096);

/**
 * What some bytes were, in two numbers: not to be found by a forger, but no accident makes it. The same for
 * the same bytes, however they are cut in pieces.
 */
export class Digest {
  first = 0;
  second = 0;
  isZero = true;

  /** Of the first `bytes` of the pieces, a multiple of 4. */
  take(vecs: readonly BioVec[], bytes: number): void {
    const { page, offset, length } = vecs[0]!;
    const at = page.byteOffset + offset;
    if (length >= bytes && (at & 3) === 0) this.takeWords(viewOfWords(page), at >>> 2, bytes >>> 2);
    else {
      gather(vecs, bytes);
      this.takeWords(viewOfWords(gathered), 0, bytes >>> 2);
    }
  }

  private takeWords(words: Uint32Array, start: number, count: number): void {
    let a = 0x811c9dc5 | 0;
    let b = 0x9e3779b9 | 0;
    let seen = 0;
    for (let i = start; i < start + count; i += 1) {
      const word = words[i]! | 0;
      seen |= word;
      // A word's high bits go nowhere by a product: one lane shifts the sum down, the other turns the word.
      a = Math.imul(a ^ word, 0x01000193);
      a ^= a >>> 15;
      b = Math.imul(b ^ ((word << 13) | (word >>> 19)), 0x85ebca6b);
    }
    this.first = Math.imul(a ^ (a >>> 13), 0xc2b2ae35);
    this.second = Math.imul(b ^ (b >>> 16), 0x27d4eb2f);
    this.isZero = seen === 0;
  }

  copy(from: Digest): void {
    this.first = from.first;
    this.second = from.second;
    this.isZero = from.isZero;
  }

  equals(other: Digest): boolean {
    return this.first === other.first && this.second === other.second;
  }
}

/** Of all the memory that the page is a part of: its index is the byte's place there, by 4. */
function viewOfWords(page: Uint8Array): Uint32Array {
  const known = wordsOf.get(page);
  if (known !== undefined) return known;
  const { buffer } = page;
  // eslint-disable-next-line no-restricted-syntax -- once a page
  const words = new Uint32Array(buffer, 0, Math.floor(buffer.byteLength / 4));
  wordsOf.set(page, words);
  return words;
}

function gather(vecs: readonly BioVec[], bytes: number): void {
  // eslint-disable-next-line no-restricted-syntax -- the longest there was
  if (gathered.length < bytes) gathered = new Uint8Array(bytes);
  let done = 0;
  for (let v = 0; done < bytes; v += 1) {
    const { page, offset, length } = vecs[v]!;
    const count = length < bytes - done ? length : bytes - done;
    copyBytes(page, offset, gathered, done, count);
    done += count;
  }
}
