// How servers answer requests: by the rules, and by lies that a client must not believe.
import type { Prng } from '../../core/base/prng.ts';
import { CHUNK, NBD_ERROR, SIMPLE_REPLY_MAGIC } from '../../core/nbd/proto.ts';
import { concat } from '../support/hex.ts';
import {
  chunk,
  dataPayload,
  errorPayload,
  holePayload,
  simpleReply,
  type Pending,
} from './server-bytes.ts';

const NONE = new Uint8Array(0);

/** By the rules, in chunks of any order where chunks were agreed on; `content` is the range's. */
export function honestReply(
  prng: Prng,
  to: Pending,
  isStructured: boolean,
  isRead: boolean,
  content: Uint8Array,
): Uint8Array {
  if (!isRead) {
    return isStructured && prng.ratio(1, 3) ? chunk(to, CHUNK.NONE, true) : simpleReply(to);
  }
  if (!isStructured) return simpleReply(to, 0, content);
  const cuts = [0, to.lengthBytes];
  for (let i = prng.below(4); i > 0; i -= 1) cuts.push(prng.below(to.lengthBytes));
  const borders = [...new Set(cuts)].sort((a, b) => a - b);
  const pieces = borders.slice(1).map((end, i) => [borders[i] ?? 0, end] as const);
  prng.shuffle(pieces);
  const endsWithNone = prng.ratio(1, 3);
  const chunks = pieces.map(([from, end], i) => {
    const isDone = !endsWithNone && i === pieces.length - 1;
    const data = content.subarray(from, end);
    if (data.every((byte) => byte === 0)) {
      return chunk(to, CHUNK.OFFSET_HOLE, isDone, holePayload(to.offset + from, end - from));
    }
    return chunk(to, CHUNK.OFFSET_DATA, isDone, dataPayload(to.offset + from, data));
  });
  if (endsWithNone) chunks.push(chunk(to, CHUNK.NONE, true));
  return concat(...chunks);
}

/** By the rules too: it did not work. */
export function errorReply(prng: Prng, to: Pending, isStructured: boolean): Uint8Array {
  const error = prng.pick([NBD_ERROR.EIO, NBD_ERROR.ENOSPC, NBD_ERROR.EINVAL, 4242]);
  if (!isStructured) return simpleReply(to, error);
  const text = prng.pick(['', 'no', 'x'.repeat(300)]);
  return prng.ratio(1, 2)
    ? chunk(to, CHUNK.ERROR, true, errorPayload(error, text))
    : chunk(to, CHUNK.ERROR_OFFSET, true, errorPayload(error, text, to.offset));
}

/** A lie in so many words: a client that believes it, or only goes on, is wrong. Undefined: not here. */
type Lie = (to: Pending, isRead: boolean, isStructured: boolean) => Uint8Array | undefined;

const READ_LIE =
  (make: (to: Pending) => Uint8Array): Lie =>
  (to, isRead, isStructured) =>
    isRead && isStructured ? make(to) : undefined;
const CHUNK_LIE =
  (make: (to: Pending) => Uint8Array): Lie =>
  (to, _, isStructured) =>
    isStructured ? make(to) : undefined;
const block = new Uint8Array(512).fill(7);

