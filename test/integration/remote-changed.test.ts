// Servers that come back with another content than they had acknowledged as flushed: nothing, or an older image.
// Nobody reads a byte of it, the leg is put out, and it is copied whole when it is taken in again.
import { copyFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';

import type { StatsReport } from '../../core/control/status.ts';
import { Place } from '../support/place.ts';
import { dmio, startDaemon } from '../support/programs.ts';
import { nbdkit, type SocketServer } from '../support/remote-servers.ts';
import { runBeside } from '../support/run.ts';

const MIB = 2 ** 20;
const SIZE_MIB = 32;
const place = new Place();
const servers: SocketServer[] = [];

afterEach(async () => {
  for (const server of servers.splice(0)) await server.kill();
});

async function serve(...args: readonly string[]): Promise<SocketServer> {
  const server = nbdkit(place.folder, 'far', ...args);
  servers.push(server);
  return server.start();
}

/** Its legs come back when the test says so. */
async function startManual(): Promise<ReturnType<typeof startDaemon>> {
  const run = await runBeside(place.folder, 'sh', '-c', 'echo auto-re-add = false > dmiod.toml');
  expect(run.code).toBe(0);
  return startDaemon(place.folder, '--config', 'dmiod.toml');
}

const far = (more = ''): string => `nbd+unix:///?socket=${place.path('far.sock')}${more}`;

async function python(program: string): Promise<string> {
  const ran = await runBeside(place.folder, 'nbdsh', '-u', place.uriOf('data'), '-c', program);
  expect({ code: ran.code, stderr: ran.stderr }).toEqual({ code: 0, stderr: '' });
  return ran.stdout.trim();
}

/** Every 4 KiB block of the first MiB holds its number and `generation`; then a flush. */
const WRITE = (generation: number): string =>
  `for i in range(256): h.pwrite(bytes([i, ${generation}]) * 2048, i * 4096)
h.flush()`;
/** How many blocks are wrong, in as many reads of all as both legs get some. */
const COUNT_WRONG = (generation: number): string =>
  `wrong = 0
for turn in range(8):
  for i in range(256): wrong += bytes(h.pread(4096, i * 4096)) != bytes([i, ${generation}]) * 2048
print(wrong)`;

const legState = (): string => place.statusOf('data').legs[1]?.state ?? 'none';

async function expectLeftOut(): Promise<void> {
  const end = Date.now() + 60_000;
  while (legState() !== 'failed' && Date.now() < end) {
    // Somebody must ask for something: a device that is idle learns of it, the mirror does not.
    await python('h.pread(4096, 0); h.flush()');
    await sleep(50);
  }
  expect(legState()).toBe('failed');
}

/** What `leg re-add` says, when the server's earlier connections are seen to be over. */
async function readded(): Promise<string> {
  const end = Date.now() + 60_000;
  for (;;) {
    const ran = dmio(place.folder, 'leg', 're-add', 'data', '1');
    if (ran.code !== 5 || Date.now() > end) {
      expect([ran.code, ran.stderr]).toEqual([0, '']);
      return ran.stdout;
    }
    await sleep(200);
  }
}

/** The whole of the device was written to the leg. */
async function expectCopiedWhole(): Promise<void> {
  await readded();
  place.ok('wait', 'data', '--in-sync', '--timeout', '60');
  const report = JSON.parse(place.ok('--json', 'stats', 'data')) as StatsReport;
  expect(report.devices[0]?.legs[0]?.io.read.bytes).toBeGreaterThanOrEqual(SIZE_MIB * MIB);
  expect(place.ok('scrub', 'data')).toContain('no mismatches');
}

const createAs = async (leg: string, ...more: readonly string[]): Promise<void> => {
  // Not zeros: a copy reads all of it.
  const noise = `head -c ${SIZE_MIB}M /dev/urandom > local.img`;
  expect((await runBeside(place.folder, 'sh', '-c', noise)).code).toBe(0);
  place.ok('create', 'data', '--mirror', 'local.img', leg, '--read-policy', 'round-robin', ...more);
  place.ok('wait', 'data', '--in-sync', '--timeout', '60');
};

describe('a server that comes back with another content, everything flushed', () => {
  it.each([
    ['one connection', '&connections=1'],
    ['four connections', '&connections=4'],
  ])(
    'empty, on %s: no wrong byte, out, and copied whole',
    async (_, more) => {
      const server = await serve('memory', `${SIZE_MIB}M`);
      await startManual();
      await createAs(far(more));
      await python(WRITE(1));
      await server.kill();
      await server.start();
      expect(await python(COUNT_WRONG(1))).toBe('0');
      await expectLeftOut();
      await expectCopiedWhole();
      expect(await python(COUNT_WRONG(1))).toBe('0');
    },
    180_000,
  );

  it('an older image: no wrong byte, out, and copied whole', async () => {
    const image = place.path('far.img');
    const sized = await runBeside(place.folder, 'truncate', '-s', `${SIZE_MIB}M`, image);
    expect(sized.code).toBe(0);
    const server = await serve('file', image);
    await startManual();
    await createAs(far());
    await python(WRITE(1));
    copyFileSync(image, place.path('old.img'));
    await python('h.pwrite(bytes([7, 2]) * 2048, 7 * 4096); h.flush()');
    await server.kill();
    copyFileSync(place.path('old.img'), image);
    await server.start();
    const read = `print(sum(bytes(h.pread(4096, 7 * 4096)) != bytes([7, 2]) * 2048 for i in range(16)))`;
    expect(await python(read)).toBe('0');
    await expectLeftOut();
    await expectCopiedWhole();
    expect(await python(read)).toBe('0');
  }, 180_000);

  it('of which nothing was written since the daemon has it: what it held at first is looked at', async () => {
    const server = await serve('memory', `${SIZE_MIB}M`);
    const first = await startManual();
    await createAs(far());
    await python(WRITE(1));
    expect(await first.stop()).toBe(0);
    await startManual();
    place.ok('wait', 'data', '--in-sync', '--timeout', '60');
    await server.kill();
    await server.start();
    expect(await python(COUNT_WRONG(1))).toBe('0');
    await expectLeftOut();
  }, 180_000);

  it('while its leg was out: what was known of it goes over to who opens it again', async () => {
    const image = place.path('far.img');
    expect((await runBeside(place.folder, 'truncate', '-s', `${SIZE_MIB}M`, image)).code).toBe(0);
    const server = await serve('file', image);
    await startManual();
    await createAs(far());
    await python(WRITE(1));
    copyFileSync(image, place.path('old.img'));
    await python(WRITE(2));
    place.ok('leg', 'fail', 'data', '1');
    await server.kill();
    copyFileSync(place.path('old.img'), image);
    await server.start();
    await expectCopiedWhole();
    expect(await python(COUNT_WRONG(2))).toBe('0');
  }, 180_000);
});

describe('a server that comes back as it was', () => {
  it('stays in, or comes back with a delta', async () => {
    const image = place.path('far.img');
    expect((await runBeside(place.folder, 'truncate', '-s', `${SIZE_MIB}M`, image)).code).toBe(0);
    const server = await serve('file', image);
    await startManual();
    await createAs(far());
    await python(WRITE(1));
    await server.kill();
    await server.start();
    expect(await python(COUNT_WRONG(1))).toBe('0');
    expect(legState()).toBe('in-sync');
    place.ok('leg', 'fail', 'data', '1');
    await server.kill();
    await python('h.pwrite(bytes([7, 2]) * 2048, 7 * 4096); h.flush()');
    await server.start();
    expect(await readded()).toMatch(/, 512 KiB to copy/);
    place.ok('wait', 'data', '--in-sync', '--timeout', '60');
    expect(place.ok('scrub', 'data')).toContain('no mismatches');
  }, 180_000);
});
