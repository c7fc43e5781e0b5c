import { INFO, LIMIT } from './proto.ts';
import { decodeUtf8 } from './utf8.ts';

/** What the data of INFO or GO asks for; ids we do not know are ignored, as they must be. */
export interface InfoRequest {
  readonly exportName: string;
  readonly wantsName: boolean;
  readonly wantsDescription: boolean;
  readonly wantsBlockSize: boolean;
}

/** u32 length of the name, u16 number of ids. */
const FIXED_BYTES = 6;

/**
 * "NBD_OPT_INFO": u32 length, name, u16 count, count x u16. Bytes [0, lengthBytes) of `bytes`;
 * a string says what is wrong with them.
 */
export function parseInfoRequest(bytes: Uint8Array, lengthBytes: number): InfoRequest | string {
  if (lengthBytes < FIXED_BYTES) return 'too short for a name and a count';
  const view = new DataView(bytes.buffer, bytes.byteOffset, lengthBytes);
  const nameBytes = view.getUint32(0);
  if (nameBytes > lengthBytes - FIXED_BYTES) return 'the name is longer than the data';
  if (nameBytes > LIMIT.STRING_BYTES) return `the name is longer than ${LIMIT.STRING_BYTES} bytes`;
  const exportName = decodeUtf8(bytes, 4, 4 + nameBytes);
  if (exportName === undefined) return 'the name is not UTF-8, or has a NUL';
  const count = view.getUint16(4 + nameBytes);
  if (lengthBytes !== FIXED_BYTES + nameBytes + 2 * count) {
    return 'the number of information requests does not fit the data';
  }
  const asked = new Set<number>();
  for (let i = 0; i < count; i += 1) asked.add(view.getUint16(FIXED_BYTES + nameBytes + 2 * i));
  return {
    exportName,
    wantsName: asked.has(INFO.NAME),
    wantsDescription: asked.has(INFO.DESCRIPTION),
    wantsBlockSize: asked.has(INFO.BLOCK_SIZE),
  };
}
