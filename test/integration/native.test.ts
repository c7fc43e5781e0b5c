/* eslint-disable max-lines -- one story after the other on real files; to be cut along its describes */
// The native log on real files: legs say who is in sync, wherever they are found, and after a crash
// only what was being written is settled. Damage to the metadata is survived, or told in words.
import {
  copyFileSync,
  existsSync,
  openSync,
  closeSync,
  readFileSync,
  readSync,
  renameSync,
  rmSync,
  statSync,
  truncateSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { join } from 'node:path';

import { Prng } from '../../core/base/prng.ts';
import type { AssembleReport, DeviceStatus, LegReport } from '../../core/control/status.ts';
import type { LegDescription } from '../../core/mirror/native-describe.ts';
import { dmio, snapshot, startDaemon, startServe } from '../support/programs.ts';
import { Place } from '../support/place.ts';
import { run } from '../support/run.ts';
import { TagBook, TaggedWriter } from '../support/tagged-writer.ts';

const SLOW = 180_000;
const MIB = 2 ** 20;
const SIZE = 16 * MIB;
const SUPERBLOCK = 8192;
const place = new Place();
const path = (name: string): string => place.path(name);
const ok = (...args: readonly string[]): string => place.ok(...args);
const status = (): DeviceStatus => place.statusOf('data');

function create(...more: readonly string[]): void {
  const sizes = ['--size', '16M', '--region-size', '64K', '--log', 'native'];
  ok('create', 'data', '--mirror', 'a.img', 'b.img', ...sizes, ...more);
}

/** Fills a part of the device with a byte, durably. */
function write(byte: number, atMib: number, mib: number): void {
  const command = ['-c', `write -P ${byte} ${atMib}M ${mib}M`, '-c', 'flush'];
  const ran = run(place.folder, 'qemu-io', '-f', 'raw', ...command, place.uriOf('data'));
  expect([ran.stderr, ran.code]).toEqual(['', 0]);
}

function expectByte(byte: number, atMib: number, mib: number): void {
  const command = ['-c', `read -P ${byte} ${atMib}M ${mib}M`];
  const ran = run(place.folder, 'qemu-io', '-f', 'raw', ...command, place.uriOf('data'));
  expect(ran.stdout).not.toContain('verification failed');
  expect(ran.code).toBe(0);
}

function dataOf(leg: string): Buffer {
  const data = Buffer.alloc(SIZE);
  const fd = openSync(path(leg), 'r');
  expect(readSync(fd, data, 0, SIZE, 0)).toBe(SIZE);
  closeSync(fd);
  return data;
}

function expectEqualData(...legs: readonly string[]): void {
  const [first = Buffer.alloc(0), ...others] = legs.map(dataOf);
  for (const other of others) expect(other.equals(first)).toBe(true);
}

function examine(leg: string): LegDescription {
  return JSON.parse(ok('examine', leg, '--json')) as LegDescription;
}

function expectRefused(code: number, message: string | RegExp, ...args: readonly string[]): void {
  const ran = dmio(place.folder, ...args);
  expect(ran.stderr.split('\n')).toHaveLength(2);
  expect(ran.stderr).toMatch(message);
  expect([ran.code, ran.stdout]).toEqual([code, '']);
}

function states(): readonly string[] {
  return status().legs.map(({ leg, state }) => `${leg.replace(`${place.folder}/`, '')} ${state}`);
}

/** A copy of a leg's superblock: A is the last 8 KiB of its whole units, B is before it. */
function damage(leg: string, copy: 'A' | 'B', kind: 'zeroed' | 'torn' | 'rotten'): void {
  const size = statSync(path(leg)).size;
  const end = size - (size % 4096);
  const at = end - (copy === 'A' ? 1 : 2) * SUPERBLOCK;
  if (kind === 'rotten') overwrite(leg, at + 700, Buffer.from([0x55]));
  else overwrite(leg, at, Buffer.alloc(kind === 'torn' ? 512 : SUPERBLOCK, 0));
}

function overwrite(leg: string, at: number, bytes: Buffer): void {
  const fd = openSync(path(leg), 'r+');
  writeSync(fd, bytes, 0, bytes.length, at);
  closeSync(fd);
}

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
      expectRefused(1, /native log is not reloaded/, 'reload', 'lines', '--table', '0 2048 zero');
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
