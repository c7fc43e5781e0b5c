import { SUPERBLOCK_BYTES, superblockSectors } from '../../../core/mirror/native-layout.ts';
import type { Superblock } from '../../../core/mirror/superblock.ts';
import { at, wordAt } from '../at.ts';
import type { World } from '../world.ts';
import { fail, type Checker } from './checker.ts';

export const metadata: Checker = {
  name: 'I16',
  sentence: 'a torn or rotten superblock or block of the map is never believed',
  started(world) {
    for (const [i] of world.disks.entries()) checkLeg(world, i);
  },
};

/** The sum is made here once more, bit by bit: the core's own is what is on trial. */
function checkLeg(world: World, leg: number): void {
  const { native } = world;
  const read = native?.metadata(leg);
  if (native === null || read?.kind !== 'superblock') return;
  if (FOUND_WHOLE.has(read.superblock)) return;
  const { medium, raw, sectors } = at(world.disks, leg);
  const places = superblockSectors(sectors);
  const first = read.copy === 'a' ? places.a : places.b;
  const bytes = raw.bytesOf(medium.visible, first, SUPERBLOCK_BYTES / 512);
  const written = new DataView(bytes.buffer).getUint32(8, true);
  bytes.fill(0, 8, 12);
  if (sumOf(bytes) !== written) fail(metadata, `leg ${leg}: damaged copy ${read.copy} is believed`);
  FOUND_WHOLE.add(read.superblock);
}

/** Of the same bytes the same object is made: they need not be summed twice. */
const FOUND_WHOLE = new WeakSet<Superblock>();

const SUMS = Uint32Array.from({ length: 256 }, (_, i) => {
  let sum = i;
  for (let bit = 0; bit < 8; bit += 1) sum = (sum & 1) === 1 ? (sum >>> 1) ^ 0x82f63b78 : sum >>> 1;
  return sum;
});

function sumOf(bytes: Uint8Array): number {
  let sum = 0xffffffff;
  for (const byte of bytes) sum = (sum >>> 8) ^ wordAt(SUMS, (sum ^ byte) & 255);
  return ~sum >>> 0;
}
