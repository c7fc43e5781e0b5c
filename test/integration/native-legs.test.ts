// Legs of a set with the native log come, go, move and change their names while it serves.
import {
  copyFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';

import { Prng } from '../../core/base/prng.ts';
import type { LegReport } from '../../core/control/status.ts';
import {
  create,
  dataOf,
  examine,
  expectByte,
  expectEqualData,
  expectRefused,
  MIB,
  ok,
  path,
  place,
  SIZE,
  SLOW,
  states,
  status,
  write,
} from '../support/native-place.ts';
import { startDaemon } from '../support/programs.ts';
import { TagBook, TaggedWriter } from '../support/tagged-writer.ts';

/** Bytes, MiB from where on, how many MiB: what the test with the old copy leaves on both legs. */
const CONTENT = [
  [2, 0, 4],
  [0, 4, 4],
  [1, 8, 1],
  [0, 9, 3],
  [3, 12, 1],
  [0, 13, 3],
] as const;
const WAIT = ['wait', 'data', '--in-sync', '--timeout', '60'];

function readd(leg: string, ...more: readonly string[]): LegReport {
  return JSON.parse(ok('leg', 're-add', 'data', leg, ...more, '--json')) as LegReport;
}

function native(sectors: number, region: string, ...legs: readonly string[]): string {
  const words = legs.map((leg) => `${path(leg)} 0`).join(' ');
  return `0 ${sectors} mirror native ${region} ${legs.length} ${words}`;
}

describe('reload', () => {
  it(
    'of the same set goes on under traffic without a client error, also with a leg out',
    async () => {
      const daemon = await startDaemon(place.folder);
      create();
      const book = new TagBook(MIB);
      const writer = await TaggedWriter.start(path('nbd.sock'), 'data', book, new Prng(5));
      const more = async (count: number): Promise<void> => {
        const enough = writer.acknowledged + count;
        while (writer.acknowledged < enough && !writer.isEnded) {
          await new Promise((next) => setTimeout(next, 10));
        }
      };
      for (const isOut of [false, true]) {
        if (isOut) ok('leg', 'fail', 'data', 'b.img');
        await more(20);
        ok('reload', 'data', '--table', ok('table', 'data').trim());
        expect(ok('info', 'data')).toContain('LIVE & INACTIVE');
        ok('resume', 'data');
        expect(ok('info', 'data')).not.toContain('INACTIVE');
        expect(states()).toEqual(['a.img in-sync', `b.img ${isOut ? 'failed' : 'in-sync'}`]);
        await more(20);
      }
      expect([...writer.errors]).toEqual([]);
      await writer.stop();
      expect(readd('b.img').outOfSyncBytes).toBeLessThanOrEqual(MIB);
      ok(...WAIT);
      expect(await daemon.stop('SIGTERM')).toBe(0);
      expectEqualData('a.img', 'b.img');
    },
    SLOW,
  );

  it(
    'of anything else is refused with the way to go, and the set as it was',
    async () => {
      await startDaemon(place.folder);
      create();
      const sectors = SIZE / 512;
      const same = ok('table', 'data').trim();
      const refuse = (why: RegExp, table: string): void =>
        expectRefused(1, why, 'reload', 'data', '--table', table);
      refuse(/has 33554432 bytes, the map on its legs is for 16777216/, `0 65536 ${same.slice(8)}`);
      refuse(/regions of 256 .* has 128/, native(sectors, '1 256', 'a.img', 'b.img'));
      refuse(/other legs, .* leg add, leg remove/, native(sectors, '1 128', 'b.img', 'a.img'));
      refuse(/other legs/, native(sectors, '1 128', 'a.img', 'c.img'));
      refuse(/says sync; dmio resync/, native(sectors, '2 128 sync', 'a.img', 'b.img'));
      refuse(/would be believed by it again/, same.replace('native', 'core'));
      refuse(/would be believed by it again/, `0 ${sectors} linear ${path('a.img')} 0`);
      ok('create', 'plain', '--table', `0 2048 zero`);
      expectRefused(
        1,
        /its legs carry no metadata of the native log; .* --log native/,
        ...['reload', 'plain', '--table', native(2048, '1 128', 'x.img', 'y.img')],
      );
      // Legs come and go between the two steps.
      ok('reload', 'data', '--table', same);
      ok('leg', 'add', 'data', 'c.img', '--create');
      ok(...WAIT);
      expectRefused(1, /other legs/, 'resume', 'data');
      expect(status()).toMatchObject({ state: 'in-sync' });
      ok('clear', 'data');
      write(1, 0, 1);
      expectByte(1, 0, 1);
    },
    SLOW,
  );
});

describe('a leg that was moved', () => {
  it(
    'is taken in again at its new path and copied where it lacks; a copy of one that is in is not',
    async () => {
      let daemon = await startDaemon(place.folder);
      create();
      write(1, 0, 4);
      ok('leg', 'fail', 'data', 'b.img');
      write(2, 8, 1);
      renameSync(path('b.img'), path('moved.img'));
      expectRefused(4, /b\.img does not exist/, 'leg', 're-add', 'data', path('b.img'));
      expectRefused(4, /data has no leg .*none\.img/, 'leg', 're-add', 'data', path('none.img'));
      expect(readd('moved.img')).toMatchObject({ index: 1, outOfSyncBytes: MIB });
      ok(...WAIT);
      expect(states()).toEqual(['a.img in-sync', 'moved.img in-sync']);
      expect(ok('table', 'data')).toContain(`${path('moved.img')} 0`);

      copyFileSync(path('moved.img'), path('copy.img'));
      symlinkSync('moved.img', path('link.img'));
      const copy = /copy\.img is a copy of leg .*moved\.img, which is in-sync in data/;
      expectRefused(5, copy, 'leg', 're-add', 'data', path('copy.img'));
      const link = /moved\.img and .*link\.img are the same file/;
      expectRefused(1, link, 'leg', 're-add', 'data', path('link.img'));

      // Found there at the next start, too.
      expect(await daemon.stop('SIGKILL')).toBe('SIGKILL');
      daemon = await startDaemon(place.folder);
      expect(states()).toEqual(['a.img in-sync', 'moved.img in-sync']);
      expectByte(2, 8, 1);
      ok(...WAIT);
      expect(await daemon.stop('SIGTERM')).toBe(0);
      expectEqualData('a.img', 'moved.img');
    },
    SLOW,
  );

  it(
    'and put back from an old copy meanwhile is copied where the set ever wrote, also when a daemon has seen it so before',
    async () => {
      let daemon = await startDaemon(place.folder);
      create();
      write(1, 0, 1);
      write(1, 8, 1);
      // Quiet, and durable.
      ok('suspend', 'data');
      copyFileSync(path('b.img'), path('b.old'));
      ok('resume', 'data');
      write(2, 0, 4);
      ok('leg', 'fail', 'data', 'b.img');
      expect(await daemon.stop('SIGTERM')).toBe(0);
      rmSync(path('b.img'));
      renameSync(path('b.old'), path('b.img'));
      expect(dataOf('b.img').equals(dataOf('a.img'))).toBe(false);
      // No delta: it lacks what was written before the copy, too. The legs were made of zeros, and it was
      // in sync when it was copied: where nobody ever wrote it reads zeros, like all others.
      const written = 5 * MIB;
      daemon = await startDaemon(place.folder);
      expect(states()).toEqual(['a.img in-sync', 'b.img stale']);
      expect(status().legs[1]?.outOfSyncBytes).toBeGreaterThanOrEqual(written);
      // It lacks what is written from now on, where nobody had written yet.
      write(3, 12, 1);
      expect(status().legs[1]?.outOfSyncBytes).toBeGreaterThanOrEqual(written + MIB);
      expect(await daemon.stop('SIGTERM')).toBe(0);
      daemon = await startDaemon(place.folder);
      expect(readd('b.img').outOfSyncBytes).toBeGreaterThanOrEqual(written + MIB);
      ok(...WAIT);
      for (const [byte, atMib, mib] of CONTENT) expectByte(byte, atMib, mib);
      ok('leg', 'fail', 'data', 'a.img');
      for (const [byte, atMib, mib] of CONTENT) expectByte(byte, atMib, mib);
      expect(await daemon.stop('SIGTERM')).toBe(0);
      expectEqualData('a.img', 'b.img');
    },
    SLOW,
  );
});

describe('replace', () => {
  it(
    'fills the new leg before the old one leaves, which is no leg of the set any more',
    async () => {
      const daemon = await startDaemon(place.folder);
      create();
      write(3, 2, 4);
      ok('leg', 'replace', 'data', 'b.img', 'c.img', '--create');
      await daemon.until(() => states().join() === 'a.img in-sync,c.img in-sync');
      expectRefused(1, /b\.img: no metadata of a dmiod mirror/, 'examine', path('b.img'));
      write(4, 0, 1);
      expect(await daemon.stop('SIGTERM')).toBe(0);
      expectEqualData('a.img', 'c.img');
      await startDaemon(place.folder);
      expect(states()).toEqual(['a.img in-sync', 'c.img in-sync']);
      ok('remove', 'data');
      expectRefused(5, /b\.img: no metadata/, 'assemble', 'a.img', 'b.img', 'c.img');
      ok('assemble', 'c.img');
      expectByte(4, 0, 1);
    },
    SLOW,
  );
});

describe('legs that are devices of the daemon', () => {
  it(
    'carry the metadata, come back, and are assembled in any order',
    async () => {
      const daemon = await startDaemon(place.folder);
      for (const name of ['x', 'y']) {
        writeFileSync(path(name), '');
        truncateSync(path(name), SIZE + MIB);
        ok('create', name, '--table', `0 ${(SIZE + MIB) / 512} linear ${path(name)} 0`);
      }
      const sizes = ['--size', '16M', '--region-size', '64K', '--log', 'native'];
      ok('create', 'data', '--mirror', 'dm:x', 'dm:y', ...sizes, '--assume-clean');
      write(1, 0, 2);
      ok('leg', 'fail', 'data', 'dm:y');
      write(2, 8, 1);
      expect(readd('dm:y').outOfSyncBytes).toBeLessThan(SIZE / 2);
      ok(...WAIT);
      // Its metadata is behind the data, on the file below.
      expect(examine('x').superblock).toMatchObject({ set: { name: 'data' }, dataBytes: SIZE });
      expect(await daemon.stop('SIGKILL')).toBe('SIGKILL');
      await startDaemon(place.folder);
      expect(states()).toEqual(['dm:x in-sync', 'dm:y in-sync']);
      expectByte(2, 8, 1);
      ok('remove', 'data');
      expectEqualData('x', 'y');
      expectRefused(4, /dm:none: no device none/, 'assemble', 'dm:x', 'dm:none');
      ok('assemble', 'dm:y', 'dm:x');
      expectRefused(5, /device x is a leg of data/, 'remove', 'x');
      expectByte(1, 0, 2);
      ok('remove', 'data');
      ok('remove', 'x');
    },
    SLOW,
  );
});
