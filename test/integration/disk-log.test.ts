// A mirror with the kernel's dirty log on a file of its own: what the log says, what is refused, and
// what a killed daemon settles.
import { readFileSync, renameSync, writeFileSync } from 'node:fs';

import { dmio, startDaemon, startServe } from '../support/programs.ts';
import { Place } from '../support/place.ts';
import { run } from '../support/run.ts';

const SLOW = 180_000;
const MIB = 1024 * 1024;
const REGION = 512 * 1024;
const REGIONS = 32;
const BITS_AT = 1024;
const place = new Place();

const ok = (...args: readonly string[]): string => place.ok(...args);
const path = (name: string): string => place.path(name);

function qemuIo(uri: string, ...commands: readonly string[]): void {
  const args = commands.flatMap((command) => ['-c', command]);
  expect(run(place.folder, 'qemu-io', '-f', 'raw', ...args, uri)).toMatchObject({ code: 0 });
}

const io = (...commands: readonly string[]): void => qemuIo(place.uriOf('data'), ...commands);

function create(...more: readonly string[]): string {
  return ok(
    'create',
    'data',
    '--mirror',
    'a.img',
    'b.img',
    '--size',
    '16M',
    '--log',
    'disk=log',
    ...more,
  );
}

/** Regions whose bit is not clean. */
function unclean(log = 'log'): number[] {
  const bytes = readFileSync(path(log));
  expect(bytes.subarray(0, 8).toString('hex')).toBe('7252694d02000000');
  expect(bytes.readBigUInt64LE(8)).toBe(BigInt(REGIONS));
  const regions = Array.from({ length: REGIONS }, (_, i) => i);
  return regions.filter((r) => (((bytes[BITS_AT + (r >> 3)] ?? 0) >> (r & 7)) & 1) === 0);
}

/** A log as the kernel leaves it, made by hand. */
function kernelLog(bits: string, regions = REGIONS): Buffer {
  const log = Buffer.alloc(4096);
  Buffer.from('7252694d02000000', 'hex').copy(log);
  log.writeBigUInt64LE(BigInt(regions), 8);
  Buffer.from(bits, 'hex').copy(log, BITS_AT);
  return log;
}

const legsAreEqual = (): boolean => readFileSync(path('a.img')).equals(readFileSync(path('b.img')));

const refusal = (...args: readonly string[]): { code: number | null; stderr: string } => {
  const { code, stderr } = dmio(place.folder, ...args);
  return { code, stderr };
};

async function until(holds: () => boolean): Promise<void> {
  for (let i = 0; i < 300 && !holds(); i += 1) await new Promise((on) => setTimeout(on, 100));
  expect(holds()).toBe(true);
}

