import type { Prng } from '../../core/base/prng.ts';
import { SECTOR_SIZE } from '../../core/base/units.ts';
import type { Bio } from '../../core/block/bio.ts';
import { at, wordAt } from './at.ts';

/**
 * What a sector holds, as one number: 0 is zeros, anything else is the tag of the one write that
 * wrote it. On the wire a sector is filled with (tag, sector number) pairs, so that every byte says
 * who wrote it and for where.
 */
export type Value = number;
export const ZEROS: Value = 0;
/** Bytes that no write has ever asked for: a mix, a wrong place, a buffer after its end. */
export const GARBAGE: Value = 0xffffffff;
/** What a sector held before anybody wrote it, on leg n: FIRST_TAG + n. */
export const FIRST_TAG: Value = 1;

const WORDS = SECTOR_SIZE / 4;
/** Contents of metadata that are kept together. */
const PIECE = 64;

export function encodeSector(words: Uint32Array, from: number, value: Value, sector: number): void {
  if (value === ZEROS || value === GARBAGE) {
    words.fill(value, from, from + WORDS);
    return;
  }
  for (let i = from; i < from + WORDS; i += 2) {
    words[i] = value;
    words[i + 1] = sector;
  }
}

export function decodeSector(words: Uint32Array, from: number, sector: number): Value {
  const value = wordAt(words, from);
  const second = value === ZEROS ? 0 : sector;
  for (let i = from; i < from + WORDS; i += 2) {
    if (words[i] !== value || words[i + 1] !== second) return GARBAGE;
  }
  return value;
}

/** A buffer that carries its own view: a WeakMap of them costs the collector more than all else. */
type Viewed = ArrayBufferLike & { wordsOfAll?: Uint32Array };

/** The whole buffer as words: made once a buffer, since a view costs more than a sector. */
export function wordsOf(page: Uint8Array): Uint32Array {
  const buffer: Viewed = page.buffer;
  return (buffer.wordsOfAll ??= new Uint32Array(buffer));
}

/** Visits the sectors of a bio's memory: the words, where in them, and the count from its start. */
export function eachSector(
  bio: Bio,
  visit: (words: Uint32Array, from: number, index: number) => void,
): void {
  let index = 0;
  for (let i = 0; i < bio.vecCount && index < bio.sectors; i += 1) {
    const vec = at(bio.vecs, i);
    const words = wordsOf(vec.page);
    const first = (vec.page.byteOffset + vec.offset) / 4;
    const end = first + vec.length / 4;
    for (let from = first; from < end && index < bio.sectors; from += WORDS) {
      visit(words, from, index);
      index += 1;
    }
  }
  if (index !== bio.sectors) throw new Error('simulator: a bio with less memory than sectors');
}

/**
 * Sectors that hold real bytes: the metadata of a leg. The medium keeps a number for each content,
 * as for data, so tearing, caches and power cuts treat both alike.
 */
export class RawSectors {
  /** Many to a piece: memory for each alone costs more than to fill it. */
  private readonly pieces: Uint32Array[] = [];
  /** 0 is taken: zeros. */
  private count = 1;

  /** The number of what is in words[from ..): 0 for zeros. */
  number(words: Uint32Array, from: number): Value {
    let i = from;
    while (i < from + WORDS && words[i] === 0) i += 1;
    if (i === from + WORDS) return ZEROS;
    const value = this.add();
    const piece = this.pieceOf(value);
    const first = (value % PIECE) * WORDS;
    for (i = 0; i < WORDS; i += 1) piece[first + i] = wordAt(words, from + i);
    return value;
  }

  private add(): Value {
    const value = this.count;
    this.count += 1;
    const piece = Math.floor(value / PIECE);
    if (piece === this.pieces.length) this.pieces.push(new Uint32Array(PIECE * WORDS));
    return value;
  }

  private pieceOf(value: Value): Uint32Array {
    return at(this.pieces, Math.floor(value / PIECE));
  }

  private contentOf(value: Value): Uint32Array {
    const first = (value % PIECE) * WORDS;
    return this.pieceOf(value).subarray(first, first + WORDS);
  }

  /** A content that nobody has written. */
  noise(prng: Prng): Value {
    const value = this.add();
    this.contentOf(value).set(Uint32Array.from({ length: WORDS }, () => prng.u32()));
    return value;
  }

  /** The same but for one bit. */
  flipped(value: Value, prng: Prng): Value {
    return this.withFlipped(value, prng.below(WORDS) * 32 + prng.below(32));
  }

  /** The same but for this bit, counted from the first byte on. */
  withFlipped(value: Value, bit: number): Value {
    const flipped = this.add();
    const content = this.contentOf(flipped);
    if (value !== ZEROS) content.set(this.contentOf(value));
    const word = Math.floor(bit / 32);
    content[word] = wordAt(content, word) ^ (1 << (bit % 32));
    return flipped;
  }

  put(words: Uint32Array, from: number, value: Value): void {
    if (value === GARBAGE) words.fill(GARBAGE, from, from + WORDS);
    else if (value === ZEROS) words.fill(0, from, from + WORDS);
    else words.set(this.contentOf(value), from);
  }

  /** The bytes of many sectors, one after the other. */
  bytesOf(values: ArrayLike<Value>, first: number, count: number): Uint8Array {
    const words = new Uint32Array(count * WORDS);
    for (let i = 0; i < count; i += 1) this.put(words, i * WORDS, at(values, first + i));
    return new Uint8Array(words.buffer);
  }
}
