// Sets with the native log come to be: made, found again by their legs, refused where that would lose data.
import { copyFileSync, existsSync, rmSync, statSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

import type { AssembleReport, LegReport } from '../../core/control/status.ts';
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
  expectEqualData,
  examine,
  expectRefused,
} from '../support/native-place.ts';
import { snapshot, startDaemon, startServe } from '../support/programs.ts';

describe('dmio assemble', () => {
  it(
    'starts a set from its legs in any order, by its name or another',
    async () => {
      await startDaemon(place.folder);
      create();
      write(7, 0, 1);
      expectRefused(5, /a\.img is already open/, 'assemble', 'a.img', 'b.img');
      ok('remove', 'data');
      const report = JSON.parse(ok('assemble', 'b.img', 'a.img', '--json')) as AssembleReport;
      expect(report).toMatchObject({
        name: 'data',
        sizeBytes: SIZE,
        state: 'in-sync',
        leftOut: [],
      });
      expectByte(7, 0, 1);
      ok('remove', 'data');
      ok('create', 'data', '--mirror', 'c.img', 'd.img', '--size', '1M', '--log', 'core');
      expectRefused(5, /device data exists already; --name N/, 'assemble', 'a.img', 'b.img');
      expect(ok('assemble', 'a.img', 'b.img', '--name', 'other')).toMatch(
        /^other {2}16 MiB {2}in-sync/,
      );
      ok('remove', 'other');
      expectRefused(2, /name/, 'assemble', 'a.img', '--name', 'a/b');
    },
    SLOW,
  );

  it(
    'refuses what would lose writes: stale legs, two halves started apart, strangers, twins',
    async () => {
      await startDaemon(place.folder);
      create();
      write(1, 0, 1);
      ok('leg', 'fail', 'data', 'b.img');
      write(2, 0, 1);
      ok('leg', 're-add', 'data', 'b.img');
      ok('wait', 'data', '--in-sync', '--timeout', '60');
      ok('remove', 'data');

      ok('assemble', 'a.img');
      write(3, 0, 1);
      ok('remove', 'data');
      // b was away meanwhile; it alone knows nothing of that, as with md.
      ok('assemble', 'b.img');
      write(4, 0, 1);
      ok('remove', 'data');
      const brain =
        /split brain: .*a\.img \(generation \d+, .*\) and .*b\.img .*assemble with the legs of one side only/;
      expectRefused(5, brain, 'assemble', 'a.img', 'b.img');
      expectRefused(5, brain, 'assemble', 'a.img', 'b.img', '--force');

      // The way out: one side, and the other copied whole.
      ok('assemble', 'a.img');
      expectByte(3, 0, 1);
      expectRefused(
        5,
        /b\.img was started apart from the others .*--force does it/,
        ...['leg', 're-add', 'data', place.path('b.img')],
      );
      const index = String(status().legs.find(({ state }) => state !== 'in-sync')?.index);
      const back = JSON.parse(ok('leg', 're-add', 'data', index, '--force', '--json')) as LegReport;
      expect(back.outOfSyncBytes).toBe(SIZE);
      ok('wait', 'data', '--in-sync', '--timeout', '60');
      ok('remove', 'data');
      expectEqualData('a.img', 'b.img');

      ok('assemble', 'a.img', 'b.img');
      ok('leg', 'fail', 'data', 'b.img');
      write(5, 0, 1);
      ok('remove', 'data');
      ok('assemble', 'a.img', 'b.img');
      ok('remove', 'data');
      copyFileSync(path('a.img'), path('twin.img'));
      expectRefused(1, /are the same leg .* copy of the other/, 'assemble', 'a.img', 'twin.img');
      ok('create', 'else', '--mirror', 'c.img', 'd.img', '--size', '1M', '--log', 'native');
      ok('remove', 'else');
      expectRefused(1, /belong to different sets/, 'assemble', 'a.img', 'c.img');
      writeFileSync(path('blank.img'), '');
      truncateSync(path('blank.img'), MIB);
      expectRefused(
        1,
        /no leg carries metadata .*blank\.img: no metadata/,
        'assemble',
        'blank.img',
      );
      expectRefused(
        5,
        /blank\.img: no metadata; --force leaves it out/,
        'assemble',
        'a.img',
        'blank.img',
      );
      expectRefused(4, /no\.img does not exist/, 'assemble', 'no.img');
      expect(ok('assemble', 'a.img', 'blank.img', '--force')).toContain('blank.img was left out');
    },
    SLOW,
  );
});

