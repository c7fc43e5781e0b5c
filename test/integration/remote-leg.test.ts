// Legs that other servers serve: a mirror of a file and an export under verified traffic, while the
// server is killed and comes back, stands still, answers errors, or comes back as another one.
import { closeSync, openSync, statSync, truncateSync, writeFileSync, writeSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';

import type { StatsReport } from '../../core/control/status.ts';
import { Place } from '../support/place.ts';
import { dmio, startDaemon } from '../support/programs.ts';
import { nbdkit, type SocketServer } from '../support/remote-servers.ts';
import { runBeside } from '../support/run.ts';

const MIB = 2 ** 20;
const place = new Place();
const servers: SocketServer[] = [];

afterEach(async () => {
  for (const server of servers.splice(0)) await server.kill();
});

async function serve(name: string, ...args: readonly string[]): Promise<SocketServer> {
  const server = nbdkit(place.folder, name, ...args);
  servers.push(server);
  return server.start();
}

/** An export of nbdkit's file plugin, and how a leg names it. */
async function fileExport(name: string, megabytes: number): Promise<SocketServer> {
  const run = await runBeside(
    place.folder,
    'truncate',
    '-s',
    `${megabytes}M`,
    place.path(`${name}.img`),
  );
  expect(run.code).toBe(0);
  return serve(name, 'file', place.path(`${name}.img`));
}

const uri = (name: string, more = ''): string =>
  `nbd+unix:///?socket=${place.path(`${name}.sock`)}${more}`;

async function fio(
  seconds: number,
): Promise<{ readonly code: number | null; readonly stderr: string }> {
  return runBeside(
    place.folder,
    'fio',
    ...['--name=x', '--ioengine=nbd', `--uri=${place.uriOf('data')}`, '--rw=randrw', '--bs=4k'],
    ...['--size=32M', '--iodepth=16', '--verify=crc32c', '--verify_fatal=1'],
    ...['--exitall_on_error=1', '--time_based', `--runtime=${seconds}`, '--fsync=64'],
  );
}

async function legBecomes(state: string, limitMs = 60_000): Promise<void> {
  const end = Date.now() + limitMs;
  while (place.statusOf('data').legs[1]?.state !== state) {
    if (Date.now() > end) expect(place.statusOf('data').legs[1]).toMatchObject({ state });
    await sleep(100);
  }
}

/** Traffic is under way, and so much of it has reached the remote leg. */
async function untilWritten(bytes: number, limitMs = 30_000): Promise<void> {
  const end = Date.now() + limitMs;
  const written = (): number => {
    const report = JSON.parse(place.ok('--json', 'stats', 'data')) as StatsReport;
    return report.devices[0]?.legs[1]?.io.write.bytes ?? 0;
  };
  while (written() < bytes) {
    if (Date.now() > end) expect(written()).toBeGreaterThanOrEqual(bytes);
    await sleep(100);
  }
}

/** Both legs hold the same: a comparison from outside, with the daemon stopped. */
async function expectEqualFiles(): Promise<void> {
  const { code } = await runBeside(place.folder, 'cmp', 'local.img', 'far.img');
  expect(code).toBe(0);
}

it('takes a leg whose server is slow to flush: it is opened when its first flush has been answered', async () => {
  writeFileSync(place.path('slow.img'), new Uint8Array(8 * MIB));
  const io = 'bs=64k iflag=skip_bytes,count_bytes oflag=seek_bytes conv=notrunc status=none';
  await serve(
    ...['slow', 'eval', `get_size=echo ${8 * MIB}`, 'can_write=exit 0', 'can_flush=exit 0'],
    'thread_model=echo parallel',
    `pread=dd if=${place.path('slow.img')} skip=$4 count=$3 ${io}`,
    `pwrite=dd of=${place.path('slow.img')} seek=$4 ${io}`,
    'flush=sleep 1',
  );
  const daemon = await startDaemon(place.folder);
  place.ok('create', 'data', '--mirror', 'local.img', uri('slow'), '--size', '8M');
  place.ok('wait', 'data', '--in-sync', '--timeout', '120');
  expect(await daemon.stop()).toBe(0);
  expect((await runBeside(place.folder, 'cmp', 'local.img', 'slow.img')).code).toBe(0);
}, 180_000);

/** A daemon whose legs come back when the test says so, however long that takes it. */
function startManual(): ReturnType<typeof startDaemon> {
  writeFileSync(place.path('dmiod.toml'), 'auto-re-add = false\n');
  return startDaemon(place.folder, '--config', 'dmiod.toml');
}

/** Adds the leg again as soon as its server has closed what there was. */
async function fenced(leg: string): Promise<void> {
  const end = Date.now() + 60_000;
  while (dmio(place.folder, 'leg', 're-add', 'data', leg).code === 5 && Date.now() < end) {
    await sleep(200);
  }
  place.ok('leg', 're-add', 'data', leg);
}

describe('a mirror of a file and an export', () => {
  it('serves verified traffic, and both hold the same', async () => {
    await fileExport('far', 32);
    const daemon = await startManual();
    place.ok('create', 'data', '--mirror', 'local.img', uri('far'), '--size', '32M');
    place.ok('wait', 'data', '--in-sync', '--timeout', '30');
    expect((await fio(3)).code).toBe(0);
    expect(place.statusOf('data')).toMatchObject({ state: 'in-sync' });
    expect(await daemon.stop()).toBe(0);
    await expectEqualFiles();
  }, 90_000);

  it('goes on without a server that dies, and takes it in again with a delta', async () => {
    const server = await fileExport('far', 32);
    const daemon = await startManual();
    place.ok('create', 'data', '--mirror', 'local.img', uri('far'), '--size', '32M');
    place.ok('wait', 'data', '--in-sync', '--timeout', '30');
    const traffic = fio(6);
    await sleep(1500);
    await server.kill();
    await legBecomes('failed');
    expect(place.statusOf('data')).toMatchObject({ state: 'degraded' });
    await server.start();
    expect((await traffic).code).toBe(0);
    place.ok('leg', 're-add', 'data', uri('far'));
    place.ok('wait', 'data', '--in-sync', '--timeout', '30');
    expect(await daemon.stop()).toBe(0);
    await expectEqualFiles();
  }, 90_000);

  it('keeps a leg whose server comes back while nothing unflushed was there', async () => {
    const server = await fileExport('far', 32);
    await startManual();
    place.ok(
      'create',
      'data',
      '--mirror',
      'local.img',
      uri('far'),
      '--size',
      '32M',
      '--assume-clean',
    );
    const write = `h.pwrite(b'x' * 4096, 0); h.flush()`;
    expect(
      (await runBeside(place.folder, 'nbdsh', '-u', place.uriOf('data'), '-c', write)).code,
    ).toBe(0);
    await server.kill();
    await server.start();
    const read = `h.pwrite(b'y' * 4096, 4096); print(bytes(h.pread(8192, 0)) == b'x' * 4096 + b'y' * 4096)`;
    const ran = await runBeside(place.folder, 'nbdsh', '-u', place.uriOf('data'), '-c', read);
    expect(ran.stdout).toBe('True\n');
    expect(place.statusOf('data')).toMatchObject({ state: 'in-sync' });
  }, 60_000);

  it('lets go of a server that stands still within its time-out, and refuses it until it is fenced', async () => {
    const server = await fileExport('far', 32);
    await startManual();
    const far = uri('far', '&timeout=2');
    place.ok('create', 'data', '--mirror', 'local.img', far, '--size', '32M');
    place.ok('wait', 'data', '--in-sync', '--timeout', '30');
    const traffic = fio(8);
    await sleep(1000);
    server.signal('SIGSTOP');
    await legBecomes('failed');
    const early = dmio(place.folder, 'leg', 're-add', 'data', far);
    expect(early.code).toBe(5);
    expect(early.stderr).toContain('its server has not closed');
    server.signal('SIGCONT');
    await fenced(far);
    expect((await traffic).code).toBe(0);
    place.ok('wait', 'data', '--in-sync', '--timeout', '30');
  }, 90_000);

  it.each(['pwrite', 'pread'])(
    'is served by the file when the server answers %s errors',
    async (operation) => {
      const fails = [`error-${operation}=EIO`, `error-${operation}-rate=20%`];
      const trigger = place.path('bad');
      await serve('far', '--filter=error', 'memory', '32M', ...fails, `error-file=${trigger}`);
      await startManual();
      place.ok(
        'create',
        'data',
        '--mirror',
        uri('far'),
        'local.img',
        '--size',
        '32M',
        '--assume-clean',
      );
      const traffic = fio(4);
      await sleep(1000);
      expect((await runBeside(place.folder, 'touch', trigger)).code).toBe(0);
      expect((await traffic).code).toBe(0);
      expect(place.statusOf('data').legs[0]).toMatchObject({ state: 'failed' });
    },
    60_000,
  );

  it('is no faster than a slow server, and loses nothing', async () => {
    await serve(
      'far',
      '--filter=delay',
      '--filter=rate',
      'memory',
      '32M',
      'wdelay=2ms',
      'rdelay=2ms',
      'rate=400M',
    );
    await startManual();
    place.ok(
      'create',
      'data',
      '--mirror',
      'local.img',
      uri('far'),
      '--size',
      '32M',
      '--assume-clean',
    );
    expect((await fio(3)).code).toBe(0);
    expect(place.statusOf('data')).toMatchObject({ state: 'in-sync' });
  }, 60_000);

  it('refuses a server that comes back with another size', async () => {
    const server = await fileExport('far', 32);
    await startManual();
    place.ok(
      'create',
      'data',
      '--mirror',
      'local.img',
      uri('far', '&timeout=2'),
      '--size',
      '32M',
      '--assume-clean',
    );
    await server.kill();
    truncateSync(place.path('far.img'), 16 * 2 ** 20);
    await server.start();
    expect((await fio(1)).code).toBe(0);
    await legBecomes('failed');
    expect(dmio(place.folder, 'leg', 're-add', 'data', uri('far', '&timeout=2')).code).toBe(1);
  }, 60_000);

  it('copies everything to a server that comes back empty', async () => {
    const server = await serve('far', 'memory', '32M');
    await startManual();
    place.ok(
      'create',
      'data',
      '--mirror',
      'local.img',
      uri('far'),
      '--size',
      '32M',
      '--assume-clean',
    );
    // Killed under traffic: a server that comes back while nothing unflushed was there is believed.
    const traffic = fio(5);
    await untilWritten(8 * MIB);
    await server.kill();
    await legBecomes('failed');
    await server.start();
    expect((await traffic).code).toBe(0);
    place.ok('leg', 're-add', 'data', uri('far'));
    place.ok('wait', 'data', '--in-sync', '--timeout', '30');
    place.ok('leg', 'fail', 'data', '0');
    const copy = await runBeside(place.folder, 'nbdcopy', place.uriOf('data'), 'copy.img');
    expect(copy.code).toBe(0);
    expect((await runBeside(place.folder, 'cmp', 'copy.img', 'local.img')).code).toBe(0);
  }, 90_000);
});

describe('a copy between sparse legs', () => {
  /** 64 MiB with 1 MiB of data in the middle. */
  async function sparse(name: string): Promise<string> {
    const file = place.path(name);
    const run = await runBeside(place.folder, 'truncate', '-s', '64M', file);
    expect(run.code).toBe(0);
    const fd = openSync(file, 'r+');
    writeSync(fd, Buffer.alloc(MIB, 'data'), 0, MIB, 20 * MIB);
    closeSync(fd);
    return file;
  }
  const allocated = (name: string): number => statSync(place.path(name)).blocks * 512;
  const readBytes = (leg: number): number => {
    const report = JSON.parse(place.ok('--json', 'stats', 'data')) as StatsReport;
    return report.devices[0]?.legs[leg]?.io.read.bytes ?? 0;
  };

  it.each([
    ['from a server', 0],
    ['from a file', 1],
  ] as const)(
    '%s reads data only, and leaves holes where they were',
    async (_, source) => {
      await sparse('far.img');
      await serve('far', 'file', place.path('far.img'));
      await sparse('local.img');
      const blank = source === 0 ? 'local.img' : 'far.img';
      truncateSync(place.path(blank), 0);
      truncateSync(place.path(blank), 64 * MIB);
      const legs = source === 0 ? [uri('far'), 'local.img'] : ['local.img', uri('far')];
      await startDaemon(place.folder);
      place.ok('create', 'data', '--mirror', ...legs, '--force');
      place.ok('wait', 'data', '--in-sync', '--timeout', '60');
      // A region of 512 KiB is the least that is read.
      expect(readBytes(0)).toBeGreaterThanOrEqual(MIB);
      expect(readBytes(0)).toBeLessThanOrEqual(4 * MIB);
      expect(readBytes(1)).toBe(0);
      for (const name of ['far.img', 'local.img']) {
        expect(allocated(name)).toBeGreaterThanOrEqual(MIB);
        expect(allocated(name)).toBeLessThanOrEqual(4 * MIB);
      }
      expect((await runBeside(place.folder, 'cmp', 'local.img', 'far.img')).code).toBe(0);
    },
    90_000,
  );
});

describe('the words of a remote leg', () => {
  it.each([
    ['nbd://', 2, 'the host is missing'],
    ['nbds://host/x?tls-certificates=pki', 2, 'pki: expected an absolute path'],
    ['nbds://127.0.0.1:1/x?tls-certificates=/nowhere', 1, '/nowhere/ca-cert.pem: there is no'],
    ['nbd+unix:///x', 2, 'socket=PATH is missing'],
    ['nbd://host/x?depth=3', 2, 'unknown parameter "depth"'],
    ['nbd+unix:///x?socket=/nowhere/at/all', 4, 'there is no such socket'],
    ['nbd://127.0.0.1:1/x', 4, 'nobody listens there'],
  ])(
    '%s is refused in one line',
    async (leg, code, why) => {
      await startDaemon(place.folder);
      const ran = dmio(place.folder, 'create', 'data', '--mirror', 'a.img', leg, '--size', '1M');
      expect([ran.code, ran.stderr.split('\n').length]).toEqual([code, 2]);
      expect(ran.stderr).toContain(why);
      expect(dmio(place.folder, 'ls').stdout).not.toContain('data');
    },
    30_000,
  );

  it('refuses one export twice', async () => {
    await fileExport('far', 1);
    await startDaemon(place.folder);
    const ran = dmio(
      place.folder,
      'create',
      'data',
      '--mirror',
      uri('far'),
      uri('far', '&timeout=3'),
    );
    expect(ran).toMatchObject({ code: 1 });
    expect(ran.stderr).toContain('are the same export');
  }, 30_000);
});
