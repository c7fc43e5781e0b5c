// The native log on real files: legs say who is in sync, wherever they are found, and after a crash
// only what was being written is settled. Damage to the metadata is survived, or told in words.
import { copyFileSync, readFileSync, renameSync, rmSync } from 'node:fs';

import { Prng } from '../../core/base/prng.ts';
import type { LegReport } from '../../core/control/status.ts';
import {
  SLOW,
  MIB,
  SIZE,
  place,
  path,
  ok,
  status,
  create,
  write,
  expectByte,
  dataOf,
  expectEqualData,
  examine,
  states,
  damage,
  overwrite,
} from '../support/native-place.ts';
import { startDaemon } from '../support/programs.ts';
import { run } from '../support/run.ts';
import { TagBook, TaggedWriter } from '../support/tagged-writer.ts';

describe('who is in sync', () => {
  it(
    'comes from the legs: after a clean stop, with exchanged names, with one of them away',
    async () => {
      let daemon = await startDaemon(place.folder);
      create();
      expect(ok('table', 'data')).toMatch(/^0 32768 mirror native 1 128 2 /);
      expect(ok('status', 'data', '--dm')).toMatch(/ 256\/256 1 AA 1 native$/m);
      write(7, 1, 2);
      expect(ok('status', 'data')).toContain('_');
      expect(await daemon.stop('SIGTERM')).toBe(0);
      expectEqualData('a.img', 'b.img');
      expect(examine('a.img')).toMatchObject({ superblock: { clean: true }, map: { dirty: 0 } });

      renameSync(path('a.img'), path('x'));
      renameSync(path('b.img'), path('a.img'));
      renameSync(path('x'), path('b.img'));
      daemon = await startDaemon(place.folder);
      expect(status()).toMatchObject({ state: 'in-sync', resync: null });
      expect(states()).toEqual(['b.img in-sync', 'a.img in-sync']);
      expectByte(7, 1, 2);
      expect(await daemon.stop('SIGTERM')).toBe(0);

      renameSync(path('a.img'), path('away'));
      daemon = await startDaemon(place.folder);
      expect(states()).toEqual(['b.img in-sync', 'a.img missing']);
      write(8, 4, 1);
      renameSync(path('away'), path('a.img'));
      const back = JSON.parse(ok('leg', 're-add', 'data', 'a.img', '--json')) as LegReport;
      // Not the whole device, and at least what it missed.
      expect(back.outOfSyncBytes).toBeLessThan(SIZE / 2);
      ok('wait', 'data', '--in-sync', '--timeout', '60');
      expectByte(8, 4, 1);
      expect(await daemon.stop('SIGTERM')).toBe(0);
      expectEqualData('a.img', 'b.img');
      expect(
        dataOf('a.img')
          .subarray(4 * MIB, 5 * MIB)
          .every((byte) => byte === 8),
      ).toBe(true);
    },
    SLOW,
  );

  it(
    'survives SIGKILL: only what was being written is settled',
    async () => {
      let daemon = await startDaemon(place.folder);
      create();
      write(9, 1, 1);
      expect(await daemon.stop('SIGKILL')).toBe('SIGKILL');
      const { dirty = 0, neverWritten = 0 } = examine('a.img').map ?? {};
      expect(dirty).toBeGreaterThanOrEqual(16);
      expect(neverWritten).toBe(256 - dirty);
      expect(neverWritten).toBeGreaterThan(100);
      daemon = await startDaemon(place.folder);
      expect(status().regions?.outOfSync).toBeLessThanOrEqual(dirty);
      const book = new TagBook(MIB);
      for (let round = 0; round < 3; round += 1) {
        const writer = await TaggedWriter.start(
          path('nbd.sock'),
          'data',
          book,
          new Prng(round + 1),
        );
        while (writer.acknowledged < 40) await new Promise((next) => setTimeout(next, 10));
        expect(await daemon.stop('SIGKILL')).toBe('SIGKILL');
        await writer.stop();
        expect(examine('a.img').map?.dirty).toBeGreaterThan(0);
        daemon = await startDaemon(place.folder);
        rmSync(path('image'), { force: true });
        expect(run(place.folder, 'nbdcopy', place.uriOf('data'), 'image').code).toBe(0);
        const image = readFileSync(path('image'));
        expect(book.wrongIn(image)).toEqual([]);
        book.seenIn(image);
        ok('wait', 'data', '--in-sync', '--timeout', '60');
      }
      expect(await daemon.stop('SIGTERM')).toBe(0);
      expectEqualData('a.img', 'b.img');
      expect(book.wrongIn(dataOf('b.img'))).toEqual([]);
    },
    SLOW,
  );

  it(
    'of a leg that is older than the daemon knows, or was put back from a copy, is not believed',
    async () => {
      let daemon = await startDaemon(place.folder);
      create();
      write(1, 0, 1);
      expect(await daemon.stop('SIGTERM')).toBe(0);
      copyFileSync(path('b.img'), path('b.old'));
      daemon = await startDaemon(place.folder);
      write(2, 0, 4);
      ok('leg', 'fail', 'data', 'b.img');
      write(3, 1, 1);
      expect(await daemon.stop('SIGTERM')).toBe(0);

      // b alone says that it is in sync; the daemon has seen that it is not.
      renameSync(path('b.img'), path('b.new'));
      copyFileSync(path('b.old'), path('b.img'));
      renameSync(path('a.img'), path('a.away'));
      daemon = await startDaemon(place.folder);
      expect(status()).toMatchObject({ state: 'failed' });
      expect(status().reason).toMatch(
        /b\.img is of generation \d+, the daemon has seen \d+: wanted is .*a\.img/,
      );
      expect(await daemon.stop('SIGTERM')).toBe(0);

      // With a there, the old copy of b is filled again.
      renameSync(path('a.away'), path('a.img'));
      daemon = await startDaemon(place.folder);
      expect(states()).toEqual(['a.img in-sync', 'b.img stale']);
      ok('leg', 're-add', 'data', 'b.img');
      ok('wait', 'data', '--in-sync', '--timeout', '60');
      expect(await daemon.stop('SIGTERM')).toBe(0);
      expectEqualData('a.img', 'b.img');
      expect(
        dataOf('b.img')
          .subarray(MIB, 2 * MIB)
          .every((byte) => byte === 3),
      ).toBe(true);

      // The same, while b was in sync all the time: it was rolled back behind our back.
      copyFileSync(path('b.old'), path('b.img'));
      daemon = await startDaemon(place.folder);
      ok('wait', 'data', '--in-sync', '--timeout', '60');
      expectByte(3, 1, 1);
      expect(await daemon.stop('SIGTERM')).toBe(0);
      expectEqualData('a.img', 'b.img');
    },
    SLOW,
  );
});