describe('create', () => {
  it(
    'makes legs of the size and the trailer, and gives existing legs the device they hold',
    async () => {
      await startDaemon(place.folder);
      create();
      expect(status()).toMatchObject({ state: 'in-sync', sizeBytes: SIZE });
      const bytes = statSync(path('a.img')).size;
      expect(bytes).toBeGreaterThan(SIZE);
      expect(bytes).toBeLessThan(SIZE + MIB);
      ok('leg', 'add', 'data', 'c.img', '--create');
      ok('wait', 'data', '--in-sync', '--timeout', '60');
      expect(statSync(path('c.img')).size).toBe(bytes);
      for (const leg of ['d.img', 'e.img']) {
        writeFileSync(path(leg), '');
        truncateSync(path(leg), leg === 'd.img' ? 4 * MIB : 5 * MIB);
      }
      ok('create', 'found', '--mirror', 'd.img', 'e.img', '--log', 'native');
      const { sizeBytes } = place.statusOf('found');
      expect(sizeBytes).toBeLessThan(4 * MIB);
      expect(sizeBytes).toBeGreaterThan(3.9 * MIB);
      ok('wait', 'found', '--in-sync', '--timeout', '60');
      const table = `0 2048 mirror native 2 128 nosync 2 ${path('f.img')} 0 ${path('g.img')} 0`;
      for (const leg of ['f.img', 'g.img']) {
        writeFileSync(path(leg), '');
        truncateSync(path(leg), 2 * MIB);
      }
      ok('create', 'lines', '--table', table);
      expect(place.statusOf('lines')).toMatchObject({ state: 'in-sync', sizeBytes: MIB });
    },
    SLOW,
  );

  it(
    'refuses in one line, and leaves everything as it was',
    async () => {
      await startDaemon(place.folder);
      create();
      ok('remove', 'data');
      for (const [leg, bytes] of [
        ['small.img', MIB],
        ['tiny.img', 8192],
        ['free.img', 32 * MIB],
      ] as const) {
        writeFileSync(path(leg), '');
        truncateSync(path(leg), bytes);
      }
      const legs = (): Readonly<Record<string, string>> =>
        Object.fromEntries(
          Object.entries(snapshot(place.folder)).filter(([name]) => name.endsWith('.img')),
        );
      const before = legs();
      const native = (...more: readonly string[]): readonly string[] => [
        'create',
        'x',
        '--log',
        'native',
        ...more,
      ];
      const ours =
        /a\.img carries metadata of mirror data \(set .*\); dmio assemble .*a\.img .*b\.img starts it; .*--force/;
      expectRefused(5, ours, ...native('--mirror', 'a.img', 'b.img'));
      expectRefused(5, ours, 'create', 'x', '--log', 'core', '--mirror', 'a.img', 'b.img');
      expectRefused(
        5,
        /b\.img carries metadata of mirror data .*; a new mirror may/,
        ...native('--mirror', 'free.img', 'b.img'),
      );
      expectRefused(
        1,
        /small\.img has 1048576 bytes, too small for a device of 1048576 bytes and .* metadata: \d+ are wanted/,
        ...native('--mirror', 'free.img', 'small.img', '--size', '1M'),
      );
      expectRefused(
        1,
        /small\.img has/,
        ...native('--mirror', 'new.img', 'small.img', '--size', '1M'),
      );
      expectRefused(
        1,
        /tiny\.img has 8192 bytes, too small for the metadata/,
        ...native('--mirror', 'free.img', 'tiny.img'),
      );
      expectRefused(
        1,
        /region size is 65536 sectors, more than/,
        ...native('--mirror', 'free.img', 'small.img', '--region-size', '32M'),
      );
      expectRefused(
        2,
        /log "paper": expected native, core or disk=PATH/,
        'create',
        'x',
        '--log',
        'paper',
        '--mirror',
        'p',
        'q',
      );
      expectRefused(
        2,
        /a table names its own/,
        'create',
        'x',
        '--log',
        'native',
        '--table',
        '0 8 zero',
      );
      expectRefused(
        1,
        /with the native log a leg is used from 0 on/,
        'create',
        'x',
        '--table',
        `0 2048 mirror native 1 128 2 ${path('free.img')} 8 ${path('small.img')} 0`,
      );
      expect(legs()).toEqual(before);
      expect(existsSync(join(place.folder, 'state/devices/x.json'))).toBe(false);

      ok('create', 'core', '--log', 'core', '--mirror', 'free.img', 'c.img', '--size', '1M');
      expectRefused(
        5,
        /a\.img carries metadata of mirror data .*--force does it/,
        'leg',
        'add',
        'core',
        'a.img',
      );
      ok('leg', 'add', 'core', 'a.img', '--force');
      expectRefused(5, /c\.img is already open/, 'assemble', 'c.img');
      ok('remove', 'core');
      expectRefused(1, /no leg carries metadata/, 'assemble', 'c.img');
      ok(...native('--mirror', 'b.img', 'n.img', '--size', '8M', '--force'));
      expect(place.statusOf('x').sizeBytes).toBe(8 * MIB);
    },
    SLOW,
  );
});

