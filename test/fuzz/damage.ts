import type { Prng } from '../../core/base/prng.ts';
import { concat } from '../support/hex.ts';

const EDGES = [0, 1, 2, 3, 7, 8, 0x7f, 0x80, 0xff] as const;
/** What a length, an offset or a count is worst at. */
const EDGES_32 = [0, 1, 2 ** 16, 2 ** 25, 2 ** 25 + 1, 2 ** 27 + 1, 2 ** 31, 2 ** 32 - 1] as const;

export function randomBytes(prng: Prng, length: number): Uint8Array {
  const bytes = new Uint8Array(length);
  for (let i = 0; i < length; i += 1) bytes[i] = prng.below(256);
  return bytes;
}

/** A few bytes changed, a field at an edge, a range left out, said twice or put in: it still looks like NBD. */
export function damaged(prng: Prng, bytes: Uint8Array): Uint8Array {
  let found: Uint8Array = bytes.slice();
  for (let i = prng.between(1, 3); i > 0; i -= 1) found = damagedOnce(prng, found);
  return found;
}

function damagedOnce(prng: Prng, bytes: Uint8Array): Uint8Array {
  if (bytes.length < 8) return concat(bytes, randomBytes(prng, 4));
  const at = prng.below(bytes.length - 4);
  const end = Math.min(bytes.length, at + prng.pick([1, 2, 4, 8, 20, 100]));
  switch (prng.below(6)) {
    case 0:
      bytes[at] = prng.pick([...EDGES, prng.below(256)]);
      return bytes;
    case 1:
      new DataView(bytes.buffer, bytes.byteOffset).setUint32(at, prng.pick(EDGES_32));
      return bytes;
    case 2:
      return concat(bytes.subarray(0, at), bytes.subarray(end));
    case 3:
      return concat(bytes.subarray(0, end), bytes.subarray(at));
    case 4:
      return concat(
        bytes.subarray(0, at),
        randomBytes(prng, prng.between(1, 8)),
        bytes.subarray(at),
      );
    default:
      return bytes.slice(0, end);
  }
}