describe('a mirror with a disk log', () => {
  it(
    'marks regions before data goes out, cleans them at a stop, and comes back without a resync',
    async () => {
      const daemon = await startDaemon(place.folder);
      expect(create()).toContain(`created ${path('log')}`);
      const line = `data: 0 32768 mirror disk 2 ${path('log')} 1024 2 ${path('a.img')} 0 ${path('b.img')} 0 1 handle_errors\n`;
      expect(ok('table')).toBe(line);
      expect(ok('status', 'data', '--dm')).toContain(` 32/32 1 AA 3 disk ${path('log')} A`);
      expect(ok('deps', 'data')).toContain(path('log'));
      await until(() => unclean().length === 0);
      io('write -P 7 3M 64k', 'write -P 8 15M 64k');
      expect(unclean()).toEqual(expect.arrayContaining([6, 30]));
      expect(unclean()).not.toContain(0);
      expect(await daemon.stop()).toBe(0);
      expect(unclean()).toEqual([]);

      await startDaemon(place.folder);
      expect(place.statusOf('data').state).toBe('in-sync');
      expect(ok('table')).toBe(line);
      io('read -P 7 3M 64k');
    },
    SLOW,
  );

  it(
    'equal legs by the word of the user: in sync at once, and the line may be given to dm-mirror as it is',
    async () => {
      for (const leg of ['a.img', 'b.img']) writeFileSync(path(leg), Buffer.alloc(16 * MIB, 5));
      const daemon = await startDaemon(place.folder);
      create('--assume-clean');
      expect(place.statusOf('data').state).toBe('in-sync');
      // The kernel would believe nosync after a crash, too.
      expect(ok('table')).toContain(` mirror disk 2 ${path('log')} 1024 2 `);
      await until(() => unclean().length === 0);
      await daemon.stop();

      await startDaemon(place.folder);
      expect(place.statusOf('data').state).toBe('in-sync');
      expect(unclean()).toEqual([]);
      io('read -P 5 0 16M');
    },
    SLOW,
  );

  it(
    'settles exactly the regions that are not clean after kill -9',
    async () => {
      const daemon = await startDaemon(place.folder);
      create();
      io('write -P 1 0 16M');
      await daemon.stop();

      const second = await startDaemon(place.folder);
      io('write -P 2 2M 64k', 'write -P 3 9M 64k');
      await second.stop('SIGKILL');
      // A burst of marks takes the neighbours along; the first one does not.
      expect(unclean()).toEqual(expect.arrayContaining([4, 18]));
      expect(unclean()).not.toContain(10);
      // What only a second leg holds is looked at where the log is not clean, and nowhere else.
      const b = readFileSync(path('b.img'));
      b.fill(0x55, 4 * REGION, 4 * REGION + 4096);
      b.fill(0x66, 10 * REGION, 10 * REGION + 4096);
      writeFileSync(path('b.img'), b);

      await startDaemon(place.folder);
      await until(() => place.statusOf('data').state === 'in-sync');
      io('read -P 2 2M 64k', 'read -P 3 9M 64k');
      const [a, settled] = [readFileSync(path('a.img')), readFileSync(path('b.img'))];
      expect(
        settled.subarray(4 * REGION, 5 * REGION).equals(a.subarray(4 * REGION, 5 * REGION)),
      ).toBe(true);
      expect(settled[10 * REGION]).toBe(0x66);
    },
    SLOW,
  );

  it(
    'keeps what a leg that is out lacks not clean, and never believes the leg by a clean log',
    async () => {
      const daemon = await startDaemon(place.folder);
      create();
      io('write -P 1 0 16M');
      ok('leg', 'fail', 'data', '0');
      io('write -P 2 0 64k');
      await daemon.stop();
      expect(unclean()).toEqual([0]);

      // As if somebody had cleaned it.
      writeFileSync(path('log'), kernelLog('ffffffff'));
      const second = await startDaemon(place.folder);
      expect(place.statusOf('data').legs.map(({ state }) => state)).toEqual(['stale', 'in-sync']);
      io('read -P 2 0 64k');
      ok('leg', 're-add', 'data', '0', '--force');
      await until(() => place.statusOf('data').state === 'in-sync');
      await second.stop();
      expect(legsAreEqual()).toBe(true);
      expect(unclean()).toEqual([]);
    },
    SLOW,
  );

  it(
    'takes a set over from dm-mirror by the word of its table line',
    async () => {
      const bytes = Buffer.alloc(16 * MIB, 1);
      writeFileSync(path('a.img'), bytes);
      bytes.fill(2, 3 * REGION, 4 * REGION);
      bytes.fill(3, 5 * REGION, 6 * REGION);
      writeFileSync(path('b.img'), bytes);
      // Region 3 is not clean. Region 5 is, so nobody compares it.
      writeFileSync(path('log'), kernelLog('f7ffffff'));
      const daemon = await startDaemon(place.folder);
      ok(
        'create',
        'data',
        '--table',
        '0 32768 mirror disk 2 log 1024 2 a.img 0 b.img 0 1 handle_errors',
      );
      await until(() => place.statusOf('data').state === 'in-sync');
      const b = readFileSync(path('b.img'));
      expect(b[3 * REGION]).toBe(1);
      expect(b[5 * REGION]).toBe(3);
      await daemon.stop();
      expect(unclean()).toEqual([]);
    },
    SLOW,
  );

  it(
    'moves from the core log to a disk log and back by reload, while it serves',
    async () => {
      await startDaemon(place.folder);
      ok('create', 'data', '--mirror', 'a.img', 'b.img', '--size', '16M');
      io('write -P 4 0 1M');
      writeFileSync(path('log'), Buffer.alloc(4096));
      const table = (log: string): string =>
        `0 32768 mirror ${log} 2 ${path('a.img')} 0 ${path('b.img')} 0 1 handle_errors`;
      ok('reload', 'data', '--table', table(`disk 2 ${path('log')} 1024`));
      ok('resume', 'data');
      expect(ok('status', 'data', '--dm')).toContain(`3 disk ${path('log')} A`);
      io('write -P 5 8M 64k');
      expect(unclean()).toContain(16);
      ok('reload', 'data', '--table', table('core 1 1024'));
      ok('resume', 'data');
      expect(ok('status', 'data', '--dm')).toMatch(/1 AA 1 core/);
      io('read -P 5 8M 64k', 'read -P 4 0 1M');
    },
    SLOW,
  );
});

