// [hooks]: the operator's program is told of what happens to a mirror, and cannot hurt the daemon.
import { chmodSync, existsSync, readFileSync, writeFileSync } from 'node:fs';

import { Place } from '../support/place.ts';
import { startDaemon } from '../support/programs.ts';

const place = new Place();
const SLOW = 120_000;

function program(text: string): string {
  const path = place.path('hook');
  writeFileSync(path, `#!/bin/sh\n${text}\n`);
  chmodSync(path, 0o755);
  return path;
}

function config(run: string, more = ''): void {
  writeFileSync(place.path('dmiod.toml'), `[hooks]\nrun = ["${run}", "${place.folder}"]\n${more}`);
}

it(
  'runs the program once for an event, with the event as JSON; other kinds pass it by',
  async () => {
    config(
      program('cat >> $1/heard; echo "$DMIOD_EVENT $DMIOD_DEVICE" >> $1/env'),
      'events = ["leg-failed"]\n',
    );
    const daemon = await startDaemon(place.folder, '--config', 'dmiod.toml');
    place.ok('create', 'data', '--mirror', 'a', 'b', '--size', '8M');
    place.ok('wait', 'data', '--in-sync', '--timeout', '20');
    place.ok('leg', 'fail', 'data', '1');
    await daemon.until(() => existsSync(place.path('env')));
    expect(readFileSync(place.path('env'), 'utf8')).toBe('leg-failed data\n');
    const [line = '', ...more] = readFileSync(place.path('heard'), 'utf8').trim().split('\n');
    expect(more).toEqual([]);
    expect(JSON.parse(line)).toMatchObject({
      event: 'leg-failed',
      device: 'data',
      leg: place.path('b'),
      eventNr: place.statusOf('data').eventNr,
      time: expect.stringMatching(/^\d{4}-\d\d-\d\dT/) as string,
    });
  },
  SLOW,
);

it(
  'kills a program that does not end, says so of one that fails, and serves on',
  async () => {
    config(program('sleep 100'), 'timeout = 1\n');
    const daemon = await startDaemon(place.folder, '--config', 'dmiod.toml');
    place.ok('create', 'data', '--mirror', 'a', 'b', '--size', '8M');
    place.ok('leg', 'fail', 'data', '1');
    await daemon.until(() => /"why":"SIGKILL".*hook failed/.test(daemon.stderr));
    config('/no/such/program');
    daemon.signal('SIGHUP');
    await daemon.until(() => daemon.stderr.includes('config file reloaded'));
    place.ok('create', 'more', '--mirror', 'c', 'd', '--size', '8M');
    place.ok('leg', 'fail', 'more', '1');
    await daemon.until(() => /ENOENT.*hook failed/.test(daemon.stderr));
    expect(place.statusOf('more').state).toBe('degraded');
  },
  SLOW,
);