export const LIES: Readonly<Record<string, Lie>> = {
  'a cookie of nobody': (to) => simpleReply({ ...to, cookieLow: 4_000_000_000 }, NBD_ERROR.EIO),
  'a cookie of a former request': (to) =>
    simpleReply({ ...to, cookieHigh: to.cookieHigh + 1 }, NBD_ERROR.EIO),
  'a magic of nobody': (to) => {
    const bytes = simpleReply(to);
    new DataView(bytes.buffer, bytes.byteOffset).setUint32(0, SIMPLE_REPLY_MAGIC + 1);
    return bytes;
  },
  'that the server is shutting down': (to) => simpleReply(to, NBD_ERROR.ESHUTDOWN),
  'a second reply': (to, isRead, isStructured) =>
    isRead || isStructured ? undefined : concat(simpleReply(to), simpleReply(to)),
  'chunks that were not agreed on': (to, _, isStructured) =>
    isStructured ? undefined : chunk(to, CHUNK.NONE, true),
  'a simple reply to READ': READ_LIE((to) => simpleReply(to, NBD_ERROR.EIO)),
  'data before the range': (to, isRead, isStructured) =>
    isRead && isStructured && to.offset > 0
      ? chunk(to, CHUNK.OFFSET_DATA, false, dataPayload(to.offset - 1, block))
      : undefined,
  'data behind the range': READ_LIE((to) =>
    chunk(to, CHUNK.OFFSET_DATA, false, dataPayload(to.offset + to.lengthBytes - 1, block)),
  ),
  'a hole behind the range': READ_LIE((to) =>
    chunk(to, CHUNK.OFFSET_HOLE, false, holePayload(to.offset, to.lengthBytes + 1)),
  ),
  'data twice': READ_LIE((to) =>
    concat(
      chunk(to, CHUNK.OFFSET_HOLE, false, holePayload(to.offset, to.lengthBytes)),
      chunk(to, CHUNK.OFFSET_DATA, true, dataPayload(to.offset, block)),
    ),
  ),
  'less than was asked for': READ_LIE((to) =>
    concat(
      chunk(to, CHUNK.OFFSET_HOLE, false, holePayload(to.offset, to.lengthBytes - 1)),
      chunk(to, CHUNK.NONE, true),
    ),
  ),
  'nothing, and DONE': READ_LIE((to) => chunk(to, CHUNK.NONE, true)),
  'more pieces than anyone sends': (to, isRead, isStructured) =>
    isRead && isStructured && to.lengthBytes >= 64
      ? concat(
          ...Array.from({ length: 32 }, (_, i) =>
            chunk(to, CHUNK.OFFSET_HOLE, false, holePayload(to.offset + 2 * i, 1)),
          ),
        )
      : undefined,
  'NONE without DONE': CHUNK_LIE((to) => chunk(to, CHUNK.NONE, false)),
  'NONE with data': CHUNK_LIE((to) => chunk(to, CHUNK.NONE, true, block)),
  'data of no bytes': CHUNK_LIE((to) =>
    chunk(to, CHUNK.OFFSET_DATA, true, dataPayload(to.offset, NONE)),
  ),
  'a hole of no bytes': CHUNK_LIE((to) =>
    chunk(to, CHUNK.OFFSET_HOLE, true, holePayload(to.offset, 0)),
  ),
  'a hole of another length': CHUNK_LIE((to) =>
    chunk(to, CHUNK.OFFSET_HOLE, true, concat(holePayload(to.offset, 512), NONE, block)),
  ),
  'error 0': CHUNK_LIE((to) => chunk(to, CHUNK.ERROR, true, errorPayload(0, 'well'))),
  'an error cut short': CHUNK_LIE((to) => chunk(to, CHUNK.ERROR, true, block.subarray(0, 5))),
  'an error without its place': CHUNK_LIE((to) =>
    chunk(to, CHUNK.ERROR_OFFSET, true, errorPayload(NBD_ERROR.EIO, '')),
  ),
  'an error whose text does not fit': CHUNK_LIE((to) => {
    const bytes = errorPayload(NBD_ERROR.EIO, 'text');
    bytes[5] = 200;
    return chunk(to, CHUNK.ERROR, true, bytes);
  }),
  'a text of 5000 bytes': CHUNK_LIE((to) =>
    chunk(to, CHUNK.ERROR, true, errorPayload(NBD_ERROR.EIO, 'x'.repeat(5000))),
  ),
  'a chunk of an unknown type': CHUNK_LIE((to) => chunk(to, 99, true, block)),
  'data for what is no READ': (to, isRead, isStructured) =>
    isStructured && !isRead
      ? chunk(to, CHUNK.OFFSET_DATA, true, dataPayload(to.offset, block))
      : undefined,
};
