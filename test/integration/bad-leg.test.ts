// A leg that goes bad in mid-traffic: no client sees it, status says which leg and what, and what
// is read after a write is what was written. With no good leg left the client is told, once each.
import { truncateSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';

import type { DeviceStatus } from '../../core/control/status.ts';
import { breakableLeg, smallFileSystem } from '../support/bad-leg.ts';
import { dmio, startDaemon } from '../support/programs.ts';
import { run, runBeside } from '../support/run.ts';
import type { Ran } from '../support/run.ts';
import { describeAsRoot } from '../support/root-only.ts';
import { Place } from '../support/place.ts';

const place = new Place();

const ok = (...args: readonly string[]): string => place.ok(...args);

const status = (): DeviceStatus => place.statusOf('data');

const uri = (): string => place.uriOf('data');

async function fio(...more: readonly string[]): Promise<number | null> {
  const job = [
    ...['--name=x', '--ioengine=nbd', `--uri=${uri()}`, '--rw=randrw', '--bs=4k', '--size=32M'],
    ...['--iodepth=16', '--verify=crc32c', '--verify_fatal=1', '--exitall_on_error=1', ...more],
  ];
  return (await runBeside(place.folder, 'fio', ...job)).code;
}

/** Writes and reads back, one client, over and over; prints how often the read was not the write. */
const WRITE_THEN_READ = `
import os
stale = 0
for i in range(500):
    at = (i * 7919 % 4096) * 4096
    data = os.urandom(4096)
    h.pwrite(data, at)
    for again in range(3):
        if bytes(h.pread(4096, at)) != data:
            stale += 1
print(stale)
`;

describe('a leg whose writes fail in mid-traffic', () => {
  it('is dropped without a word to the client, and named by status', async () => {
    const leg = await breakableLeg(place.folder, 'bad', 'pwrite', 32);
    await startDaemon(place.folder);
    ok('create', 'data', '--mirror', 'good.img', leg.path, '--size', '32M', '--assume-clean');
    const traffic = fio('--time_based', '--runtime=4');
    await sleep(1500);
    leg.break();
    expect(await traffic).toBe(0);
    const { state, legs } = status();
    expect(state).toBe('degraded');
    expect(legs.map((each) => each.state)).toEqual(['in-sync', 'failed']);
    expect(legs[0]?.errors).toEqual({ read: 0, write: 0, flush: 0, resync: 0 });
    expect(legs[1]?.errors.write).toBeGreaterThan(0);
    expect(legs[1]?.reason).toBe('write error: EIO');
    expect(legs[1]?.outOfSyncBytes).toBeGreaterThan(0);
    expect(dmio(place.folder, 'status', '--check').code).toBe(10);
    expect(ok('status', 'data')).toContain('write error: EIO');
  }, 60_000);

  it.each([0, 1])(
    'never answers with the old data: leg %i is the bad one',
    async (bad) => {
      const leg = await breakableLeg(place.folder, 'bad', 'pwrite', 16);
      const legs = bad === 0 ? [leg.path, 'good.img'] : ['good.img', leg.path];
      await startDaemon(place.folder);
      ok('create', 'data', '--mirror', ...legs, '--size', '16M', '--assume-clean');
      leg.break();
      const ran = run(place.folder, 'nbdsh', '-u', uri(), '-c', WRITE_THEN_READ);
      expect([ran.stderr, ran.stdout]).toEqual(['', '0\n']);
      expect(status().legs[bad]?.state).toBe('failed');
      expect(status().legs[1 - bad]?.state).toBe('in-sync');
    },
    60_000,
  );
});

describe('a leg whose flush fails', () => {
  it('is dropped, and the flush is answered by the others', async () => {
    const leg = await breakableLeg(place.folder, 'bad', 'flush', 16);
    await startDaemon(place.folder);
    ok('create', 'data', '--mirror', 'good.img', leg.path, '--size', '16M', '--assume-clean');
    leg.break();
    const commands = ['-c', 'write 0 1M', '-c', 'flush'];
    const ran = run(place.folder, 'qemu-io', '-t', 'writeback', '-f', 'raw', ...commands, uri());
    expect(ran.code).toBe(0);
    expect(status().legs[1]).toMatchObject({ state: 'failed', reason: 'flush error: EIO' });
  }, 60_000);
});

describe('a leg whose reads fail', () => {
  it('is answered for by the other, healed by rewriting, and dropped when it goes on', async () => {
    const leg = await breakableLeg(place.folder, 'bad', 'pread', 32);
    await startDaemon(place.folder);
    ok('create', 'data', '--mirror', leg.path, 'good.img', '--size', '32M', '--assume-clean');
    leg.break();
    expect(await fio('--time_based', '--runtime=3')).toBe(0);
    const { legs } = status();
    expect(legs[0]?.errors.read).toBeGreaterThan(0);
    expect(legs[1]?.errors).toEqual({ read: 0, write: 0, flush: 0, resync: 0 });
    expect(legs[1]?.state).toBe('in-sync');
  }, 60_000);
});

describe('a leg that answers every read with EIO while the daemon starts', () => {
  it('is as good as missing: the device comes up on the others', async () => {
    const leg = await breakableLeg(place.folder, 'bad', 'pread', 32);
    const daemon = await startDaemon(place.folder);
    const legs = ['--mirror', 'good.img', leg.path, '--cache', 'none'];
    ok('create', 'data', ...legs, '--size', '32M', '--assume-clean');
    expect(await daemon.stop()).toBe(0);
    leg.break();
    await startDaemon(place.folder);
    expect(status()).toMatchObject({
      state: 'degraded',
      legs: [{ state: 'in-sync' }, { state: 'missing' }],
    });
    expect(status().legs[1]?.reason).toContain('answers with an I/O error');
    expect(await fio('--time_based', '--runtime=1')).toBe(0);
  }, 60_000);
});

describe('a leg file that is cut short under our feet', () => {
  it('is dropped: what it lost is never read as zeros', async () => {
    await startDaemon(place.folder);
    ok(
      'create',
      'data',
      '--mirror',
      'a.img',
      'b.img',
      '--size',
      '16M',
      '--read-policy',
      'prefer=1',
    );
    const qemuIo = (...commands: readonly string[]): Ran => {
      const args = commands.flatMap((command) => ['-c', command]);
      return run(place.folder, 'qemu-io', '-f', 'raw', ...args, uri());
    };
    expect(qemuIo('write -P 7 0 16M')).toMatchObject({ code: 0 });
    truncateSync(place.path('b.img'), 0);
    // Rewriting one region would make holes of all before it.
    expect(qemuIo('read -P 7 8M 64k')).toMatchObject({ code: 0, stderr: '' });
    for (let i = 0; i < 4; i += 1) {
      expect(qemuIo(`read -P 7 ${i}M 1M`, 'read -P 7 0 16M').stdout).not.toContain('failed');
    }
    expect(status().legs[1]).toMatchObject({ state: 'failed', reason: 'read error: ENXIO' });
  }, 60_000);
});

describeAsRoot('a leg on a full file system', () => {
  it('is dropped without a word to the client', async () => {
    const small = smallFileSystem(place.folder, 12);
    await startDaemon(place.folder);
    ok('create', 'data', '--mirror', 'good.img', join(small, 'b.img'), '--size', '32M');
    expect(await fio('--rw=write', '--bs=64k')).toBe(0);
    expect(status().legs[1]).toMatchObject({ state: 'failed', reason: 'write error: ENOSPC' });
    expect(status().legs[0]?.state).toBe('in-sync');
  }, 60_000);
});

describe('both legs bad', () => {
  it('the client gets EIO, the daemon lives and serves what it can', async () => {
    const legs = [
      await breakableLeg(place.folder, 'a', 'pwrite', 16),
      await breakableLeg(place.folder, 'b', 'pwrite', 16),
    ] as const;
    const daemon = await startDaemon(place.folder);
    ok('create', 'data', '--mirror', legs[0].path, legs[1].path, '--size', '16M', '--assume-clean');
    const qemuIo = (...commands: readonly string[]): string => {
      const args = commands.flatMap((command) => ['-c', command]);
      const { stdout, stderr } = run(place.folder, 'qemu-io', '-f', 'raw', ...args, uri());
      return stdout + stderr;
    };
    expect(qemuIo('write -P 1 0 64k')).toContain('wrote 65536/65536');
    for (const leg of legs) leg.break();
    expect(qemuIo('write -P 2 1M 64k')).toContain('write failed: Input/output error');
    expect(qemuIo('read -P 1 0 64k')).toContain('read 65536/65536');
    // Neither leg is dropped for what both did: one stands for the range, the other is copied to.
    expect(status().legs.map(({ errors }) => errors.write > 0)).toEqual([true, true]);
    expect(status().legs[0]?.state).toBe('in-sync');
    for (const leg of legs) leg.heal();
    expect(qemuIo('write -P 3 1M 64k', 'read -P 3 1M 64k')).not.toContain('failed');
    expect(await daemon.stop()).toBe(0);
  }, 60_000);
});
