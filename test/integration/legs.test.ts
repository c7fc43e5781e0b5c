// Legs of a mirror that serves: added, failed, removed, added again, replaced, by hand and by themselves.
import {
  closeSync,
  existsSync,
  linkSync,
  mkdirSync,
  openSync,
  readFileSync,
  readSync,
  truncateSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';

import type { DeviceStatus, LegAddReport, LegReport } from '../../core/control/status.ts';
import { breakableLeg } from '../support/bad-leg.ts';
import { Place } from '../support/place.ts';
import { dmio, startDaemon } from '../support/programs.ts';
import { run, runBeside } from '../support/run.ts';

const SLOW = 180_000;
const MIB = 2 ** 20;
const place = new Place();

const ok = (...args: readonly string[]): string => place.ok(...args);
const path = (name: string): string => place.path(name);
const status = (): DeviceStatus => place.statusOf('data');
const states = (): string[] => status().legs.map(({ state }) => state);
const paths = (): string[] => status().legs.map(({ leg }) => leg);

function report(...args: readonly string[]): unknown {
  return JSON.parse(ok('--json', ...args));
}

function qemuIo(...commands: readonly string[]): void {
  const args = commands.flatMap((command) => ['-c', command]);
  const ran = run(place.folder, 'qemu-io', '-f', 'raw', ...args, place.uriOf('data'));
  expect(ran).toMatchObject({ code: 0, stderr: '' });
}

/** Verified traffic; the exit code when it has ended. */
async function fio(seconds: number): Promise<number | null> {
  const job = [
    ...['--name=x', '--ioengine=nbd', `--uri=${place.uriOf('data')}`, '--rw=randrw', '--bs=4k'],
    ...['--size=32M', '--iodepth=8', '--verify=crc32c', '--verify_fatal=1', '--exitall_on_error=1'],
    ...['--time_based', `--runtime=${seconds}`, '--rate_iops=2000'],
  ];
  return (await runBeside(place.folder, 'fio', ...job)).code;
}

async function until(isTrue: () => boolean, what: string): Promise<void> {
  const endMs = performance.now() + 30_000;
  while (!isTrue()) {
    if (performance.now() > endMs) throw new Error(`never: ${what}\n${ok('status', 'data')}`);
    await sleep(100);
  }
}

function expectEqualFiles(...names: readonly string[]): void {
  const [first, ...others] = names.map((name) => readFileSync(path(name)));
  for (const other of others) expect(first?.equals(other)).toBe(true);
}

/** A daemon whose legs come back fast. */
function startImpatient(seconds: number): ReturnType<typeof startDaemon> {
  writeFileSync(path('dmiod.toml'), `re-add-delay = ${seconds}\n`);
  return startDaemon(place.folder, '--config', 'dmiod.toml');
}

function create(size = '32M', ...more: readonly string[]): void {
  ok('create', 'data', '--mirror', 'a.img', 'b.img', '--size', size, ...more);
}

describe('the legs of a mirror under verified traffic', () => {
  it(
    'come and go without a word to the client, and end equal; a restart finds the new set',
    async () => {
      const daemon = await startDaemon(place.folder);
      create();
      const traffic = fio(12);
      await sleep(1000);
      const added = report('leg', 'add', 'data', 'c.img', '--create') as LegAddReport;
      expect(added).toMatchObject({ index: 2, leg: path('c.img'), isCreated: true });
      ok('wait', 'data', '--in-sync', '--timeout', '30');
      expect(ok('leg', 'fail', 'data', '0')).toBe(`data: leg 0 (${path('a.img')}) is failed\n`);
      await sleep(500);
      const again = report('leg', 're-add', 'data', 'a.img') as LegReport;
      expect(again.outOfSyncBytes).toBeGreaterThan(0);
      ok('wait', 'data', '--in-sync', '--timeout', '30');
      ok('leg', 'replace', 'data', 'b.img', 'd.img', '--create');
      await until(() => !paths().includes(path('b.img')), 'b.img leaves');
      ok('leg', 'remove', 'data', 'c.img');
      expect(await traffic).toBe(0);
      expect(paths()).toEqual([path('a.img'), path('d.img')]);
      expect(status().state).toBe('in-sync');
      const table = ok('table', 'data');
      expect(table).toContain(`2 ${path('a.img')} 0 ${path('d.img')} 0`);
      expect(ok('deps', 'data')).toContain(`(${path('a.img')}) (${path('d.img')})`);
      // Let go: a removed leg is anybody's.
      ok('create', 'other', '--mirror', 'b.img', 'c.img', '--force', '--assume-clean');
      expect(await daemon.stop()).toBe(0);
      expectEqualFiles('a.img', 'd.img');

      await startDaemon(place.folder);
      expect(ok('table', 'data')).toBe(table);
      expect(status().state).toBe('in-sync');
    },
    SLOW,
  );

  it(
    'a leg that fails is taken in again by itself when it has healed; not one failed by hand',
    async () => {
      const leg = await breakableLeg(place.folder, 'bad', 'pwrite', 32);
      await startImpatient(0.5);
      const legs = ['good.img', leg.path, 'c.img'];
      ok('create', 'data', '--mirror', ...legs, '--size', '32M', '--assume-clean');
      const traffic = fio(10);
      await sleep(1000);
      leg.break();
      await until(() => states()[1] === 'failed', 'the bad leg fails');
      ok('leg', 'fail', 'data', 'c.img');
      // It is tried, and fails again.
      await until(() => /after \d/.test(status().legs[1]?.note ?? ''), 'a first try');
      leg.heal();
      await until(() => states()[1] === 'in-sync', 'the bad leg is back');
      expect(await traffic).toBe(0);
      expect(states()).toEqual(['in-sync', 'in-sync', 'failed']);
      expect(status().legs[2]).toMatchObject({ reason: 'failed by hand', failedByHand: true });
    },
    SLOW,
  );
});

describe('a leg that was away', () => {
  const REGION = 64 * 1024;
  const REGIONS = 1000;

  /** A mark in every region of a leg's file, behind the daemon's back. */
  function mark(name: string): void {
    const fd = openSync(path(name), 'r+');
    for (let i = 0; i < REGIONS; i += 1) writeSync(fd, 'MARK', i * REGION + 4096);
    closeSync(fd);
  }

  /** Regions that nothing was copied to. */
  function countMarks(name: string): number {
    const fd = openSync(path(name), 'r');
    const bytes = Buffer.alloc(4);
    let marks = 0;
    for (let i = 0; i < REGIONS; i += 1) {
      readSync(fd, bytes, 0, 4, i * REGION + 4096);
      if (bytes.toString() === 'MARK') marks += 1;
    }
    closeSync(fd);
    return marks;
  }

  it(
    'for 1 % of the regions is back after a copy of 1 %',
    async () => {
      await startDaemon(place.folder);
      create(String(REGIONS * REGION), '--region-size', '64K');
      qemuIo(`write -P 1 0 ${REGIONS * REGION}`, 'flush');
      ok('leg', 'fail', 'data', 'b.img');
      mark('b.img');
      for (let i = 0; i < 10; i += 1) qemuIo(`write -P 2 ${i * 97 * REGION} 4k`);
      const again = report('leg', 're-add', 'data', 'b.img') as LegReport;
      expect(again.outOfSyncBytes).toBe(10 * REGION);
      ok('wait', 'data', '--in-sync', '--timeout', '30');
      console.log(`copied ${REGIONS - countMarks('b.img')} of ${REGIONS} regions`);
      expect(countMarks('b.img')).toBe(REGIONS - 10);
    },
    SLOW,
  );

  it(
    'and whose file is another one now gets a full copy',
    async () => {
      const daemon = await startDaemon(place.folder);
      create('8M', '--region-size', '64K');
      qemuIo('write -P 1 0 8M');
      ok('leg', 'fail', 'data', 'b.img');
      run(place.folder, 'sh', '-c', 'rm b.img && truncate -s 8M b.img');
      const again = report('leg', 're-add', 'data', 'b.img') as LegReport;
      expect(again.outOfSyncBytes).toBe(8 * MIB);
      ok('wait', 'data', '--in-sync', '--timeout', '30');
      expect(await daemon.stop()).toBe(0);
      expectEqualFiles('a.img', 'b.img');
    },
    SLOW,
  );

  it(
    'at the start comes back by itself when its file does',
    async () => {
      const daemon = await startDaemon(place.folder);
      create('8M');
      expect(await daemon.stop()).toBe(0);
      run(place.folder, 'mv', 'b.img', 'away.img');
      const second = await startImpatient(0.3);
      expect(states()).toEqual(['in-sync', 'missing']);
      qemuIo('write -P 7 0 8M');
      run(place.folder, 'mv', 'away.img', 'b.img');
      await until(() => status().state === 'in-sync', 'b.img is back');
      expect(await second.stop()).toBe(0);
      expectEqualFiles('a.img', 'b.img');
    },
    SLOW,
  );

  it(
    'is not overwritten by itself when it carries something of its own now',
    async () => {
      const daemon = await startDaemon(place.folder);
      create('8M');
      expect(await daemon.stop()).toBe(0);
      run(place.folder, 'mv', 'b.img', 'away.img');
      const second = await startImpatient(0.3);
      run(place.folder, 'sh', '-c', 'truncate -s 8M b.img && mkfs.ext4 -q b.img');
      const before = readFileSync(path('b.img'));
      await until(() => (status().legs[1]?.note ?? '').includes('refused'), 'a try');
      expect(status().legs[1]).toMatchObject({ state: 'missing' });
      expect(status().legs[1]?.note).toContain('carries an ext2/3/4 file system of its own');
      expect(dmio(place.folder, 'leg', 're-add', 'data', 'b.img').code).toBe(5);
      expect(readFileSync(path('b.img')).equals(before)).toBe(true);
      ok('leg', 're-add', 'data', 'b.img', '--force');
      ok('wait', 'data', '--in-sync', '--timeout', '30');
      expect(await second.stop()).toBe(0);
    },
    SLOW,
  );
});

describe('a daemon killed while a leg is replaced', () => {
  it(
    'ends the replacement after the restart',
    async () => {
      const daemon = await startDaemon(place.folder);
      create('64M');
      qemuIo('write -P 3 0 64M');
      ok('leg', 'replace', 'data', '0', 'n.img', '--create');
      await daemon.stop('SIGKILL');
      await startDaemon(place.folder);
      await until(() => paths().join() === [path('b.img'), path('n.img')].join(), 'a.img leaves');
      ok('wait', 'data', '--in-sync', '--timeout', '30');
      qemuIo('read -P 3 0 64M');
    },
    SLOW,
  );
});

describe('a write-mostly leg', () => {
  it(
    'is not read while another is good, and may be read when it is the last',
    async () => {
      const leg = await breakableLeg(place.folder, 'slow', 'pread', 8);
      await startDaemon(place.folder);
      const legs = ['--mirror', leg.path, 'a.img', '--write-mostly', leg.path];
      ok(
        'create',
        'data',
        ...legs,
        '--size',
        '8M',
        '--assume-clean',
        '--read-policy',
        'round-robin',
      );
      leg.break();
      qemuIo('write -P 5 0 8M', 'read -P 5 0 8M', 'read -P 5 1M 64k');
      expect(status().legs[0]).toMatchObject({ writeMostly: true, errors: { read: 0 } });
      leg.heal();
      ok('leg', 'fail', 'data', 'a.img');
      qemuIo('read -P 5 0 8M');
      expect(ok('status', 'data')).toContain('write-mostly');
    },
    SLOW,
  );
});

describe('what cannot be is refused in one line, and nothing has changed', () => {
  it(
    'for each command',
    async () => {
      await startDaemon(place.folder);
      create('8M');
      ok('create', 'plain', '--table', '0 8 zero');
      writeFileSync(path('small.img'), Buffer.alloc(4 * MIB));
      writeFileSync(path('fs.img'), Buffer.alloc(8 * MIB));
      truncateSync(path('fs.img'), 8 * MIB);
      expect(run(place.folder, 'mkfs.ext4', '-q', 'fs.img')).toMatchObject({ code: 0 });
      linkSync(path('a.img'), path('link.img'));
      mkdirSync(path('folder'));
      const before = [paths(), readFileSync(path('fs.img')).toString('latin1')];
      const refusals: readonly (readonly [number, RegExp, ...string[]])[] = [
        [4, /no device nope/, 'add', 'nope', 'x.img'],
        [4, /has no leg 7/, 'fail', 'data', '7'],
        [4, /has no leg .*x\.img/, 'remove', 'data', 'x.img'],
        [4, /has no leg .*x\.img/, 're-add', 'data', 'x.img'],
        [4, /has no leg 9/, 'replace', 'data', '9', 'x.img', '--create'],
        [4, /no mirror/, 'add', 'plain', 'x.img'],
        [4, /no running mirror/, 'fail', 'plain', '0'],
        [4, /does not exist; --create/, 'add', 'data', 'x.img'],
        [5, /in data already: in-sync/, 'add', 'data', 'a.img'],
        [1, /same file/, 'add', 'data', 'link.img'],
        [1, /is a directory/, 'add', 'data', 'folder'],
        [1, /too small/, 'add', 'data', 'small.img'],
        [5, /carries an ext2\/3\/4 file system; .*--force/, 'add', 'data', 'fs.img'],
        [5, /carries an ext2\/3\/4/, 'replace', 'data', '0', 'fs.img'],
        [2, /missing required argument/, 'add', 'data'],
      ];
      for (const [code, words, ...args] of refusals) {
        const ran = dmio(place.folder, 'leg', ...args);
        expect([args, ran.code, ran.stderr]).toEqual([args, code, expect.stringMatching(words)]);
        expect(ran.stderr.trimEnd().split('\n')).toHaveLength(1);
      }
      const after = [paths(), readFileSync(path('fs.img')).toString('latin1')];
      expect(after.join() === before.join()).toBe(true);
      expect(existsSync(path('x.img'))).toBe(false);
      // Refused legs are free: nobody holds their lock.
      ok('leg', 'add', 'data', 'fs.img', '--force');
      ok('wait', 'data', '--in-sync', '--timeout', '30');
      ok('leg', 'remove', 'data', 'fs.img');
      ok('leg', 'remove', 'data', 'a.img');
      for (const verb of ['fail', 'remove']) {
        const ran = dmio(place.folder, 'leg', verb, 'data', 'b.img');
        expect([ran.code, ran.stderr]).toEqual([5, expect.stringContaining('last good one')]);
      }
      expect(status()).toMatchObject({ state: 'degraded', legs: [{ state: 'in-sync' }] });
    },
    SLOW,
  );
});