describe('damaged metadata', () => {
  it.each(['zeroed', 'torn', 'rotten'] as const)(
    'one %s copy of the superblock is survived, two take the leg out, all of them the device',
    async (kind) => {
      let daemon = await startDaemon(place.folder);
      create();
      write(9, 3, 1);
      for (const copy of ['A', 'B'] as const) {
        expect(await daemon.stop('SIGTERM')).toBe(0);
        damage('a.img', copy, kind);
        damage('b.img', copy, kind);
        daemon = await startDaemon(place.folder);
        expect(status()).toMatchObject({ state: 'in-sync', resync: null });
      }
      expect(await daemon.stop('SIGTERM')).toBe(0);
      damage('b.img', 'A', kind);
      damage('b.img', 'B', kind);
      daemon = await startDaemon(place.folder);
      expect(states()).toEqual(['a.img in-sync', 'b.img missing']);
      expectByte(9, 3, 1);
      const back = JSON.parse(ok('leg', 're-add', 'data', 'b.img', '--json')) as LegReport;
      expect(back.outOfSyncBytes).toBe(SIZE);
      ok('wait', 'data', '--in-sync', '--timeout', '60');
      expect(await daemon.stop('SIGTERM')).toBe(0);
      expectEqualData('a.img', 'b.img');

      for (const leg of ['a.img', 'b.img']) {
        damage(leg, 'A', kind);
        damage(leg, 'B', kind);
      }
      await startDaemon(place.folder);
      expect(status().state).toBe('failed');
      const why = kind === 'rotten' ? 'torn or rotten' : 'no metadata';
      expect(status().reason).toContain('no leg carries metadata that can be read');
      expect(status().reason).toContain(why);
    },
    SLOW,
  );

  it(
    'a rotten sector of the map is taken from the other leg; where none has it all of it is settled',
    async () => {
      let daemon = await startDaemon(place.folder);
      create();
      write(9, 3, 1);
      expect(await daemon.stop('SIGTERM')).toBe(0);
      const mapAt = (examine('a.img').map?.sector ?? 0) * 512;
      overwrite('a.img', mapAt + 100, Buffer.alloc(30, 0xaa));
      daemon = await startDaemon(place.folder);
      expect(status()).toMatchObject({ state: 'in-sync', resync: null });
      expect(await daemon.stop('SIGKILL')).toBe('SIGKILL');

      for (const leg of ['a.img', 'b.img']) overwrite(leg, mapAt + 100, Buffer.alloc(30, 0xaa));
      daemon = await startDaemon(place.folder);
      ok('wait', 'data', '--in-sync', '--timeout', '60');
      expectByte(9, 3, 1);
      expect(await daemon.stop('SIGTERM')).toBe(0);
      expect(examine('a.img').map?.badSectors).toBe(0);
      expectEqualData('a.img', 'b.img');
    },
    SLOW,
  );
});
