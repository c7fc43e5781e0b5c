// SIGKILL and SIGTERM in the middle of traffic. Clients here know for each place what they were told
// is written; whatever the moment, and whichever leg has just gone bad, that is there afterwards.
import { readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';

import { Prng } from '../../core/base/prng.ts';
import type { DeviceStatus } from '../../core/control/status.ts';
import { NBD_ERROR } from '../../core/nbd/proto.ts';
import { breakableLeg, smallFileSystem } from '../support/bad-leg.ts';
import { startDaemon } from '../support/programs.ts';
import { describeAsRoot } from '../support/root-only.ts';
import { run } from '../support/run.ts';
import { TagBook, TaggedWriter } from '../support/tagged-writer.ts';
import { Place } from '../support/place.ts';

/** Daemons are started one after the other, on machines that may have other work. */
const SLOW = 180_000;
const MEGABYTES = 16;
const prng = new Prng(Date.now() % 2 ** 32);
const place = new Place();
let book: TagBook;

beforeEach(() => {
  book = new TagBook(MEGABYTES * 2 ** 20);
});

const path = (name: string): string => place.path(name);

const ok = (...args: readonly string[]): string => place.ok(...args);

function create(legs: readonly string[], ...more: readonly string[]): void {
  const sizes = ['--size', `${MEGABYTES}M`, '--region-size', '64K'];
  ok('create', 'data', '--mirror', ...legs, ...sizes, ...more);
}

const status = (): DeviceStatus => place.statusOf('data');

function startWriter(): Promise<TaggedWriter> {
  return TaggedWriter.start(path('nbd.sock'), 'data', book, new Prng(prng.u32()));
}

/** All of the device, as a client reads it. */
function readDevice(): Buffer {
  rmSync(path('image'), { force: true });
  const ran = run(place.folder, 'nbdcopy', place.uriOf('data'), 'image');
  expect([ran.stderr, ran.code]).toEqual(['', 0]);
  return readFileSync(path('image'));
}

/** What is read is what was acknowledged, and stays so. */
function expectAcknowledged(): Buffer {
  const image = readDevice();
  expect(book.wrongIn(image)).toEqual([]);
  book.seenIn(image);
  return image;
}

/** Each leg alone is the device. */
function expectEqualLegs(...legs: readonly string[]): void {
  const [first, ...others] = legs.map((leg) => readFileSync(leg));
  expect(book.wrongIn(first ?? Buffer.alloc(0))).toEqual([]);
  for (const other of others) expect(other.equals(first ?? other)).toBe(true);
}

describe('SIGKILL in the middle of traffic', () => {
  it(
    'loses nothing acknowledged, flushed or not, in eight rounds, two of three during a resync',
    async () => {
      let daemon = await startDaemon(place.folder);
      create(['a.img', 'b.img', 'c.img']);
      let acknowledged = 0;
      for (let round = 0; round < 8; round += 1) {
        const writers = await Promise.all([startWriter(), startWriter()]);
        await sleep(50 + prng.below(300));
        expect(await daemon.stop('SIGKILL')).toBe('SIGKILL');
        for (const writer of writers) {
          await writer.stop();
          expect(writer.errors).toEqual(new Map());
          acknowledged += writer.acknowledged;
        }
        daemon = await startDaemon(place.folder);
        const image = expectAcknowledged();
        if (round % 3 !== 2) continue;
        ok('wait', 'data', '--in-sync', '--timeout', '60');
        expect(readDevice().equals(image)).toBe(true);
        expectEqualLegs(path('a.img'), path('b.img'), path('c.img'));
      }
      expect(acknowledged).toBeGreaterThan(100);
      ok('wait', 'data', '--in-sync', '--timeout', '60');
      expect(await daemon.stop()).toBe(0);
      expectEqualLegs(path('a.img'), path('b.img'), path('c.img'));

      for (const leg of ['a.img', 'b.img']) renameSync(path(leg), path(`${leg}.away`));
      await startDaemon(place.folder);
      expect(status().state).toBe('degraded');
      expectAcknowledged();
    },
    SLOW,
  );

  // The kill comes before, while or after the miss is recorded; leg 0, the truth after a kill, has more goes.
  it.each([0, 1, 0, 0])(
    'right after leg %i has gone bad: what it missed is never read',
    async (bad) => {
      const leg = await breakableLeg(place.folder, 'bad', 'pwrite', MEGABYTES);
      const legs = bad === 0 ? [leg.path, path('good.img')] : [path('good.img'), leg.path];
      let daemon = await startDaemon(place.folder);
      create(legs, '--assume-clean');
      const writers = await Promise.all([startWriter(), startWriter()]);
      await sleep(200);
      leg.break();
      await sleep(prng.below(120));
      await daemon.stop('SIGKILL');
      for (const writer of writers) await writer.stop();
      leg.heal();

      daemon = await startDaemon(place.folder);
      expectAcknowledged();
      if (status().state !== 'degraded') ok('wait', 'data', '--in-sync', '--timeout', '60');
      const { state } = status();
      const more = await startWriter();
      await sleep(100);
      await more.stop();
      expect(more.errors).toEqual(new Map());
      expectAcknowledged();
      expect(await daemon.stop()).toBe(0);
      if (state === 'in-sync') {
        expectEqualLegs(...legs);
        return;
      }

      expectEqualLegs(path('good.img'));
      renameSync(path('good.img'), path('away.img'));
      await startDaemon(place.folder);
      expect(status().state).toBe('failed');
    },
    SLOW,
  );
});

describe('SIGTERM in the middle of traffic', () => {
  it(
    'ends well, with everything acknowledged on each leg',
    async () => {
      const daemon = await startDaemon(place.folder);
      create(['a.img', 'b.img']);
      const writers = await Promise.all([startWriter(), startWriter(), startWriter()]);
      while (writers.some(({ acknowledged }) => acknowledged < 50)) await sleep(10);
      expect(await daemon.stop('SIGTERM')).toBe(0);
      for (const writer of writers) {
        await writer.stop();
        expect([...writer.errors.keys()].filter((e) => e !== NBD_ERROR.ESHUTDOWN)).toEqual([]);
      }
      expectEqualLegs(path('a.img'), path('b.img'));
      const record = readFileSync(path('state/devices/data.json'), 'utf8');
      expect(JSON.parse(record)).toMatchObject({ mirror: { clean: true } });
      await startDaemon(place.folder);
      expect(status()).toMatchObject({ state: 'in-sync', resync: null });
      expectAcknowledged();
    },
    SLOW,
  );
});

describeAsRoot('a state directory on a full disk', () => {
  it.each([0, 1])(
    'acknowledges nothing that leg %i has missed and no record says so',
    async (bad) => {
      const small = smallFileSystem(place.folder, 1);
      const state = ['--state-dir', join(small, 'state')];
      const leg = await breakableLeg(place.folder, 'bad', 'pwrite', MEGABYTES);
      const legs = bad === 0 ? [leg.path, path('good.img')] : [path('good.img'), leg.path];
      let daemon = await startDaemon(place.folder, ...state);
      create(legs, '--assume-clean');
      const before = await startWriter();
      await sleep(100);
      await before.stop();
      expect(before.errors).toEqual(new Map());

      expect(() => writeFileSync(join(small, 'filler'), Buffer.alloc(2 ** 21))).toThrow('ENOSPC');
      leg.break();
      const during = await startWriter();
      await sleep(500);
      await daemon.stop('SIGKILL');
      await during.stop();
      leg.heal();
      rmSync(join(small, 'filler'));

      daemon = await startDaemon(place.folder, ...state);
      expectAcknowledged();
      ok('wait', 'data', '--in-sync', '--timeout', '60');
      expectAcknowledged();
      expect(await daemon.stop()).toBe(0);
      expectEqualLegs(...legs);
    },
    SLOW,
  );

  it(
    'goes on once there is room again',
    async () => {
      const small = smallFileSystem(place.folder, 1);
      const leg = await breakableLeg(place.folder, 'bad', 'pwrite', MEGABYTES);
      await startDaemon(place.folder, '--state-dir', join(small, 'state'));
      create([leg.path, 'good.img'], '--assume-clean');
      const before = await startWriter();
      await sleep(100);
      await before.stop();
      expect(() => writeFileSync(join(small, 'filler'), Buffer.alloc(2 ** 21))).toThrow('ENOSPC');
      leg.break();
      const during = await startWriter();
      await sleep(500);
      rmSync(join(small, 'filler'));
      await during.stop();

      const after = await startWriter();
      await sleep(100);
      await after.stop();
      expect(after.errors).toEqual(new Map());
      expect(after.acknowledged).toBeGreaterThan(0);
      expectAcknowledged();
      expect(status().legs.map((each) => each.state)).toEqual(['failed', 'in-sync']);
    },
    SLOW,
  );
});
