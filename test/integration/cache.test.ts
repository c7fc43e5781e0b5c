// cache=none and cache=writeback: said in words, kept in the record, seen on the descriptor, and the
// same bytes either way, whatever the client's alignment.
import { closeSync, constants, mkdirSync, openSync, readdirSync, readFileSync } from 'node:fs';
import { ftruncateSync, readlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

import { Place } from '../support/place.ts';
import { dmio, snapshot, start, startDaemon } from '../support/programs.ts';
import { describeAsRoot, runProgram } from '../support/root-only.ts';
import { DMIO } from '../support/running.ts';
import { run } from '../support/run.ts';

const SLOW = 60_000;
const MIB = 2 ** 20;
const place = new Place();

function sparse(name: string): void {
  const fd = openSync(place.path(name), 'w');
  ftruncateSync(fd, MIB);
  closeSync(fd);
}

/** The leg is open, and whether its data goes around the page cache. */
function isDirect(pid: number, leg: string): boolean {
  const fds = readdirSync(`/proc/${pid}/fd`).filter((fd) => linkOf(pid, fd) === leg);
  expect(fds.length).toBeGreaterThan(0);
  return fds.some((fd) => {
    const flags = /^flags:\s*([0-7]+)$/m.exec(readFileSync(`/proc/${pid}/fdinfo/${fd}`, 'utf8'));
    return (parseInt(flags?.[1] ?? '', 8) & constants.O_DIRECT) !== 0;
  });
}

function linkOf(pid: number, fd: string): string {
  try {
    return readlinkSync(`/proc/${pid}/fd/${fd}`);
  } catch {
    return ''; // closed meanwhile
  }
}

/** Writes and reads at every alignment through libnbd, and holds it against what Python did. */
function exercise(uri: string): void {
  const script = `
import random
random.seed(7)
size = h.get_size()
model = bytearray(size)
for i in range(150):
    n = random.choice([1, 100, 511, 512, 513, 4096, 5000, 70000])
    at = random.randrange(0, size - n) if i % 3 else random.randrange(0, (size - 131072) // 512) * 512
    data = random.randbytes(n)
    h.pwrite(data, at, nbd.CMD_FLAG_FUA if i % 5 == 0 else 0)
    model[at:at + n] = data
    a = random.randrange(0, size - n)
    assert h.pread(n, a) == model[a:a + n], (i, a, n)
h.zero(1000, 300)
model[300:1300] = bytes(1000)
h.flush()
assert h.pread(size, 0) == model
print("equal")
`;
  const ran = run(place.folder, '/usr/bin/python3', '-m', 'nbd', '-u', uri, '-c', script);
  expect([ran.stderr, ran.stdout, ran.code]).toEqual(['', 'equal\n', 0]);
}

describe('--cache', () => {
  it.each([
    [['--cache', 'off'], 'cache "off": expected none, writeback, LEG=none or LEG=writeback'],
    [['--cache', '=none'], 'cache "=none": expected none, writeback, LEG=none or LEG=writeback'],
    [['--cache', 'b.img=none'], 'cache F/b.img=none: the device has no leg F/b.img'],
    [['--cache', 'none', '--cache', 'writeback'], 'cache writeback: said twice, of all legs'],
    [
      ['--cache', 'a.img=none', '--cache', 'a.img=none'],
      'cache F/a.img=none: said twice, of one leg',
    ],
  ])(
    '%j is refused in one line',
    (words, message) => {
      sparse('a.img');
      const before = snapshot(place.folder);
      const serve = ['serve', '--linear', 'a.img', '--socket', 's.sock', ...words];
      const ran = run(place.folder, process.execPath, DMIO, ...serve);
      expect(ran.stderr).toBe(`dmio: ${message.replaceAll('F/', `${place.folder}/`)}\n`);
      expect(ran.code).toBe(2);
      expect(snapshot(place.folder)).toEqual(before);
    },
    SLOW,
  );

  it.each(['uring', 'node'])(
    'none serves every byte range on engine %s',
    async (engine) => {
      sparse('a.img');
      sparse('b.img');
      const legs = ['--mirror', 'a.img', 'b.img', '--cache', 'none', '--cache', 'b.img=writeback'];
      const where = ['--socket', 'nbd.sock', '--engine', engine];
      const serve = start(place.folder, DMIO, 'serve', ...legs, ...where);
      await serve.until(() => /^serving .* at .*\n/.test(serve.stdout));
      expect(isDirect(serve.pid, place.path('a.img'))).toBe(true);
      expect(isDirect(serve.pid, place.path('b.img'))).toBe(false);
      exercise(place.uriOf('data'));
      expect(await serve.stop()).toBe(0);
      expect(readFileSync(place.path('a.img')).equals(readFileSync(place.path('b.img')))).toBe(
        true,
      );
    },
    SLOW,
  );

  it(
    'is remembered by the device, and known to the config file',
    async () => {
      let daemon = await startDaemon(place.folder);
      const legs = ['--mirror', 'a.img', 'b.img', '--size', '1M'];
      place.ok('create', 'data', ...legs, '--cache', 'a.img=none');
      expect(isDirect(daemon.pid, place.path('a.img'))).toBe(true);
      await daemon.stop();
      writeFileSync(place.path('c.img'), Buffer.alloc(MIB));
      writeFileSync(place.path('d.toml'), `[device.conf]\nlinear = "c.img"\ncache = "none"\n`);
      daemon = await startDaemon(place.folder, '--config', 'd.toml');
      expect(isDirect(daemon.pid, place.path('a.img'))).toBe(true);
      expect(isDirect(daemon.pid, place.path('b.img'))).toBe(false);
      expect(isDirect(daemon.pid, place.path('c.img'))).toBe(true);
      expect(await daemon.stop()).toBe(0);
    },
    SLOW,
  );
});

describeAsRoot('a file system without O_DIRECT', () => {
  it(
    'is one line, and nothing stays',
    async () => {
      const folder = place.path('ram');
      mkdirSync(folder);
      runProgram('mount', '-t', 'ramfs', 'ramfs', folder);
      try {
        const daemon = await startDaemon(place.folder);
        const create = ['create', 'data', '--mirror', 'ram/a', 'ram/b', '--size', '1M'];
        const ran = dmio(place.folder, ...create, '--cache', 'none');
        expect(ran.stderr).toBe(
          `dmio: leg ${join(folder, 'a')} cannot have cache=none: its file system has no O_DIRECT; cache=writeback can be had\n`,
        );
        expect(ran.code).toBe(1);
        expect(readdirSync(folder)).toEqual([]);
        expect(await daemon.stop()).toBe(0);
      } finally {
        runProgram('umount', folder);
      }
    },
    SLOW,
  );
});

describeAsRoot('a block device', () => {
  it.each(['uring', 'node'])(
    'in blocks of 4096 has cache=none by itself, and serves every byte range on engine %s',
    async (engine) => {
      sparse('image');
      const device = runProgram('losetup', '-f', '--show', '-b', '4096', place.path('image'));
      try {
        const where = ['--socket', 'nbd.sock', '--engine', engine];
        const serve = start(place.folder, DMIO, 'serve', '--linear', device, ...where);
        await serve.until(() => /^serving .* at .*\n/.test(serve.stdout));
        expect(isDirect(serve.pid, device)).toBe(true);
        exercise(place.uriOf('data'));
        expect(await serve.stop()).toBe(0);
      } finally {
        runProgram('losetup', '-d', device);
      }
    },
    SLOW,
  );
});
