// The native log with `--metadata external:DIR`: legs keep their whole size, and their metadata is in
// files that are tied to them.
import {
  copyFileSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';

import { Prng } from '../../core/base/prng.ts';
import { externalNameOf } from '../../core/mirror/external.ts';
import type { LegDescription } from '../../core/mirror/native-describe.ts';
import {
  expectByte,
  expectEqualData,
  expectRefused,
  MIB,
  ok,
  overwrite,
  path,
  place,
  SIZE,
  SLOW,
  states,
  status,
  write,
} from '../support/native-place.ts';
import { startDaemon } from '../support/programs.ts';
import { run } from '../support/run.ts';
import { TagBook, TaggedWriter } from '../support/tagged-writer.ts';

const SIZES = ['--size', '16M', '--region-size', '64K', '--log', 'native'];
const META = ['--metadata', 'external:meta'];
const WAIT = ['wait', 'data', '--in-sync', '--timeout', '60'];

function create(...more: readonly string[]): void {
  ok('create', 'data', '--mirror', 'a.img', 'b.img', ...SIZES, ...META, ...more);
}

function fileOf(leg: string): string {
  return join('meta', externalNameOf(path(leg)));
}

function examine(leg: string): LegDescription {
  return JSON.parse(ok('examine', leg, ...META, '--json')) as LegDescription;
}

describe('a set whose metadata is in files of its own', () => {
  it(
    'takes all of its legs, says so in its table, survives SIGKILL, and is found again',
    async () => {
      let daemon = await startDaemon(place.folder);
      create();
      const line = `0 32768 mirror native 2 128 external:${path('meta')} 2 `;
      expect(ok('table', 'data')).toContain(line);
      expect([statSync(path('a.img')).size, status().sizeBytes]).toEqual([SIZE, SIZE]);
      write(9, 15, 1);
      const book = new TagBook(MIB);
      for (let round = 0; round < 3; round += 1) {
        const prng = new Prng(round + 1);
        const writer = await TaggedWriter.start(path('nbd.sock'), 'data', book, prng);
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
        ok(...WAIT);
      }
      expectByte(9, 15, 1);
      ok('remove', 'data');
      expectEqualData('a.img', 'b.img');
      // Nothing on the legs says what they are; the files do, in any order of legs.
      expectRefused(1, /no metadata of a dmiod mirror/, 'examine', 'a.img');
      expect(examine('a.img')).toMatchObject({ superblock: { clean: true, dataBytes: SIZE } });
      ok('assemble', 'b.img', 'a.img', ...META);
      expect(states()).toEqual(['a.img in-sync', 'b.img in-sync']);
      expectByte(9, 15, 1);
    },
    SLOW,
  );

  it(
    'gives and takes legs online, with a file each',
    async () => {
      await startDaemon(place.folder);
      create();
      write(1, 0, 4);
      ok('leg', 'fail', 'data', 'b.img');
      write(2, 1, 1);
      const back = JSON.parse(ok('leg', 're-add', 'data', 'b.img', '--json')) as {
        readonly outOfSyncBytes: number;
      };
      // What it missed, not everything.
      expect(back.outOfSyncBytes).toBeLessThan(8 * MIB);
      expect(back.outOfSyncBytes).toBeGreaterThanOrEqual(MIB);
      ok(...WAIT);
      ok('leg', 'add', 'data', 'c.img', '--create');
      ok(...WAIT);
      ok('leg', 'replace', 'data', 'a.img', 'd.img', '--create');
      ok(...WAIT);
      expect(readdirSync(path('meta')).toSorted()).toEqual(
        ['a.img', 'b.img', 'c.img', 'd.img'].map((leg) => externalNameOf(path(leg))).toSorted(),
      );
      expect(statSync(path('d.img')).size).toBe(SIZE);
      ok('reload', 'data', '--table', ok('table', 'data').trim());
      ok('resume', 'data');
      expect(states().toSorted()).toEqual(['b.img in-sync', 'c.img in-sync', 'd.img in-sync']);
      // A file that was lost costs a copy, no more.
      ok('leg', 'fail', 'data', 'b.img');
      rmSync(path(fileOf('b.img')));
      ok('leg', 're-add', 'data', 'b.img');
      ok(...WAIT);
      ok('remove', 'data');
      expectEqualData('b.img', 'c.img', 'd.img');
      expect(examine('b.img').superblock?.legs.map(({ state }) => state)).toEqual(
        Array.from({ length: 3 }, () => 'in-sync'),
      );
    },
    SLOW,
  );
});

describe('the tie between a leg and its file', () => {
  async function stopped(): Promise<void> {
    const daemon = await startDaemon(place.folder);
    create();
    write(1, 0, 4);
    ok('leg', 'fail', 'data', 'b.img');
    write(2, 1, 1);
    expect(await daemon.stop('SIGTERM')).toBe(0);
  }

  it(
    'keeps a stale leg out when its file is lost, old, exchanged, damaged, or of another length',
    async () => {
      await stopped();
      const [a, b] = [path(fileOf('a.img')), path(fileOf('b.img'))];
      const kept = [readFileSync(a), readFileSync(b)] as const;
      const trouble: readonly (readonly [() => void, RegExp])[] = [
        [() => rmSync(b), /its metadata file .* does not exist/],
        [() => copyFileSync(a, b), /is the metadata of leg .*a\.img/],
        [() => overwrite(fileOf('b.img'), 100, Buffer.from('x')), /wrong checksum/],
        [() => writeFileSync(b, Buffer.alloc(8192, 1)), /is no metadata file of dmiod/],
        [() => writeFileSync(b, ''), /is empty/],
      ];
      for (const [make, why] of trouble) {
        make();
        const daemon = await startDaemon(place.folder);
        const { legs, state } = status();
        expect([state, legs[0]?.state]).toEqual(['degraded', 'in-sync']);
        expect(legs[1]?.reason).toMatch(why);
        expectByte(2, 1, 1);
        expect(await daemon.stop('SIGKILL')).toBe('SIGKILL');
        writeFileSync(b, kept[1]);
      }
      // The file of the good leg from before: what the daemon was told last stands against it.
      writeFileSync(a, kept[0]);
      await startDaemon(place.folder);
      expect(status()).toMatchObject({ state: 'failed' });
      expect(status().reason).toMatch(/is of generation \d+, the daemon has seen \d+/);
    },
    SLOW,
  );

  it(
    'refuses legs that are not those the files were made for, until told that they were moved',
    async () => {
      await stopped();
      // The same bytes in another file: nobody can know whether they are as old as the metadata.
      copyFileSync(path('a.img'), path('x'));
      renameSync(path('x'), path('a.img'));
      const isTold = statSync(path('a.img'), { bigint: true }).birthtimeNs > 0n;
      await startDaemon(place.folder);
      if (isTold) {
        expect(status()).toMatchObject({ state: 'failed' });
        ok('remove', 'data');
        expectRefused(1, /made for another file or disk/, 'assemble', 'a.img', ...META);
      } else {
        // Without births in this file system a file is its path and its length.
        expect(status()).toMatchObject({ state: 'degraded' });
        ok('remove', 'data');
      }
      ok('assemble', 'a.img', ...META, '--moved');
      expectByte(2, 1, 1);
    },
    SLOW,
  );
});

describe('what is refused, in one line, with nothing changed', () => {
  it(
    'words, folders, files that are there, legs that are too short',
    async () => {
      await startDaemon(place.folder);
      const make = ['create', 'x', '--mirror', 'a.img', 'b.img', '--size', '16M'];
      const native = [...make, '--log', 'native', '--metadata'];
      expectRefused(2, /only the native log has metadata/, ...make, '--log', 'core', ...META);
      expectRefused(2, /expected internal or external:DIR/, ...native, 'external:');
      expectRefused(2, /expected internal or external:DIR/, ...native, 'extern:/x');
      writeFileSync(path('file'), 'x');
      expectRefused(1, /metadata folder .*file is no folder/, ...native, 'external:file');
      expectRefused(1, /cannot be made: ENOENT/, ...native, 'external:no/where');
      expect([existsSync(path('a.img')), existsSync(path('no'))]).toEqual([false, false]);
      mkdirSync(path('meta'));
      writeFileSync(path(fileOf('a.img')), 'somebody’s'.repeat(512));
      expectRefused(1, /is no metadata file of dmiod/, ...native, 'external:meta');
      expect(existsSync(path('a.img'))).toBe(false);
      rmSync(path('meta'), { recursive: true });

      create();
      expectRefused(5, /already open/, ...native, 'external:meta');
      writeFileSync(path('c.img'), Buffer.alloc(MIB));
      expectRefused(1, /too small for a device of 16777216/, 'leg', 'add', 'data', 'c.img');
      const other = ok('table', 'data').trim().replace(path('meta'), path('else'));
      expectRefused(1, /in another place/, 'reload', 'data', '--table', other);
      ok('remove', 'data');
      const again = ['create', 'data', '--mirror', 'a.img', 'b.img', ...SIZES, ...META];
      expectRefused(5, /metadata of mirror data .* assemble .* --metadata external:/, ...again);
      ok(...again, '--force');
      expect(readdirSync(path('meta'))).toHaveLength(2);
    },
    SLOW,
  );
});
