// Online grow: the legs become longer, then the device, under clients that see neither an error nor a wrong byte.
import { readFileSync, statSync, truncateSync, writeFileSync } from 'node:fs';

import type { ResizeReport } from '../../core/control/status.ts';
import { dmio, startDaemon } from '../support/programs.ts';
import { Place } from '../support/place.ts';
import { run, runBeside } from '../support/run.ts';
import { DMIO } from '../support/running.ts';

const SLOW = 240_000;
const MIB = 2 ** 20;
const place = new Place();

const ok = (...args: readonly string[]): string => place.ok(...args);

function long(mib: number, ...names: readonly string[]): void {
  for (const name of names) {
    writeFileSync(place.path(name), '', { flag: 'a' });
    truncateSync(place.path(name), mib * MIB);
  }
}

function resize(...args: readonly string[]): ResizeReport {
  return JSON.parse(ok('resize', 'd', ...args, '--json')) as ResizeReport;
}

function refused(...args: readonly string[]) {
  const ran = dmio(place.folder, ...args);
  expect(ran.stdout).toBe('');
  return [ran.code, ran.stderr.trimEnd()] as const;
}

const argvOf = (...args: readonly string[]): readonly string[] => {
  return [process.execPath, DMIO, '--control', place.path('control.sock'), ...args];
};

function qemuIo(...commands: readonly string[]): number | null {
  const words = commands.flatMap((command) => ['-c', command]);
  return run(place.folder, 'qemu-io', '-f', 'raw', ...words, place.uriOf('d')).code;
}

/** Verifies what it writes in the first 8 MiB until it is told to end. */
function traffic(): { readonly end: () => Promise<readonly (number | null)[]> } {
  let isOver = false;
  const job = ['--name=v', '--ioengine=nbd', `--uri=${place.uriOf('d')}`, '--rw=randrw'];
  const size = ['--bs=4k', '--size=8M', '--iodepth=8', '--time_based', '--runtime=2'];
  const check = ['--verify=crc32c', '--verify_backlog=64', '--verify_fatal=1'];
  const codes: (number | null)[] = [];
  const done = (async () => {
    do codes.push((await runBeside(place.folder, 'fio', ...job, ...size, ...check)).code);
    while (!isOver);
  })();
  return {
    end: async () => {
      isOver = true;
      await done;
      return codes;
    },
  };
}

it(
  'a mirror grows with its files under traffic, in sync, and stays so over a kill',
  async () => {
    long(8, 'a', 'b');
    const daemon = await startDaemon(place.folder);
    ok('create', 'd', '--mirror', 'a', 'b', '--log', 'core');
    ok('wait', 'd', '--in-sync', '--timeout', '60');
    const clients = traffic();
    for (const mib of [16, 24, 48]) {
      long(mib, 'a', 'b');
      expect(resize()).toMatchObject({ sizeBytes: mib * MIB, attached: [], warnings: [] });
      // Holes on both legs: nothing is to be copied.
      expect(place.statusOf('d')).toMatchObject({ state: 'in-sync', sizeBytes: mib * MIB });
    }
    expect(resize()).toMatchObject({ beforeBytes: 48 * MIB, sizeBytes: 48 * MIB });
    expect(qemuIo('write -P 5 40M 8M', 'flush')).toBe(0);
    const codes = await clients.end();
    expect(codes).toEqual(codes.map(() => 0));
    await daemon.stop('SIGKILL');
    await startDaemon(place.folder);
    expect(qemuIo('read -P 5 40M 8M', 'read -P 0 9M 30M')).toBe(0);
    ok('wait', 'd', '--in-sync', '--timeout', '60');
    expect(readFileSync(place.path('a')).equals(readFileSync(place.path('b')))).toBe(true);
  },
  SLOW,
);

it(
  'what is new of a leg and is no hole is copied from the first',
  async () => {
    long(8, 'a', 'b');
    await startDaemon(place.folder);
    ok('create', 'd', '--mirror', 'a', 'b', '--log', 'core', '--assume-clean');
    long(16, 'a');
    writeFileSync(place.path('b'), Buffer.alloc(8 * MIB, 0x77), { flag: 'a' });
    expect(resize('--size', '12M')).toMatchObject({ sizeBytes: 12 * MIB });
    ok('wait', 'd', '--in-sync', '--timeout', '60');
    expect(qemuIo('read -P 0 8M 4M')).toBe(0);
    const [a, b] = ['a', 'b'].map((name) => readFileSync(place.path(name)).subarray(0, 12 * MIB));
    expect(a?.equals(b ?? Buffer.alloc(0))).toBe(true);
    expect(refused('resize', 'd', '--size', '8M')[1]).toMatch(/a device does not shrink/);
    expect(refused('resize', 'd', '--size', '17M')[1]).toMatch(/its legs have room for 16777216/);
    expect(refused('resize', 'd', '--size', '12.5K')[0]).toBe(2);
    ok('leg', 'fail', 'd', place.path('b'));
    expect(refused('resize', 'd')).toEqual([5, expect.stringMatching(/leg .*\/b is failed/)]);
  },
  SLOW,
);

it(
  'a linear device grows, clients that come later see it; what cannot says why',
  async () => {
    long(8, 'a', 'n0', 'n1');
    await startDaemon(place.folder);
    ok('create', 'd', '--table', `0 ${(8 * MIB) / 512} linear ${place.path('a')} 0`);
    const nbdsh = [
      `h.connect_uri("${place.uriOf('d')}")`,
      'import subprocess',
      `old = h.get_size()`,
      `h.pwrite(b"x" * 512, old - 512)`,
      `import os; os.truncate("${place.path('a')}", ${16 * MIB})`,
      `subprocess.run(${JSON.stringify(argvOf('resize', 'd'))}, check=True, stdout=subprocess.DEVNULL)`,
      'h.set_strict_mode(0)',
      // The connection goes on; what it was told of the size NBD cannot take back.
      'h.pwrite(b"y" * 512, old)',
      `n = nbd.NBD(); n.connect_uri("${place.uriOf('d')}")`,
      'print(old, n.get_size(), bytes(n.pread(2, old - 1)))',
    ].join('\n');
    const { code, stdout, stderr } = await runBeside(place.folder, 'nbdsh', '-c', nbdsh);
    expect([code, stdout.trim(), stderr]).toEqual([0, `${8 * MIB} ${16 * MIB} b'xy'`, '']);
    expect(statSync(place.path('a')).size).toBe(16 * MIB);

    ok('create', 'n', '--mirror', 'n0', 'n1', '--log', 'native', '--force');
    expect(refused('resize', 'n')).toEqual([1, expect.stringContaining('the native log keeps')]);
    ok('create', 'z', '--table', '0 2048 zero');
    expect(refused('resize', 'z')).toEqual([
      1,
      expect.stringContaining('only a linear or a mirror'),
    ]);
    expect(refused('resize', 'nope')[0]).toBe(4);
  },
  SLOW,
);