describe('a log that is not one', () => {
  it(
    'is refused in one line',
    async () => {
      await startDaemon(place.folder);
      const make = ['create', 'data', '--mirror', 'a.img', 'b.img', '--size', '16M', '--log'];
      expect(refusal(...make, 'disk=')).toMatchObject({ code: 2 });
      writeFileSync(path('small'), Buffer.alloc(1024));
      expect(refusal(...make, 'disk=small')).toEqual({
        code: 1,
        stderr: `dmio: log ${path('small')} has 1024 bytes, too small for 32 regions: 1536 are wanted\n`,
      });
      writeFileSync(path('other'), kernelLog('ff', 8));
      expect(refusal(...make, 'disk=other')).toEqual({
        code: 5,
        stderr: `dmio: log ${path('other')} is the dirty log of another mirror, of 8 regions; --force begins it anew\n`,
      });
      writeFileSync(path('noise'), Buffer.alloc(4096, 0x41));
      expect(refusal(...make, 'disk=noise')).toEqual({
        code: 5,
        stderr: `dmio: log ${path('noise')} carries no dirty log: it begins with 0x41414141; --force overwrites it\n`,
      });
      expect(ok('status', '--json')).toContain('"devices":[]');
      ok(...make, 'disk=noise', '--force');
      await until(() => unclean('noise').length === 0);
    },
    SLOW,
  );

  it(
    'keeps a device on record from starting until it is back',
    async () => {
      const daemon = await startDaemon(place.folder);
      create();
      io('write -P 1 0 1M');
      await daemon.stop();
      renameSync(path('log'), path('away'));
      const second = await startDaemon(place.folder);
      expect(place.statusOf('data')).toMatchObject({
        state: 'failed',
        reason: `log ${path('log')} does not exist`,
      });
      await second.stop();
      writeFileSync(path('log'), Buffer.alloc(4096));
      await startDaemon(place.folder);
      await until(() => place.statusOf('data').state === 'in-sync');
      io('read -P 1 0 1M');
    },
    SLOW,
  );
});

describe('serve without a state directory', () => {
  it(
    'finds in the log who is in sync, and settles what is not clean',
    async () => {
      const args = [
        '--mirror',
        'a.img',
        'b.img',
        '--size',
        '16M',
        '--log',
        'disk=log',
        '--socket',
        's',
      ];
      const uri = `nbd+unix:///data?socket=${place.folder}/s`;
      const first = await startServe(
        place.folder,
        ...args,
        '--create',
        '--control',
        'control.sock',
      );
      qemuIo(uri, 'write -P 1 0 1M');
      ok('leg', 'fail', 'data', '0');
      qemuIo(uri, 'write -P 2 0 64k');
      await first.stop('SIGKILL');
      expect(unclean()).toEqual([0, 1]);

      // The leg that was failed is the first: the kernel would copy it over the other.
      await startServe(place.folder, ...args, '--control', 'control.sock');
      expect(place.statusOf('data').legs.map(({ state }) => state)).toEqual(['stale', 'in-sync']);
      qemuIo(uri, 'read -P 2 0 64k', 'read -P 1 64k 900k');
    },
    SLOW,
  );
});
