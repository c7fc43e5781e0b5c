// Scrub, resync, counters and events as a user has them: real files, bytes changed behind the daemon's back.
import { closeSync, openSync, readFileSync, writeSync } from 'node:fs';
import { get } from 'node:http';

import type {
  EventStatus,
  ResyncReport,
  ScrubReport,
  StatsReport,
} from '../../core/control/status.ts';
import { dmio, startDaemon } from '../support/programs.ts';
import { run } from '../support/run.ts';
import { Place } from '../support/place.ts';

const SLOW = 180_000;
const SIZE = '16MiB';
const place = new Place();

/** Writes over a leg as no daemon would. */
function spoil(leg: string, byte: number, text: string): void {
  const fd = openSync(place.path(leg), 'r+');
  writeSync(fd, text, byte);
  closeSync(fd);
}

function scrub(...args: readonly string[]): NonNullable<ScrubReport['scrub']> {
  const report = JSON.parse(place.ok('--json', 'scrub', 'data', ...args)) as ScrubReport;
  if (report.scrub === null) throw new Error('no scrub');
  return report.scrub;
}

function bytesOf(leg: string): Buffer {
  return readFileSync(place.path(leg));
}

async function startMirror(...legs: readonly string[]): Promise<void> {
  await startDaemon(place.folder);
  place.ok('create', 'data', '--mirror', ...legs, '--size', SIZE);
  const uri = place.uriOf('data');
  const wrote = run(
    place.folder,
    'qemu-io',
    '-f',
    'raw',
    '-c',
    'write -P 7 0 8M',
    '-c',
    'flush',
    uri,
  );
  expect(wrote.code).toBe(0);
}

describe('scrub', () => {
  it(
    'names exact positions and sides, and the majority wins',
    async () => {
      await startMirror('a', 'b', 'c');
      expect(scrub()).toMatchObject({ state: 'done', mismatchedSectors: 0, mismatches: [] });

      spoil('b', 5000, 'x');
      spoil('c', 10 * 512, 'y'.repeat(3 * 512));
      spoil('a', 2 ** 24 - 1, 'z');
      const found = scrub();
      expect(found).toMatchObject({ state: 'done', repair: 'none', mismatchedSectors: 5 });
      expect(found.mismatches).toEqual([
        { sector: 9, sectors: 1, groups: [[0, 2], [1]], repaired: false },
        { sector: 10, sectors: 3, groups: [[0, 1], [2]], repaired: false },
        { sector: 32767, sectors: 1, groups: [[1, 2], [0]], repaired: false },
      ]);
      // A check changes nothing, and says so where people look.
      expect(bytesOf('b')[5000]).toBe('x'.charCodeAt(0));
      expect(place.ok('status', 'data')).toMatch(/scrub +done, 3 mismatches in 5 sectors/);

      expect(scrub('--repair')).toMatchObject({ mismatchedSectors: 5, repairedSectors: 5 });
      expect(bytesOf('a').equals(bytesOf('b'))).toBe(true);
      expect(bytesOf('a').equals(bytesOf('c'))).toBe(true);
      expect(bytesOf('a')[5000]).toBe(7);
      expect(scrub()).toMatchObject({ mismatchedSectors: 0 });
    },
    SLOW,
  );

  it(
    'never tosses a coin between two legs',
    async () => {
      await startMirror('a', 'b');
      spoil('b', 4096, 'x');
      const before = bytesOf('b');
      const refused = dmio(place.folder, 'scrub', 'data', '--repair');
      expect(refused.code).toBe(5);
      expect(refused.stderr).toMatch(
        /^dmio: data has two legs in sync, .* --repair --from LEG .*\n$/,
      );
      expect(bytesOf('b').equals(before)).toBe(true);

      // What the user says goes, also when it is the spoiled one.
      expect(scrub('--repair', '--from', 'b')).toMatchObject({ repair: 'from-leg', fromLeg: 1 });
      expect(bytesOf('a')[4096]).toBe('x'.charCodeAt(0));
      expect(bytesOf('a').equals(bytesOf('b'))).toBe(true);

      place.ok('leg', 'fail', 'data', 'b');
      expect(dmio(place.folder, 'scrub', 'data').code).toBe(5);
      expect(dmio(place.folder, 'scrub', 'data', '--repair', '--from', 'b').code).toBe(5);
      expect(dmio(place.folder, 'scrub', 'none').code).toBe(4);
      expect(dmio(place.folder, 'scrub', 'data', '--repair', '--from', 'nobody').code).toBe(4);
      expect(dmio(place.folder, 'scrub', 'data', '--from', 'a').code).toBe(2);
      expect(dmio(place.folder, 'scrub', 'data', '--stop').code).toBe(1);
    },
    SLOW,
  );

  it(
    'stops, remembers the place, and goes on from there',
    async () => {
      await startMirror('a', 'b');
      place.ok('resync', 'data', '--min-rate', '1MiB', '--max-rate', '1MiB');
      spoil('b', 0, 'x');
      place.ok('scrub', 'data', '--background');
      const twice = dmio(place.folder, 'scrub', 'data');
      expect([twice.code, twice.stderr]).toEqual([
        5,
        'dmio: a scrub of data is running; --stop ends it\n',
      ]);
      place.ok('scrub', 'data', '--stop');
      const stopped = place.statusOf('data').scrub;
      expect(stopped?.state).toBe('stopped');
      expect(stopped?.doneBytes).toBeGreaterThan(0);
      expect(stopped?.doneBytes).toBeLessThan(2 ** 24);

      place.ok('resync', 'data', '--max-rate', '0');
      const ended = scrub();
      expect(ended).toMatchObject({ state: 'done', doneBytes: 2 ** 24, mismatchedSectors: 1 });
      const kinds = place.ok('events', 'data', '--json').trim().split('\n');
      const messages = kinds.map((line) => (JSON.parse(line) as EventStatus).message);
      expect(
        messages.filter((message) => /^scrub started, from region \d+ on$/.test(message)),
      ).toHaveLength(1);
    },
    SLOW,
  );
});

