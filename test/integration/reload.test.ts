// suspend, resume, reload, clear and message, as a user of dmsetup knows them, under real clients.
import { readFileSync, truncateSync, writeFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';

import { call } from '../../cli/client.ts';
import type { InfoReport } from '../../core/control/status.ts';
import { dmio, startDaemon } from '../support/programs.ts';
import { Place } from '../support/place.ts';
import { run, runBeside } from '../support/run.ts';

const SLOW = 240_000;
const MIB = 2 ** 20;
const SECTORS = (8 * MIB) / 512;
const place = new Place();

const ok = (...args: readonly string[]): string => place.ok(...args);

function sparse(...names: readonly string[]): void {
  for (const name of names) {
    writeFileSync(place.path(name), '');
    truncateSync(place.path(name), 8 * MIB);
  }
}

function qemuIo(name: string, ...commands: readonly string[]): number | null {
  const words = commands.flatMap((command) => ['-c', command]);
  return run(place.folder, 'qemu-io', '-f', 'raw', ...words, place.uriOf(name)).code;
}

function refused(...args: readonly string[]) {
  const ran = dmio(place.folder, ...args);
  expect(ran.stdout).toBe('');
  return [ran.code, ran.stderr.trimEnd()] as const;
}

function info(name: string) {
  const { devices } = JSON.parse(ok('info', name, '--json')) as InfoReport;
  return devices[0];
}

const mirrorOf = (...legs: readonly string[]): string => {
  const words = legs.map((leg) => `${place.path(leg)} 0`).join(' ');
  return `0 ${SECTORS} mirror core 1 128 ${legs.length} ${words} 1 handle_errors`;
};
const linearOn = (leg: string): string => `0 ${SECTORS} linear ${place.path(leg)} 0`;

function reload(name: string, table: string, ...more: readonly string[]): void {
  ok('reload', name, '--table', table, ...more);
  ok('resume', name);
}

/** fio that verifies what it wrote, run after run; the exit code of each. */
async function fioUntil(isOver: () => boolean): Promise<readonly (number | null)[]> {
  const job = ['--name=v', '--ioengine=nbd', `--uri=${place.uriOf('d')}`, '--rw=randrw'];
  const size = ['--bs=4k', '--size=8M', '--iodepth=8', '--time_based', '--runtime=3'];
  const check = ['--verify=crc32c', '--verify_backlog=64', '--verify_fatal=1'];
  const codes: (number | null)[] = [];
  while (!isOver()) {
    codes.push((await runBeside(place.folder, 'fio', ...job, ...size, ...check)).code);
  }
  return codes;
}

describe('suspend and resume', () => {
  it(
    'hold clients back without an error, and say so',
    async () => {
      sparse('a', 'b');
      await startDaemon(place.folder);
      ok('create', 'd', '--table', mirrorOf('a', 'b'), '--force');
      expect(qemuIo('d', 'write -P 7 0 1M')).toBe(0);
      ok('suspend', 'd');
      ok('suspend', 'd');
      expect(place.statusOf('d').state).toBe('suspended');
      expect(info('d')).toMatchObject({ state: 'SUSPENDED', tables: ['live'] });
      let hasEnded = false;
      const words = ['-f', 'raw', '-c', 'write -P 8 1M 1M', '-c', 'read -P 7 0 1M'];
      const client = runBeside(place.folder, 'qemu-io', ...words, place.uriOf('d')).then((ran) => {
        hasEnded = true;
        return ran.code;
      });
      const before = readFileSync(place.path('a'));
      await sleep(1500);
      expect(hasEnded).toBe(false);
      expect(readFileSync(place.path('a')).equals(before)).toBe(true);
      ok('resume', 'd');
      expect(await client).toBe(0);
      expect(readFileSync(place.path('b'))[MIB]).toBe(8);
      expect(info('d')).toMatchObject({ state: 'ACTIVE' });
    },
    SLOW,
  );

  it(
    'let a stop and a removal answer who waits',
    async () => {
      sparse('a', 'b');
      const daemon = await startDaemon(place.folder);
      for (const name of ['d', 'e']) {
        ok('create', name, '--table', linearOn(name === 'd' ? 'a' : 'b'));
        ok('suspend', name, '--noflush');
      }
      const write = ['-f', 'raw', '-c', 'write -P 9 0 1M'];
      const first = runBeside(place.folder, 'qemu-io', ...write, place.uriOf('d'));
      const second = runBeside(place.folder, 'qemu-io', ...write, place.uriOf('e'));
      await daemon.until(() => info('d')?.openCount === 1 && info('e')?.openCount === 1);
      await sleep(300);
      ok('remove', 'd', '--force');
      expect((await first).code).toBe(0);
      await daemon.stop('SIGTERM');
      expect((await second).code).toBe(0);
      expect([readFileSync(place.path('a'))[0], readFileSync(place.path('b'))[0]]).toEqual([9, 9]);
    },
    SLOW,
  );
});

describe('reload', () => {
  it(
    'makes a mirror of a disk and a disk of a mirror, and what is in sync follows',
    async () => {
      sparse('a', 'b', 'c');
      const daemon = await startDaemon(place.folder);
      ok('create', 'd', '--table', linearOn('a'));
      expect(qemuIo('d', 'write -P 1 0 8M')).toBe(0);

      // The disk is the second leg: its content is the truth all the same.
      ok('reload', 'd', '--table', mirrorOf('b', 'a'));
      expect(info('d')).toMatchObject({ tables: ['live', 'inactive'] });
      expect(ok('table', 'd')).toBe(`${linearOn('a')}\n`);
      ok('resume', 'd');
      ok('wait', 'd', '--in-sync', '--timeout', '60');
      expect(readFileSync(place.path('b')).equals(readFileSync(place.path('a')))).toBe(true);

      // A leg that is out is not believed, wherever the table puts it.
      ok('leg', 'fail', 'd', place.path('b'));
      expect(qemuIo('d', 'write -P 2 0 4M')).toBe(0);
      const [code, words] = refused('reload', 'd', '--table', linearOn('b'));
      expect(code).toBe(5);
      expect(words).toMatch(/leg .*\/b of d is failed: clients would read old data/);
      reload('d', mirrorOf('b', 'c', 'a'));
      expect(qemuIo('d', 'read -P 2 0 4M', 'read -P 1 4M 4M')).toBe(0);
      ok('wait', 'd', '--in-sync', '--timeout', '60');
      expect(readFileSync(place.path('b')).equals(readFileSync(place.path('a')))).toBe(true);
      expect(readFileSync(place.path('c')).equals(readFileSync(place.path('a')))).toBe(true);

      reload('d', linearOn('c'));
      expect(qemuIo('d', 'write -P 3 0 1M')).toBe(0);
      expect(ok('deps', 'd')).toBe(`1 dependencies  : (${place.path('c')})\n`);
      // The old legs are free again.
      ok('create', 'e', '--table', linearOn('a'));

      // What is on record is the table of the last resume.
      await daemon.stop('SIGKILL');
      await startDaemon(place.folder);
      expect(ok('table', 'd')).toBe(`${linearOn('c')}\n`);
      expect(qemuIo('d', 'read -P 3 0 1M', 'read -P 2 1M 3M', 'read -P 1 4M 4M')).toBe(0);
    },
    SLOW,
  );

  it(
    'is forgotten by clear and by a restart, refused when it cannot be, and grows a device',
    async () => {
      sparse('a', 'b', 'small');
      truncateSync(place.path('small'), MIB);
      const daemon = await startDaemon(place.folder);
      ok('create', 'd', '--table', `0 ${SECTORS / 2} linear ${place.path('a')} 0`);
      ok('reload', 'd', '--table', linearOn('b'));
      ok('clear', 'd');
      ok('resume', 'd');
      expect(ok('deps', 'd')).toContain(place.path('a'));
      expect(refused('reload', 'd', '--table', linearOn('none'))[0]).toBe(4);
      expect(refused('reload', 'd', '--table', linearOn('small'))).toEqual([
        1,
        expect.stringContaining('too small for 16384 sectors') as string,
      ]);
      expect(refused('reload', 'd', '--table', '0 8 zero')).toEqual([
        5,
        expect.stringContaining('a device does not shrink') as string,
      ]);
      expect(refused('reload', 'nope', '--table', '0 8 zero')[0]).toBe(4);
      expect(refused('resume', 'nope')[0]).toBe(4);
      expect(info('d')).toMatchObject({ tables: ['live'] });

      reload('d', linearOn('a'));
      expect(place.statusOf('d').sizeBytes).toBe(8 * MIB);
      expect(qemuIo('d', 'write -P 5 7M 1M')).toBe(0);
      ok('reload', 'd', '--table', linearOn('b'));
      await daemon.stop('SIGTERM');
      await startDaemon(place.folder);
      expect(ok('deps', 'd')).toContain(place.path('a'));
    },
    SLOW,
  );

  it(
    'never makes a client see an error or a wrong byte, 50 times',
    async () => {
      sparse('a', 'b', 'c');
      await startDaemon(place.folder);
      ok('create', 'd', '--table', linearOn('a'));
      const control = place.path('control.sock');
      const name = 'd';
      const tables = [mirrorOf('a', 'b'), linearOn('b'), mirrorOf('c', 'b', 'a'), linearOn('a')];
      let isOver = false;
      const traffic = fioUntil(() => isOver);
      for (let round = 0; round < 50; round += 1) {
        const table = tables[round % tables.length] ?? '';
        if (table.includes('linear')) await call(control, 'wait', { name, timeoutMs: 60_000 });
        if (round % 3 === 0) await call(control, 'suspend', { name, flush: round % 2 === 0 });
        await call(control, 'reload', { name, table, force: true });
        await call(control, 'resume', { name });
        await sleep(100);
      }
      isOver = true;
      const codes = await traffic;
      expect(codes).toEqual(codes.map(() => 0));
      expect(codes.length).toBeGreaterThan(0);
      reload('d', mirrorOf('a', 'c'), '--force');
      ok('wait', 'd', '--in-sync', '--timeout', '60');
      expect(readFileSync(place.path('a')).equals(readFileSync(place.path('c')))).toBe(true);
    },
    SLOW,
  );
});

describe('message', () => {
  it('reaches the target of a sector', async () => {
    sparse('a');
    await startDaemon(place.folder);
    const dust = `dust ${place.path('a')}`;
    ok('create', 'd', '--table', `0 8 zero\n8 64 ${dust} 0 512\n72 64 ${dust} 64 4096`);
    expect(ok('message', 'd', '8', 'addbadblock', '3')).toBe('');
    expect(ok('message', 'd', '8', 'queryblock', '3')).toBe(
      'dust_query_block: block 3 found in badblocklist\n',
    );
    expect(ok('message', 'd', '80', 'countbadblocks')).toBe(
      'countbadblocks: 0 badblock(s) found\n',
    );
    expect(ok('message', 'd', '8', 'enable')).toBe('');
    expect(qemuIo('d', 'read 5632 512')).not.toBe(0);
    expect(qemuIo('d', 'read 5120 512', 'write 5632 512', 'read 5632 512')).toBe(0);
    expect(ok('status', 'd', '--dm')).toBe(
      `0 8 zero\n8 64 ${dust} fail_read_on_bad_block verbose\n72 64 ${dust} bypass verbose\n`,
    );
    expect(refused('message', 'd', 'hello')).toEqual([1, 'dmio: device d: zero takes no messages']);
    expect(refused('message', 'd', '8', 'hello')[0]).toBe(2);
    expect(refused('message', 'd', '136', 'hello')[0]).toBe(2);
    expect(refused('message', 'd', '8')[0]).toBe(2);
  }, 60_000);
});
