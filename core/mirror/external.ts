import { assert } from '../base/assert.ts';
import { crc32c } from '../base/crc32c.ts';
import { bytesOfSectors } from '../base/units.ts';
import { getText, getU64, putText, putU64 } from './native-bytes.ts';
import { mapShape, SUPERBLOCK_SECTORS, UNIT_SECTORS } from './native-layout.ts';

// A leg whose metadata is in a file of its own (format.md, "External metadata"): a card that says
// whose it is, then what is a trailer elsewhere. The card ties the two: the leg itself carries nothing.

/** The card; what comes behind it follows the leg's last sector, as far as the mirror can see. */
export const CARD_SECTORS = UNIT_SECTORS;
export const CARD_BYTES = 4096;
const SUFFIX = '.dmiod';
/** What every file system takes as a name, without the suffix and what tells cut names apart. */
const MAX_NAME = 200;

const MAGIC = 'DMIODEXT';
const VERSION = 1;
const CRC_AT = 8;
const SECTORS_AT = 24;
const LEG_AT = 64;
const LEG_BYTES = 2048;
const KEY_AT = LEG_AT + LEG_BYTES;
const KEY_BYTES = 512;

/** Whose metadata a file holds. */
export interface Card {
  /** The leg as the set calls it, 2048 bytes of it. */
  readonly leg: string;
  readonly legSectors: number;
  /** What tells the leg's file or disk from another at the same path; empty: nothing does. */
  readonly key: string;
}

/** The name of a leg's file: the leg with `/` and `%` as %2F and %25. Longer ones are cut, with a sum. */
export function externalNameOf(leg: string): string {
  const name = leg.replaceAll('%', '%25').replaceAll('/', '%2F');
  let cut = name;
  while (utf8Length(cut) > MAX_NAME) cut = cut.slice(0, -1);
  if (cut === name) return name + SUFFIX;
  const bytes = new Uint8Array(LEG_BYTES * 2);
  putText(bytes, 0, bytes.length, leg);
  return `${cut}-${crc32c(bytes).toString(16).padStart(8, '0')}${SUFFIX}`;
}

function utf8Length(text: string): number {
  let length = 0;
  for (const character of text) {
    const point = character.codePointAt(0) ?? 0;
    length += point < 0x80 ? 1 : point < 0x800 ? 2 : point < 0x10000 ? 3 : 4;
  }
  return length;
}

/**
 * Length of a leg's file: the card, the map, the superblocks, and a unit, for the trailer begins on
 * a unit, counted from the start of the leg, and the leg may end inside one.
 */
export function externalBytes(regions: number): number {
  const { mapSectors } = mapShape(regions);
  return bytesOfSectors(CARD_SECTORS + mapSectors + 2 * SUPERBLOCK_SECTORS + UNIT_SECTORS);
}

export function encodeCard({ leg, legSectors, key }: Card): Uint8Array {
  const bytes = new Uint8Array(CARD_BYTES);
  const view = new DataView(bytes.buffer);
  assert(legSectors > 0, 'a card of a leg without sectors');
  putText(bytes, 0, MAGIC.length, MAGIC);
  view.setUint32(12, VERSION, true);
  view.setUint32(16, CARD_BYTES, true);
  putU64(view, SECTORS_AT, legSectors);
  putText(bytes, LEG_AT, LEG_BYTES, leg);
  putText(bytes, KEY_AT, KEY_BYTES, key);
  view.setUint32(CRC_AT, crc32c(bytes), true);
  return bytes;
}

/** The card, or in words what is wrong with it. */
export function decodeCard(bytes: Uint8Array): Card | string {
  const card = bytes.slice(0, CARD_BYTES);
  const view = new DataView(card.buffer);
  if (card.length < CARD_BYTES || getText(card, 0, MAGIC.length) !== MAGIC) {
    return 'is no metadata file of dmiod';
  }
  const version = view.getUint32(12, true);
  if (version !== VERSION) return `has format version ${version}, this program knows ${VERSION}`;
  const sum = view.getUint32(CRC_AT, true);
  view.setUint32(CRC_AT, 0, true);
  if (sum !== crc32c(card)) return 'has a wrong checksum in its first block: torn or rotten';
  const legSectors = getU64(view, SECTORS_AT) ?? 0;
  return {
    leg: getText(card, LEG_AT, LEG_BYTES),
    legSectors,
    key: getText(card, KEY_AT, KEY_BYTES),
  };
}

/** Why a file's card is not that of this leg; null: it is. */
export function cardProblem(found: Card, wanted: Card): string | null {
  const bytes = encodeCard(wanted);
  const known = decodeCard(bytes);
  assert(typeof known !== 'string', 'a card that cannot be read back');
  if (found.leg !== known.leg) return `is the metadata of leg ${found.leg}`;
  if (found.legSectors !== known.legSectors) {
    return (
      `was made for ${bytesOfSectors(found.legSectors)} bytes of ${found.leg}, ` +
      `which has ${bytesOfSectors(known.legSectors)} now`
    );
  }
  if (found.key !== '' && known.key !== '' && found.key !== known.key) {
    return `was made for another file or disk at ${found.leg} (${found.key}, now ${known.key})`;
  }
  return null;
}
