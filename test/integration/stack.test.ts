// Devices of one daemon on top of each other: `dm:NAME`.
import { readFileSync, unlinkSync, writeFileSync } from 'node:fs';

import { dmio, startDaemon } from '../support/programs.ts';
import { Place } from '../support/place.ts';
import { run } from '../support/run.ts';

const SLOW = 240_000;
const MIB = 2 ** 20;
const SECTORS = (4 * MIB) / 512;
const place = new Place();

const ok = (...args: readonly string[]): string => place.ok(...args);

function qemuIo(name: string, ...commands: readonly string[]): number | null {
  const words = commands.flatMap((command) => ['-c', command]);
  const readOnly = commands.some((command) => command.startsWith('write')) ? [] : ['-r'];
  return run(place.folder, 'qemu-io', ...readOnly, '-f', 'raw', ...words, place.uriOf(name)).code;
}

function refused(...args: readonly string[]) {
  const { code, stdout, stderr } = dmio(place.folder, ...args);
  expect(stdout).toBe('');
  return [code, stderr.trimEnd()] as const;
}

const lineOn = (leg: string): string => `0 ${SECTORS} linear ${leg} 0`;

describe('a device on others', () => {
  it(
    'has them to itself, is stopped before and started after them',
    async () => {
      const daemon = await startDaemon(place.folder);
      // Three below, so that with an engine of threads some are not where the first is.
      for (const [name, leg] of [
        ['x', 'a'],
        ['y', 'b'],
        ['z', 'c'],
      ] as const) {
        writeFileSync(place.path(leg), Buffer.alloc(4 * MIB));
        ok('create', name, '--table', lineOn(place.path(leg)));
      }
      ok('create', 'm', '--mirror', 'dm:y', 'dm:x', '--log', 'core');
      // Sorted by name it would be started before what it stands on.
      ok('create', 'a-top', '--table', `0 ${SECTORS} linear dm:m 0\n${SECTORS} 8 linear dm:z 0`);
      ok('wait', 'm', '--in-sync', '--timeout', '60');
      expect(qemuIo('a-top', 'write -P 7 0 4M', 'write -P 8 4M 4k', 'read -P 7 0 4M')).toBe(0);
      const sevens = Buffer.alloc(4 * MIB, 7);
      for (const leg of ['a', 'b']) expect(readFileSync(place.path(leg)).equals(sevens)).toBe(true);
      expect(readFileSync(place.path('c'))[0]).toBe(8);
      expect(ok('deps', 'm')).toBe('2 dependencies  : (dm:y) (dm:x)\n');

      // Who looks at one below may; who would write is told that he may not.
      expect(qemuIo('x', 'read -P 7 0 4M')).toBe(0);
      expect(qemuIo('x', 'write -P 1 0 4k')).not.toBe(0);
      for (const args of [
        ['remove', 'x'],
        ['remove', 'x', '--force'],
      ]) {
        expect(refused(...args)).toEqual([5, 'dmio: device x is a leg of m']);
      }
      expect(refused('create', 'n', '--table', lineOn('dm:x'))).toEqual([
        5,
        'dmio: leg dm:x: device m uses it',
      ]);
      expect(refused('create', 'n', '--table', lineOn('dm:n'))[0]).toBe(1);
      expect(refused('create', 'n', '--table', lineOn('dm:none'))).toEqual([
        4,
        'dmio: leg dm:none: no device none',
      ]);
      expect(refused('reload', 'x', '--table', lineOn('dm:a-top'))).toEqual([
        1,
        'dmio: leg dm:a-top: a-top stands on x, this would be a loop',
      ]);

      await daemon.stop('SIGTERM');
      const again = await startDaemon(place.folder);
      expect(place.statusOf('m')).toMatchObject({ state: 'in-sync', resync: null });
      expect(qemuIo('a-top', 'write -P 9 1M 1M', 'read -P 7 0 1M', 'read -P 8 4M 4k')).toBe(0);
      await again.stop('SIGKILL');
      await startDaemon(place.folder);
      expect(qemuIo('a-top', 'read -P 9 1M 1M')).toBe(0);

      // A leg of a mirror may be given back while it runs.
      ok('wait', 'm', '--in-sync', '--timeout', '60');
      ok('reload', 'm', '--table', lineOn('dm:x'));
      ok('resume', 'm');
      ok('remove', 'y');
      expect(qemuIo('a-top', 'read -P 9 1M 1M')).toBe(0);
      for (const name of ['a-top', 'm', 'x', 'z']) ok('remove', name);
      expect(ok('ls')).toBe('no devices\n');
    },
    SLOW,
  );

  it(
    'is failed, with the reason, while one below is missing',
    async () => {
      const daemon = await startDaemon(place.folder);
      writeFileSync(place.path('a'), Buffer.alloc(4 * MIB));
      ok('create', 'low', '--table', lineOn(place.path('a')));
      ok('create', 'top', '--table', lineOn('dm:low'));
      await daemon.stop('SIGTERM');
      unlinkSync(place.path('a'));
      await startDaemon(place.folder);
      const { state, reason } = place.statusOf('top');
      expect(state).toBe('failed');
      expect(reason).toMatch(/^leg dm:low: device low is failed: leg .*\/a does not exist/);
    },
    SLOW,
  );
});
