import { LIMIT } from './proto.ts';
import { decodeUtf8 } from './utf8.ts';

/** What the data of LIST_META_CONTEXT or SET_META_CONTEXT asks for. */
export interface ContextRequest {
  readonly exportName: string;
  readonly queries: readonly string[];
}

/** u32 length before each string, u32 number of queries. */
const WORD_BYTES = 4;

/**
 * "NBD_OPT_LIST_META_CONTEXT": u32 length, export name, u32 count, count x (u32 length, query).
 * Bytes [0, lengthBytes) of `bytes`; a string says what is wrong with them. It MUST add up exactly.
 */
export function parseContextRequest(
  bytes: Uint8Array,
  lengthBytes: number,
): ContextRequest | string {
  const view = new DataView(bytes.buffer, bytes.byteOffset, lengthBytes);
  let at = 0;
  const word = (): number | undefined => {
    if (lengthBytes - at < WORD_BYTES) return undefined;
    at += WORD_BYTES;
    return view.getUint32(at - WORD_BYTES);
  };
  const text = (): string | undefined => {
    const length = word();
    if (length === undefined || length > lengthBytes - at || length > LIMIT.STRING_BYTES) {
      return undefined;
    }
    at += length;
    return decodeUtf8(bytes, at - length, at);
  };
  const exportName = text();
  if (exportName === undefined) return 'the export name does not fit the data, or is not UTF-8';
  const count = word();
  if (count === undefined) return 'too short for a number of queries';
  const queries: string[] = [];
  for (let i = 0; i < count; i += 1) {
    const query = text();
    if (query === undefined) return `query ${i} does not fit the data, or is not UTF-8`;
    queries.push(query);
  }
  return at === lengthBytes ? { exportName, queries } : 'there is more data than queries';
}

/** Places (from 0) of the contexts that LIST shows: of everything, of a namespace, of a name. */
export function listContexts(offered: readonly string[], queries: readonly string[]): number[] {
  const places = [...offered.keys()];
  if (queries.length === 0) return places;
  return places.filter((place) => {
    const name = offered[place] ?? '';
    // "base:" alone is a wildcard in LIST.
    return queries.some((query) => query === name || query === `${name.split(':')[0] ?? ''}:`);
  });
}

/** Places that SET selects: exact names only. What is not known is ignored, as it must be. */
export function selectContexts(offered: readonly string[], queries: readonly string[]): number[] {
  return [...offered.keys()].filter((place) => queries.includes(offered[place] ?? ''));
}