describe('dmio serve --log native', () => {
  it(
    'writes metadata with --create and starts what is there without, and with',
    async () => {
      const legs = ['--mirror', 'a.img', 'b.img', '--log', 'native', '--socket', 'nbd.sock'];
      let serve = await startServe(place.folder, ...legs, '--size', '16M', '--create');
      write(5, 2, 1);
      expect(await serve.stop('SIGKILL')).toBe('SIGKILL');
      for (const more of [[], ['--size', '16M', '--create']]) {
        serve = await startServe(place.folder, ...legs, ...more);
        expectByte(5, 2, 1);
        expect(await serve.stop('SIGTERM')).toBe(0);
        expectEqualData('a.img', 'b.img');
      }
      rmSync(path('a.img'));
      expectRefused(
        5,
        /b\.img is of a mirror already and .*a\.img is not there/,
        'serve',
        ...legs,
        '--size',
        '16M',
        '--create',
      );
      expect(existsSync(path('a.img'))).toBe(false);
      writeFileSync(path('a.img'), '');
      truncateSync(path('a.img'), SIZE);
      expectRefused(1, /a\.img: no metadata; the other legs are of a mirror/, 'serve', ...legs);
    },
    SLOW,
  );
});

describe('a config file with log = "native"', () => {
  it(
    'makes the set once and finds it again, also without the state directory',
    async () => {
      for (const leg of ['a.img', 'b.img']) {
        writeFileSync(path(leg), '');
        truncateSync(path(leg), SIZE + MIB);
      }
      const device = `mirror = ["${path('a.img')}", "${path('b.img')}"]\nlog = "native"\nsize = "16MiB"\n`;
      writeFileSync(path('c.toml'), `[device.data]\n${device}assume-clean = true\n`);
      let daemon = await startDaemon(place.folder, '--config', 'c.toml');
      expect(status()).toMatchObject({ state: 'in-sync', sizeBytes: SIZE });
      write(6, 1, 1);
      expect(await daemon.stop('SIGTERM')).toBe(0);
      const setUuid = examine('a.img').superblock?.set.uuid;
      for (const isForgotten of [false, true]) {
        if (isForgotten) rmSync(path('state'), { recursive: true });
        daemon = await startDaemon(place.folder, '--config', 'c.toml');
        expect(status()).toMatchObject({ state: 'in-sync', resync: null });
        expectByte(6, 1, 1);
        expect(await daemon.stop('SIGTERM')).toBe(0);
        expect(examine('b.img').superblock?.set.uuid).toBe(setUuid);
      }
    },
    SLOW,
  );
});
