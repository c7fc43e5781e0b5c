import { crc32c } from '../../../core/base/crc32c.ts';
import { isoTime } from '../../../core/mirror/native-bytes.ts';
import { SUPERBLOCK_BYTES } from '../../../core/mirror/native-layout.ts';
import { decodeSuperblock, encodeSuperblock, newerCopy } from '../../../core/mirror/superblock.ts';
import { at } from '../../sim/at.ts';
import { entry, mark, superblock, uuidOf } from './native-fixture.ts';

const STATES = ['in-sync', 'resyncing', 'failed', 'missing', 'stale'] as const;
const bytesOf = (more = {}): Uint8Array => {
  const bytes = new Uint8Array(SUPERBLOCK_BYTES + 512);
  encodeSuperblock(superblock(1, more), bytes, 512);
  return bytes;
};
const decode = (bytes: Uint8Array, deviceSectors = 2000) =>
  decodeSuperblock(bytes, 512, deviceSectors);

describe('crc32c', () => {
  it('gives the sums of the standard', () => {
    const digits = new TextEncoder().encode('123456789');
    expect(crc32c(digits)).toBe(0xe3069283);
    expect(crc32c(new Uint8Array(32))).toBe(0x8a9136aa);
    expect(crc32c(new Uint8Array(0))).toBe(0);
    expect(crc32c(digits, 4, 9, crc32c(digits, 0, 4))).toBe(0xe3069283);
  });
});

describe('a superblock', () => {
  it('is read as it was written, with 64 legs and every field', () => {
    const legs = Array.from({ length: 64 }, (_, slot) =>
      entry(slot, at(STATES, slot % 5), {
        errors: { read: slot, write: 2, flush: 0xffffffff, resync: 4 },
        changedGeneration: 2 ** 52 + slot,
        clearedWhenLeft: 2 ** 33,
        writeMostly: slot % 2 === 1,
        last: mark(77, 2 ** 40),
        name: `/dev/disk/by-id/ünï-${slot}`,
      }),
    );
    const history = Array.from({ length: 14 }, (_, i) => mark(i + 2, 100 - i));
    const more = {
      legs,
      history,
      clean: true,
      zeroed: true,
      setName: 'größe',
      sequence: 2 ** 53 - 1,
    };
    expect(decode(bytesOf(more))).toEqual({ kind: 'valid', superblock: superblock(1, more) });
  });

  it('cuts a name between two characters', () => {
    const read = decode(bytesOf({ legs: [entry(0, 'in-sync', { name: `x${'é'.repeat(40)}` })] }));
    expect(read.kind === 'valid' && read.superblock.legs[0]?.name).toBe(`x${'é'.repeat(23)}`);
  });

  it('is none where nothing of ours is', () => {
    expect(decode(new Uint8Array(SUPERBLOCK_BYTES + 512))).toEqual({ kind: 'none' });
  });

  it.each(['none', 'majority', { fromSlot: 63 }] as const)(
    'has the place of a scrub: %j',
    (repair) => {
      const counts = { mismatchedSectors: 2 ** 40, repairedSectors: 3, unreadableSectors: 4 };
      const scrub = { repair, region: 77, ...counts, ranges: 5 };
      const read = decode(bytesOf({ scrub }));
      expect(read.kind === 'valid' ? read.superblock.scrub : null).toEqual(scrub);
      // Behind the last region: nonsense, and no scrub.
      const wrong = decode(bytesOf({ scrub: { ...scrub, region: 9999 } }));
      expect(wrong.kind === 'valid' ? wrong.superblock.scrub : 'invalid').toBeNull();
    },
  );

  it('is refused for any bit that has changed, and for any cut', () => {
    const good = bytesOf();
    for (let bit = 8 * 8; bit < SUPERBLOCK_BYTES * 8; bit += 97) {
      const bytes = good.slice();
      bytes[512 + (bit >> 3)] = at(bytes, 512 + (bit >> 3)) ^ (1 << (bit & 7));
      expect(decode(bytes).kind).toBe('invalid');
    }
    // The sectors behind the cut are those of the copy that was there before.
    const before = bytesOf({ sequence: 8, generation: 4, legs: [entry(0, 'failed')] });
    const torn = good.slice();
    torn.set(before.subarray(1024), 1024);
    expect(JSON.stringify(decode(torn))).toMatch(/"invalid","reason":"checksum 0x/);
  });

  it('is refused with a reason by a device of another size, and by an old program', () => {
    const reason = (bytes: Uint8Array, device?: number) => {
      const read = decode(bytes, device);
      return read.kind === 'invalid' ? read.reason : read.kind;
    };
    expect(reason(bytesOf(), 4000)).toBe('written for a device of 2000 sectors, this one has 4000');
    const later = bytesOf();
    later[512 + 12] = 2;
    expect(reason(later)).toBe('format version 2, this program knows 1');
    expect(reason(bytesOf({ regionSectors: 12 }))).toMatch(/power of two/);
    expect(reason(bytesOf({ dataSectors: 1999 }))).toMatch(/out of its place/);
  });

  it('has a newer copy: the later sequence, or the one that is valid', () => {
    const [a, b] = [decode(bytesOf({ sequence: 3 })), decode(bytesOf({ sequence: 4 }))];
    const bad = { kind: 'invalid', reason: 'x' } as const;
    expect(newerCopy(a, b)).toBe(b);
    expect(newerCopy(b, a)).toBe(b);
    expect(newerCopy(a, bad)).toBe(a);
    expect(newerCopy(bad, a)).toBe(a);
    expect(newerCopy({ kind: 'none' }, bad)).toBe(bad);
  });

  it('says when it was written, as Date would', () => {
    for (const ms of [0, 951_782_400_000, 1_709_164_799_000, Date.UTC(2100, 1, 28), 4e12]) {
      expect(isoTime(ms)).toBe(new Date(ms).toISOString().replace('.000', ''));
    }
    expect(uuidOf(1)).toHaveLength(36);
  });
});
