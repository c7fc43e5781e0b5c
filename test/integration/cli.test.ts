// The life of devices as a user has it: the real dmiod, the real dmio, files in a folder.
import { readFileSync, statSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

import type { StatusReport } from '../../core/control/status.ts';
import { VERSION } from '../../core/control/version.ts';
import { dmio, engineInUse, startDaemon, startServe } from '../support/programs.ts';
import { run } from '../support/run.ts';
import { Place } from '../support/place.ts';

/** Processes are started one after the other, on machines that may have other work. */
const SLOW = 180_000;
const place = new Place();

const ok = (...args: readonly string[]): string => place.ok(...args);

function status(...args: readonly string[]): StatusReport {
  return JSON.parse(ok('status', ...args, '--json')) as StatusReport;
}

function sparse(name: string, bytes: number): void {
  writeFileSync(join(place.folder, name), '');
  truncateSync(join(place.folder, name), bytes);
}

describe('a mirror', () => {
  it(
    'is made, seen, used, broken, removed',
    async () => {
      await startDaemon(place.folder);
      expect(ok('ls')).toBe('no devices\n');
      expect(ok('status', '--check')).toBe('');

      const uri = `nbd+unix:///data?socket=${place.folder}/nbd.sock`;
      const [a, b] = [`${place.folder}/a.img`, `${place.folder}/b.img`];
      expect(ok('create', 'data', '--mirror', 'a.img', 'b.img', '--size', '16MiB')).toBe(
        `created ${a}\ncreated ${b}\ndata  16 MiB  ${uri}\n`,
      );
      expect(ok('wait', 'data', '--in-sync', '--timeout', '20')).toMatch(
        /^data: in-sync, event \d+\n$/,
      );
      const whole = {
        state: 'in-sync',
        errors: { read: 0, write: 0, flush: 0, resync: 0 },
        outOfSyncBytes: 0,
        reason: null,
        writeMostly: false,
        failedByHand: false,
        replaces: null,
        note: null,
      };
      expect(status('data')).toEqual({
        devices: [
          {
            name: 'data',
            sizeBytes: 16777216,
            target: 'mirror',
            state: 'in-sync',
            uri,
            connections: 0,
            attached: [],
            mounts: [],
            eventNr: expect.any(Number) as number,
            regions: { sizeBytes: 524288, total: 32, dirty: 0, outOfSync: 0 },
            resync: null,
            scrub: null,
            regionMap: null,
            legs: [
              { index: 0, leg: a, ...whole },
              { index: 1, leg: b, ...whole },
            ],
            reason: null,
          },
        ],
      });
      const table = `0 32768 mirror core 1 1024 2 ${a} 0 ${b} 0 1 handle_errors`;
      expect(ok('table', 'data')).toBe(`${table}\n`);
      expect(ok('table')).toBe(`data: ${table}\n`);
      expect(ok('status', 'data', '--dm')).toBe(`0 32768 mirror 2 ${a} ${b} 32/32 1 AA 1 core\n`);
      expect(ok('deps', 'data')).toBe(`2 dependencies  : (${a}) (${b})\n`);
      expect(ok('info', 'data')).toMatch(
        /^Name: +data\nState: +ACTIVE\nTables present: +LIVE\nOpen count: +0\n/,
      );
      expect(dmio(place.folder, 'status', '--check')).toEqual({
        code: 0,
        stdout: 'data: in-sync\n',
        stderr: '',
      });

      expect(
        run(place.folder, 'qemu-io', '-f', 'raw', '-c', 'write -P 7 0 1M', '-c', 'flush', uri).code,
      ).toBe(0);
      expect(ok('leg', 'fail', 'data', 'b.img')).toBe(`data: leg 1 (${b}) is failed\n`);
      expect(dmio(place.folder, 'status', '--check')).toEqual({
        code: 10,
        stdout: 'data: degraded\n',
        stderr: '',
      });
      expect(dmio(place.folder, 'leg', 'fail', 'data', '0')).toEqual({
        code: 5,
        stdout: '',
        stderr: `dmio: leg ${a} is the last good one of data, or of a part of it: without it data is lost\n`,
      });
      expect(
        run(
          place.folder,
          'qemu-io',
          '-f',
          'raw',
          '-c',
          'write -P 9 0 1M',
          '-c',
          'read -P 9 0 1M',
          uri,
        ).code,
      ).toBe(0);
      expect(readFileSync(a)[0]).toBe(9);
      expect(readFileSync(b)[0]).toBe(7);

      expect(ok('remove', 'data')).toBe('removed data\n');
      expect(ok('ls')).toBe('no devices\n');
      expect(dmio(place.folder, 'status', 'data')).toEqual({
        code: 4,
        stdout: '',
        stderr: 'dmio: no device data\n',
      });
      expect(statSync(a).size).toBe(16777216);
    },
    SLOW,
  );

  it(
    'copies its first leg to the others, unless they are said to be equal',
    async () => {
      writeFileSync(join(place.folder, 'a.img'), Buffer.alloc(4 * 2 ** 20, 'a'));
      writeFileSync(join(place.folder, 'b.img'), Buffer.alloc(4 * 2 ** 20, 'b'));
      writeFileSync(join(place.folder, 'c.img'), Buffer.alloc(4 * 2 ** 20, 'c'));
      await startDaemon(place.folder);
      ok('create', 'x', '--mirror', 'b.img', 'c.img', '--assume-clean');
      expect(status('x').devices[0]?.state).toBe('in-sync');
      expect(ok('table', 'x')).toContain(' core 2 1024 nosync 2 ');
      ok('remove', 'x');
      expect(readFileSync(join(place.folder, 'c.img'))[0]).toBe('c'.charCodeAt(0));

      ok('create', 'x', '--mirror', 'a.img', 'b.img', 'c.img');
      ok('wait', 'x', '--in-sync', '--timeout', '20');
      ok('remove', 'x');
      const want = readFileSync(join(place.folder, 'a.img'));
      expect(readFileSync(join(place.folder, 'b.img')).equals(want)).toBe(true);
      expect(readFileSync(join(place.folder, 'c.img')).equals(want)).toBe(true);
    },
    SLOW,
  );

  it(
    'with clients is removed by force only',
    async () => {
      await startDaemon(place.folder);
      ok('create', 'x', '--mirror', 'a.img', 'b.img', '--size', '1M');
      const uri = `nbd+unix:///x?socket=${place.folder}/nbd.sock`;
      const script = `dmio() { "${process.execPath}" "${join(import.meta.dirname, '../../cli/main.js')}" --control control.sock "$@"; }
      connections() { dmio --json status | grep -o '"connections":[0-9]*'; }
      # A client that stays until its commands end, and is there before the first remove.
      mkfifo commands; qemu-io -f raw '${uri}' <commands >/dev/null & exec 9>commands
      for i in $(seq 100); do [ "$(connections)" = '"connections":1' ] && break; done
      dmio remove x; echo "code $?"; connections; dmio remove x --force; echo "code $?"; exec 9>&-; wait`;
      const ran = run(place.folder, 'sh', '-c', script);
      expect(ran.stdout).toBe('code 5\n"connections":1\nremoved x\ncode 0\n');
      expect(ran.stderr).toContain(
        'dmio: device x has 1 client connection; --force removes it all the same\n',
      );
    },
    SLOW,
  );
});

describe('a table', () => {
  it(
    'is made of lines, its relative paths of the user; and read back as it was',
    async () => {
      await startDaemon(place.folder);
      sparse('a b.img', 2 ** 20);
      const lines = '# two halves\n0 8 linear a\\ b.img 16\n\n8 8 zero\n';
      const ran = run(
        place.folder,
        'sh',
        '-c',
        `printf '%s' "$1" | "$0" "$2" --control control.sock create t --table -`,
        process.execPath,
        lines,
        join(import.meta.dirname, '../../cli/main.js'),
      );
      expect([ran.stderr, ran.code]).toEqual(['', 0]);
      const table = ok('table', 't');
      expect(table).toBe(`0 8 linear ${place.folder}/a\\ b.img 16\n8 8 zero\n`);
      expect(ok('deps', 't')).toBe(`1 dependencies  : (${place.folder}/a b.img)\n`);
      expect(status('t').devices[0]).toMatchObject({
        target: 'linear+zero',
        state: 'in-sync',
        regions: null,
        resync: null,
        scrub: null,
        regionMap: null,
        legs: [],
        sizeBytes: 8192,
      });
      ok('remove', 't');
      ok('create', 't', '--table', table);
      expect(ok('table', 't')).toBe(table);
      expect(ok('status', 't', '--dm')).toBe('0 8 linear\n8 8 zero\n');
    },
    SLOW,
  );
});

describe('dmio', () => {
  it(
    'tells versions and targets',
    async () => {
      const daemon = await startDaemon(place.folder);
      expect(ok('version')).toBe(
        `dmio     ${VERSION}\ndmiod    ${VERSION} (protocol 1, engine ${engineInUse()}, Node ${process.version}, pid ${daemon.pid})\n`,
      );
      const targets = ok('targets').trimEnd().split('\n');
      const names = ['delay', 'dust', 'error', 'flakey', 'linear', 'mirror', 'striped', 'zero'];
      expect(targets.map((line) => line.replace(/ +v\d+\.\d+\.\d+$/, ''))).toEqual(names);
      await daemon.stop();
      expect(dmio(place.folder, 'version')).toMatchObject({
        code: 3,
        stdout: `dmio     ${VERSION}\n`,
      });
    },
    SLOW,
  );

  it(
    'waits for events, and gives up when told',
    async () => {
      await startDaemon(place.folder);
      ok('create', 'x', '--mirror', 'a.img', 'b.img', '--size', '1M');
      const { eventNr } = status('x').devices[0] ?? { eventNr: -1 };
      expect(
        dmio(place.folder, 'wait', 'x', '--event', String(eventNr), '--timeout', '0.2'),
      ).toEqual({
        code: 1,
        stdout: '',
        stderr: `dmio: device x is in-sync, event ${eventNr}: timed out\n`,
      });
      const cli = join(import.meta.dirname, '../../cli/main.js');
      const script = `"$0" "${cli}" --control control.sock wait x --event ${eventNr} & sleep 0.5
      "$0" "${cli}" --control control.sock leg fail x 1; wait`;
      const out = run(place.folder, 'sh', '-c', script, process.execPath).stdout;
      expect(out).toContain(`x: degraded, event ${eventNr + 1}\n`);
    },
    SLOW,
  );

  it.each([
    [],
    ...['serve', 'create', 'remove', 'ls', 'status', 'table', 'info'].map((command) => [command]),
    ...['deps', 'wait', 'leg', 'targets', 'version'].map((command) => [command]),
    ['leg', 'fail'],
  ])(
    '%s %s --help has an example',
    (...command) => {
      const help = ok(...command.filter((word) => typeof word === 'string'), '--help');
      expect(help).toMatch(/\nExamples?:\n  dmio /);
    },
    SLOW,
  );
});

describe('dmio serve', () => {
  it(
    'serves one device, says where, and answers on a control socket when asked to',
    async () => {
      const serve = await startServe(
        place.folder,
        '--mirror',
        'a.img',
        'b.img',
        '--size',
        '8M',
        '--create',
        '--socket',
        's.sock',
        '--name',
        'disk',
        '--control',
        'control.sock',
      );
      const uri = `nbd+unix:///disk?socket=${place.folder}/s.sock`;
      expect(serve.stdout).toBe(`serving disk at ${uri}\n`);
      expect(run(place.folder, 'nbdinfo', '--size', uri).stdout).toBe('8388608\n');
      expect(status().devices[0]).toMatchObject({ name: 'disk', state: 'in-sync', uri });
      expect(await serve.stop('SIGINT')).toBe(0);
      expect(serve.stderr).toBe('');
    },
    SLOW,
  );

  it(
    'serves on a TCP port, read-only',
    async () => {
      sparse('a.img', 2 ** 20);
      const serve = await startServe(
        place.folder,
        '--linear',
        'a.img',
        '--port',
        '0',
        '--read-only',
      );
      const uri = /at (nbd:\S+)\n/.exec(serve.stdout)?.[1] ?? '';
      expect(uri).toMatch(/^nbd:\/\/127\.0\.0\.1:\d+\/data$/);
      expect(run(place.folder, 'nbdinfo', uri).stdout).toContain('is_read_only: true');
      expect(await serve.stop()).toBe(0);
    },
    SLOW,
  );

  it(
    'serves one client on stdin and stdout',
    () => {
      sparse('a.img', 2 ** 20);
      const cli = join(import.meta.dirname, '../../cli/main.js');
      const command = [process.execPath, cli, 'serve', '--linear', 'a.img', '--stdio'];
      // What `nbdsh` runs, with the Python that Debian's module belongs to.
      const ran = run(
        place.folder,
        '/usr/bin/python3',
        '-m',
        'nbd',
        '-c',
        `h.set_export_name("data"); h.connect_command(${JSON.stringify(command)}); print(h.get_size())`,
      );
      expect([ran.stderr, ran.stdout, ran.code]).toEqual(['', '1048576\n', 0]);
    },
    SLOW,
  );
});