describe('resync', () => {
  it(
    'waits when it is told to, keeps its limits, and ends',
    async () => {
      await startDaemon(place.folder);
      run(place.folder, 'sh', '-c', 'head -c 16777216 /dev/urandom > a; truncate -s 16M b');
      place.ok('create', 'data', '--mirror', 'a', 'b', '--force');
      place.ok('resync', 'data', '--pause', '--max-rate', '64MiB');
      const paused = place.statusOf('data');
      if (paused.state === 'resyncing') expect(paused.resync?.paused).toBe(true);
      const report = JSON.parse(place.ok('--json', 'resync', 'data')) as ResyncReport;
      expect(report).toMatchObject({ name: 'data', maxBytesPerSecond: 64 * 2 ** 20 });
      place.ok('wait', 'data', '--in-sync', '--timeout', '60');
      expect(bytesOf('a').equals(bytesOf('b'))).toBe(true);
      expect(place.ok('resync', 'data')).toMatch(/^data: in-sync, nothing to copy /);
      expect(dmio(place.folder, 'resync', 'data', '--min-rate', '0').code).toBe(2);
      const bad = dmio(place.folder, 'resync', 'data', '--min-rate', '1G', '--max-rate', '1M');
      expect(bad.code).toBe(2);
    },
    SLOW,
  );
});

describe('counters and events', () => {
  it(
    'say what clients and legs did, and what happened',
    async () => {
      await startMirror('a', 'b');
      place.ok('leg', 'fail', 'data', 'b');
      const { devices } = JSON.parse(place.ok('--json', 'stats', 'data')) as StatsReport;
      const [device] = devices;
      expect(device?.io.write).toMatchObject({ errors: 0, bytes: 8 * 2 ** 20 });
      expect(device?.io.write.p99Us).toBeGreaterThan(0);
      expect(device?.legs.map(({ io }) => io.write.bytes)).toEqual([2 ** 23, 2 ** 23]);
      expect(device?.io.flush.requests).toBeGreaterThan(0);
      expect(place.ok('stats')).toMatch(/^data\n +op +requests/);

      const lines = place.ok('--json', 'events').trim().split('\n');
      const events = lines.map((line) => JSON.parse(line) as EventStatus);
      expect(events.map(({ seq }) => seq)).toEqual(events.map((_, i) => i + 1));
      expect(events.map(({ kind }) => kind)).toEqual(['device-created', 'leg-failed']);
      expect(events[1]).toMatchObject({ device: 'data', leg: place.path('b') });
      expect(place.ok('events', '--after', '1')).toMatch(
        /^\S+Z {2}data {2}\d+ {2}leg .* failed by hand\n$/,
      );
      expect(place.ok('top', '--count', '1', '--interval', '0.2')).toMatch(/reads\/s/);
      expect(dmio(place.folder, 'stats', 'none').code).toBe(4);
      expect(dmio(place.folder, 'events', 'none').code).toBe(4);
    },
    SLOW,
  );

  it(
    'have a page for Prometheus',
    async () => {
      const daemon = await startDaemon(place.folder, '--metrics', '127.0.0.1:0');
      place.ok('create', 'data', '--mirror', 'a', 'b', '--size', '1MiB');
      const address = /http:[^"\s]+\/metrics/.exec(daemon.stderr)?.[0];
      if (address === undefined) throw new Error(daemon.stderr);
      const page = await fetched(address);
      expect(page.status).toBe(200);
      expect(page.text).toContain('dmiod_device_state{device="data",state="in-sync"} 1\n');
      expect((await fetched(address.replace('/metrics', '/'))).status).toBe(404);
      expect(await daemon.stop()).toBe(0);
    },
    SLOW,
  );
});

function fetched(address: string): Promise<{ readonly status: number; readonly text: string }> {
  return new Promise((done, failed) => {
    get(address, (response) => {
      let text = '';
      response.setEncoding('utf8');
      response.on('data', (part: string) => (text += part));
      response.on('end', () => {
        done({ status: response.statusCode ?? 0, text });
      });
    }).on('error', failed);
  });
}
