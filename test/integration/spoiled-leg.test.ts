// A leg that is there and cannot be what it was does not keep a mirror from starting on the others.
import { mkdirSync, renameSync, rmSync, truncateSync, writeFileSync } from 'node:fs';

import { Place } from '../support/place.ts';
import { startDaemon } from '../support/programs.ts';
import { run } from '../support/run.ts';

const SLOW = 240_000;
const place = new Place();
const path = (name: string): string => place.path(name);
const ok = (...args: readonly string[]): string => place.ok(...args);

const SPOILED: readonly (readonly [string, () => void, RegExp])[] = [
  ['empty', () => truncateSync(path('b'), 0), /is empty|^not found/],
  ['no whole sectors', () => truncateSync(path('b'), 100_001), /not a multiple of 512/],
  ['shorter', () => truncateSync(path('b'), 2 ** 20), /1048576 bytes|not found among the legs/],
  [
    'a folder',
    () => {
      rmSync(path('b'));
      mkdirSync(path('b'));
    },
    /is a directory/,
  ],
  [
    'a FIFO',
    () => {
      rmSync(path('b'));
      expect(run(place.folder, 'mkfifo', 'b').code).toBe(0);
    },
    /a FIFO/,
  ],
];

it.each(['core', 'native', 'disk=log'])(
  'log %s: the device comes up on the other leg, says why, and takes it in again',
  async (log) => {
    let daemon = await startDaemon(place.folder);
    ok('create', 'data', '--mirror', 'a', 'b', '--size', '8M', '--log', log);
    const io = (...command: readonly string[]) =>
      run(place.folder, 'qemu-io', '-f', 'raw', ...command, place.uriOf('data'));
    expect(io('-c', 'write -P 7 0 1M', '-c', 'flush').code).toBe(0);
    for (const [what, spoil, why] of SPOILED) {
      expect(await daemon.stop('SIGTERM')).toBe(0);
      writeFileSync(path('keep'), '');
      renameSync(path('b'), path('keep'));
      expect(run(place.folder, 'cp', '--sparse=always', 'keep', 'b').code).toBe(0);
      spoil();
      daemon = await startDaemon(place.folder);
      const { state, legs } = place.statusOf('data');
      expect([what, state, legs[0]?.state, legs[1]?.state]).toEqual([
        what,
        'degraded',
        'in-sync',
        'missing',
      ]);
      expect(legs[1]?.reason).toMatch(why);
      expect(io('-c', 'read -P 7 0 1M').stdout).not.toContain('verification failed');
      rmSync(path('b'), { recursive: true });
      renameSync(path('keep'), path('b'));
      ok('leg', 're-add', 'data', 'b');
      ok('wait', 'data', '--in-sync', '--timeout', '60');
    }
    expect(await daemon.stop('SIGTERM')).toBe(0);
  },
  SLOW,
);
