// What outlives the daemon: devices, who of their legs is in sync, everything acknowledged.
import {
  existsSync,
  mkdirSync,
  readFileSync,
  renameSync,
  rmSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';

import type { DeviceStatus, StatusReport } from '../../core/control/status.ts';
import { DAEMON_ARGS, dmio, start, startDaemon } from '../support/programs.ts';
import { run } from '../support/run.ts';
import { Place } from '../support/place.ts';

/** Processes are started one after the other, on machines that may have other work. */
const SLOW = 180_000;
const place = new Place();

const ok = (...args: readonly string[]): string => place.ok(...args);

const statusOf = (name: string): DeviceStatus => place.statusOf(name);

const path = (name: string): string => place.path(name);
const uriOf = (name: string): string => place.uriOf(name);

function qemuIo(name: string, ...commands: readonly string[]): void {
  const args = commands.flatMap((command) => ['-c', command]);
  expect(run(place.folder, 'qemu-io', '-f', 'raw', ...args, uriOf(name))).toMatchObject({
    code: 0,
  });
}

function create(name = 'data'): void {
  ok('create', name, '--mirror', `${name}-a.img`, `${name}-b.img`, '--size', '8M');
}

describe('told to end while it starts', () => {
  it(
    'a daemon ends cleanly, and the next one has nothing to copy',
    async () => {
      const daemon = await startDaemon(place.folder);
      create();
      qemuIo('data', 'write -P 5 1M 1M');
      expect(await daemon.stop()).toBe(0);

      const early = start(place.folder, ...DAEMON_ARGS);
      // Its listeners are there before it says that it is ready.
      await early.until(() => existsSync(path('nbd.sock')));
      early.signal('SIGHUP');
      expect(await early.stop('SIGINT')).toBe(0);
      expect(early.stderr).toContain('"reason":"SIGINT"');

      await startDaemon(place.folder);
      expect(statusOf('data')).toMatchObject({ state: 'in-sync', resync: null });
      qemuIo('data', 'read -P 5 1M 1M');
    },
    SLOW,
  );
});

describe('after a clean stop', () => {
  it(
    'devices come back as they were, without a resync',
    async () => {
      const daemon = await startDaemon(place.folder);
      create();
      ok('create', 'part', '--table', '0 8 zero');
      qemuIo('data', 'write -P 5 1M 1M');
      const before = ok('table');
      expect(await daemon.stop()).toBe(0);
      expect(existsSync(path('control.sock'))).toBe(false);
      expect(existsSync(path('nbd.sock'))).toBe(false);
      expect(readFileSync(path('data-a.img')).equals(readFileSync(path('data-b.img')))).toBe(true);

      await startDaemon(place.folder);
      expect(ok('table')).toBe(before);
      expect(statusOf('data').state).toBe('in-sync');
      qemuIo('data', 'read -P 5 1M 1M');
    },
    SLOW,
  );

  it(
    'a leg that was failed stays out, and is not believed when it alone is left',
    async () => {
      let daemon = await startDaemon(place.folder);
      create();
      qemuIo('data', 'write -P 1 0 1M');
      ok('leg', 'fail', 'data', '0');
      qemuIo('data', 'write -P 2 0 1M');
      await daemon.stop();

      daemon = await startDaemon(place.folder);
      expect(statusOf('data')).toMatchObject({
        state: 'degraded',
        legs: [{ state: 'stale', reason: 'failed by hand' }, { state: 'in-sync' }],
      });
      qemuIo('data', 'read -P 2 0 1M');
      await daemon.stop();

      renameSync(path('data-b.img'), path('away.img'));
      await startDaemon(place.folder);
      expect(statusOf('data')).toMatchObject({ state: 'failed', uri: null, sizeBytes: 8388608 });
      expect(statusOf('data').reason).toBe(
        `no leg in sync is there: ${path('data-a.img')} was stale, ${path('data-b.img')} was in-sync and is not there`,
      );
      expect(dmio(place.folder, 'status', '--check').code).toBe(12);
    },
    SLOW,
  );

  it(
    'a leg that is missing leaves a degraded mirror, and is stale when it returns',
    async () => {
      let daemon = await startDaemon(place.folder);
      create();
      qemuIo('data', 'write -P 1 0 1M');
      await daemon.stop();
      renameSync(path('data-a.img'), path('away.img'));

      daemon = await startDaemon(place.folder);
      expect(statusOf('data')).toMatchObject({
        state: 'degraded',
        legs: [
          { state: 'missing', reason: `${path('data-a.img')} does not exist` },
          { state: 'in-sync' },
        ],
      });
      qemuIo('data', 'read -P 1 0 1M', 'write -P 2 0 1M');
      await daemon.stop();
      renameSync(path('away.img'), path('data-a.img'));

      await startDaemon(place.folder);
      expect(statusOf('data').legs.map(({ state }) => state)).toEqual(['stale', 'in-sync']);
      qemuIo('data', 'read -P 2 0 1M');
    },
    SLOW,
  );
});

describe('a device that cannot come back', () => {
  it(
    'is listed as failed, the others serve, and it can be removed',
    async () => {
      const daemon = await startDaemon(place.folder);
      create('one');
      create('two');
      create('three');
      await daemon.stop();
      truncateSync(path('state/devices/one.json'), 50);
      rmSync(path('two-a.img'));
      rmSync(path('two-b.img'));

      await startDaemon(place.folder);
      expect(statusOf('one')).toMatchObject({
        state: 'failed',
        sizeBytes: null,
        target: 'unknown',
      });
      expect(statusOf('one').reason).toBe(
        `its record ${path('state/devices/one.json')} is no JSON`,
      );
      expect(statusOf('two')).toMatchObject({ state: 'failed', target: 'mirror' });
      expect(statusOf('three')).toMatchObject({ state: 'in-sync' });
      qemuIo('three', 'write -P 1 0 1M');
      expect(dmio(place.folder, 'wait', 'two', '--in-sync').code).toBe(1);
      expect(dmio(place.folder, 'create', 'one', '--table', '0 8 zero').code).toBe(5);
      ok('remove', 'one');
      ok('remove', 'two');
      ok('create', 'one', '--table', '0 8 zero');
    },
    SLOW,
  );

  it(
    'waits for a leg that somebody else uses: two daemons must not write it',
    async () => {
      const daemon = await startDaemon(place.folder);
      create();
      await daemon.stop();
      const other = join(place.folder, 'other');
      mkdirSync(other);
      await startDaemon(other);
      expect(dmio(other, 'create', 'x', '--table', `0 8 linear ${path('data-a.img')} 0`).code).toBe(
        0,
      );
      await startDaemon(place.folder);
      expect(statusOf('data')).toMatchObject({
        state: 'failed',
        reason: `leg ${path('data-a.img')} is in use: another process holds its lock`,
      });
    },
    SLOW,
  );
});

describe('after SIGKILL', () => {
  it(
    'the devices are there, legs are made equal, everything acknowledged is read',
    async () => {
      let daemon = await startDaemon(place.folder);
      create();
      for (let round = 1; round <= 3; round += 1) {
        qemuIo('data', `write -P ${round} ${round}M 1M`);
        expect(await daemon.stop('SIGKILL')).toBe('SIGKILL');
        daemon = await startDaemon(place.folder);
        for (let old = 1; old <= round; old += 1) qemuIo('data', `read -P ${old} ${old}M 1M`);
        ok('wait', 'data', '--in-sync', '--timeout', '20');
      }
      await daemon.stop();
      expect(readFileSync(path('data-a.img')).equals(readFileSync(path('data-b.img')))).toBe(true);
    },
    SLOW,
  );

  it(
    'what fio was told is written, and never flushed, is there',
    async () => {
      const daemon = await startDaemon(place.folder);
      create();
      const job = ['--name=x', '--ioengine=nbd', `--uri=${uriOf('data')}`, '--bs=4k', '--size=8M'];
      const verify = ['--verify=crc32c', '--verify_backlog=0'];
      expect(
        run(
          place.folder,
          'fio',
          ...job,
          '--rw=randwrite',
          '--iodepth=16',
          '--verify=crc32c',
          '--do_verify=0',
        ).code,
      ).toBe(0);
      await daemon.stop('SIGKILL');
      await startDaemon(place.folder);
      const ran = run(place.folder, 'fio', ...job, '--rw=randwrite', '--verify_only', ...verify);
      expect([ran.code, ran.stderr]).toEqual([0, '']);
    },
    SLOW,
  );
});

describe('devices of the config file', () => {
  const config = (text: string): void => writeFileSync(path('dmiod.toml'), text);

  function images(...names: readonly string[]): void {
    for (const name of names) {
      writeFileSync(path(name), '');
      truncateSync(path(name), 2 ** 20);
    }
  }

  it(
    'start, keep who is in sync, and follow the file at SIGHUP',
    async () => {
      images('a', 'b', 'c');
      config('[device.m]\nmirror = ["a", "b"]\n[device.gone]\nmirror = ["a", "nowhere"]\n');
      let daemon = await startDaemon(place.folder, '--config', 'dmiod.toml');
      ok('wait', 'm', '--in-sync', '--timeout', '20');
      expect(statusOf('gone')).toMatchObject({
        state: 'failed',
        reason: `leg ${path('a')} is already open in this process`,
      });
      ok('leg', 'fail', 'm', '1');
      await daemon.stop();

      daemon = await startDaemon(place.folder, '--config', 'dmiod.toml');
      expect(statusOf('m').legs.map(({ state }) => state)).toEqual(['in-sync', 'stale']);

      config('[device.l]\nlinear = "c"\n');
      daemon.signal('SIGHUP');
      await daemon.until(() => daemon.stderr.includes('config file reloaded'));
      expect(
        (JSON.parse(ok('ls', '--json')) as StatusReport).devices.map(({ name }) => name),
      ).toEqual(['l']);

      config('nonsense = 1\n');
      daemon.signal('SIGHUP');
      await daemon.until(() => daemon.stderr.includes('not reloaded'));
      expect(ok('remove', 'l')).toBe(
        'removed l; the config file brings it back at the next start\n',
      );
      await daemon.stop();

      config('[device.m]\nmirror = ["b", "a"]\n');
      await startDaemon(place.folder, '--config', 'dmiod.toml');
      expect(statusOf('m')).toMatchObject({
        state: 'failed',
        reason: `its record has the legs ${path('a')}, ${path('b')}, the config file ${path('b')}, ${path('a')}`,
      });
    },
    SLOW,
  );

  it(
    'are served on sockets that somebody else has opened',
    () => {
      images('a');
      config('control = "control.sock"\nstate-dir = "state"\n[device.l]\nlinear = "a"\n');
      const main = join(import.meta.dirname, '../../daemon/main.js');
      const daemon = [process.execPath, main, '--config', 'dmiod.toml', '--log-level', 'silent'];
      const ran = run(place.folder, 'nbdinfo', '--size', '--', '[', ...daemon, ']');
      expect([ran.stdout, ran.code]).toEqual(['1048576\n', 0]);
    },
    SLOW,
  );
});
