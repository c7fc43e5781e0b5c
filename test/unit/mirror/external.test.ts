import {
  CARD_BYTES,
  cardProblem,
  decodeCard,
  encodeCard,
  externalBytes,
  externalNameOf,
  type Card,
} from '../../../core/mirror/external.ts';

const CARD: Card = { leg: '/srv/a b.img', legSectors: 131072, key: 'file 12 of 1700000000' };

describe('a metadata file of its own', () => {
  it('is called as its leg, so that two legs never share one', () => {
    expect(externalNameOf('/srv/vm-disk.img')).toBe('%2Fsrv%2Fvm-disk.img.dmiod');
    expect(externalNameOf('/srv/a%2Fb')).toBe('%2Fsrv%2Fa%252Fb.dmiod');
    expect(externalNameOf('nbd://host:10809/a')).toBe('nbd:%2F%2Fhost:10809%2Fa.dmiod');
    const long = `/srv/${'ä'.repeat(300)}`;
    const names = [long, `${long}x`, `${long}/`].map(externalNameOf);
    expect(new Set(names).size).toBe(3);
    for (const name of names) expect(new TextEncoder().encode(name).length).toBeLessThan(255);
  });

  it('has room for card, map and both superblocks, wherever in a unit the leg ends', () => {
    // 36 KiB of map: format.md.
    expect(externalBytes(32)).toBe(4096 + 36 * 1024 + 16 * 1024 + 4096);
  });

  it('has a card that is read back, and tells every byte of damage', () => {
    const bytes = encodeCard(CARD);
    expect(bytes).toHaveLength(CARD_BYTES);
    expect(decodeCard(bytes)).toEqual(CARD);
    for (const at of [0, 3, 8, 12, 16, 24, 31, 64, 70, 2111, 2112, 2400, 4095]) {
      const rotten = bytes.slice();
      rotten[at] = (rotten[at] ?? 0) ^ 0x10;
      expect([at, typeof decodeCard(rotten)]).toEqual([at, 'string']);
    }
    expect(decodeCard(bytes.subarray(0, 4000))).toBe('is no metadata file of dmiod');
    expect(decodeCard(new Uint8Array(CARD_BYTES))).toBe('is no metadata file of dmiod');
  });

  it.each<[string, Partial<Card>, string | null]>([
    ['the same', {}, null],
    ['another name', { leg: '/srv/b.img' }, 'is the metadata of leg /srv/b.img'],
    ['a longer leg', { legSectors: 131080 }, 'was made for 67112960 bytes of /srv/a b.img, which'],
    ['another file there', { key: 'file 13 of 1700000000' }, 'was made for another file or disk'],
    ['a file system without births, then', { key: '' }, null],
  ])('is its leg’s or says why not: %s', (_, found, why) => {
    const problem = cardProblem({ ...CARD, ...found }, CARD);
    if (why === null) expect(problem).toBeNull();
    else expect(problem).toContain(why);
    // A leg that cannot be told from another now is believed, too.
    if (found.key !== undefined) expect(cardProblem(CARD, { ...CARD, key: '' })).toBeNull();
  });
});
