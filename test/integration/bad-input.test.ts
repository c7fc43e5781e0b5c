// Issue 2, point 4: bad input gets one clear line and the right exit code; nothing is created, nothing
// is damaged. Every row is run against the real binaries, with all files compared before and after.
import { linkSync, mkdirSync, symlinkSync, truncateSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import type { AddressInfo, Server } from 'node:net';
import { join } from 'node:path';

import { dmio, dmiod, snapshot, startDaemon, startServe } from '../support/programs.ts';
import { run } from '../support/run.ts';
import type { Ran } from '../support/run.ts';
import { Place } from '../support/place.ts';

const MIB = 1024 * 1024;
/** Dozens of processes are started, on machines that may have other work. */
const SLOW = 180_000;
const place = new Place();

function sparse(name: string, bytes: number): void {
  writeFileSync(join(place.folder, name), '');
  truncateSync(join(place.folder, name), bytes);
}

beforeEach(() => {
  sparse('a.img', MIB);
  sparse('b.img', MIB);
});

function lineOf(program: string, message: string): string {
  return `${program}: ${message.replaceAll('F/', `${place.folder}/`)}\n`;
}

/** One line, no stack, the exit code. `F` in the message stands for the folder. */
function expectLine(ran: Ran, code: number, program: string, message: string): void {
  expect(ran.stderr).toBe(lineOf(program, message));
  expect(ran.code).toBe(code);
  expect(ran.stdout).toBe('');
}

/** What must be there for the bad legs below. */
function makeBadLegs(): void {
  sparse('small.img', MIB / 2);
  sparse('odd.img', 1000);
  sparse('empty.img', 0);
  sparse('fs.img', 4 * MIB);
  run(place.folder, 'mke2fs', '-q', '-F', 'fs.img');
  mkdirSync(join(place.folder, 'dir'));
  symlinkSync('a.img', join(place.folder, 'link.img'));
  linkSync(join(place.folder, 'b.img'), join(place.folder, 'hard.img'));
  run(place.folder, 'mkfifo', 'fifo');
}

const WANTED = 'a file or a block device is wanted';
const SIZES = 'a size such as 4096, 64KiB, 64K, 1GiB, 1G or 8s (sectors)';
const FORCE = 'a new mirror may overwrite it; --force takes it all the same';

// arguments of `create`, exit code, the line
const CREATES: readonly (readonly [readonly string[], number, string])[] = [
  [['x', '--mirror', 'a.img', 'no.img'], 4, 'leg F/no.img does not exist; --size S makes it'],
  [
    ['x', '--mirror', 'a.img', 'no/b.img', '--size', '1M'],
    4,
    'leg F/no/b.img cannot be made: F/no does not exist',
  ],
  [
    ['x', '--mirror', 'a.img', 'small.img', '--size', '1M'],
    1,
    'leg F/small.img has 524288 bytes, too small for a device of 1048576 bytes',
  ],
  [
    ['x', '--mirror', 'a.img', 'new.img', 'small.img', '--size', '1M'],
    1,
    'leg F/small.img has 524288 bytes, too small for a device of 1048576 bytes',
  ],
  [['x', '--mirror', 'a.img', 'a.img'], 1, 'leg F/a.img is named twice'],
  [['x', '--mirror', 'a.img', './a.img'], 1, 'leg F/a.img is named twice'],
  [['x', '--mirror', 'new.img', 'new.img', '--size', '1M'], 1, 'leg F/new.img is named twice'],
  [['x', '--mirror', 'a.img', 'link.img'], 1, 'leg F/a.img and F/link.img are the same file'],
  [['x', '--mirror', 'b.img', 'hard.img'], 1, 'leg F/b.img and F/hard.img are the same file'],
  [['x', '--mirror', 'a.img', 'dir'], 1, `leg F/dir is a directory, ${WANTED}`],
  [['x', '--mirror', 'a.img', 'fifo'], 1, `leg F/fifo is a FIFO, ${WANTED}`],
  [['x', '--mirror', 'a.img', 'odd.img'], 1, 'leg F/odd.img has 1000 bytes, not a multiple of 512'],
  [['x', '--mirror', 'a.img', 'empty.img'], 1, 'leg F/empty.img is empty'],
  [
    ['x', '--mirror', 'a.img', 'fs.img'],
    5,
    `leg F/fs.img carries an ext2/3/4 file system; ${FORCE}`,
  ],
  [
    ['x', '--mirror', 'fs.img', 'a.img', '--assume-clean'],
    5,
    `leg F/fs.img carries an ext2/3/4 file system; ${FORCE}`,
  ],
  [
    ['x', '--mirror', 'a.img', 'nbd+unix:///x?socket=/none'],
    4,
    'leg nbd+unix:///x?socket=/none cannot be used: there is no such socket',
  ],
  [
    ['x', '--mirror', '--size', '1M', 'a.img'],
    2,
    "option '--mirror <LEG...>' argument '--size' is invalid. A leg that begins with - is written ./--size.",
  ],
  [['x', '--mirror', 'a.img'], 2, 'a mirror has 2 to 64 legs; 1 given'],
  [
    ['x', '--mirror', ...Array.from({ length: 65 }, (_, i) => `l${i}`), '--size', '1M'],
    2,
    'a mirror has 2 to 64 legs; 65 given',
  ],
  [
    ['x', '--mirror', 'a.img', ''],
    2,
    'leg "": a path that is not empty, without NUL and line breaks',
  ],
  [
    ['x', '--mirror', 'a.img', 'b.img', '--size', '1000'],
    2,
    'size 1000: a multiple of 512 bytes above 0 is wanted',
  ],
  [
    ['x', '--mirror', 'a.img', 'b.img', '--size', '0'],
    2,
    'size 0: a multiple of 512 bytes above 0 is wanted',
  ],
  [
    ['x', '--mirror', 'a.img', 'b.img', '--size', 'big'],
    2,
    `option '--size <S>' argument 'big' is invalid. Expected ${SIZES}.`,
  ],
  [
    ['x', '--mirror', 'a.img', 'b.img', '--region-size', '3K'],
    2,
    'region size 3072: a power of two of at least 1024 bytes is wanted',
  ],
  [
    ['x', '--mirror', 'a.img', 'b.img', '--region-size', '2M'],
    1,
    "table line 1: the region size is 4096 sectors, more than the target's length 2048",
  ],
  [
    ['x', '--mirror', 'a.img', 'b.img', '--log', 'disk='],
    2,
    'log "disk=": expected disk=PATH, of a file or a block device',
  ],
  [
    ['x', '--mirror', 'a.img', 'b.img', '--log', 'paper'],
    2,
    'log "paper": expected native, core or disk=PATH',
  ],
  [
    ['x', '--mirror', 'a.img', 'b.img', '--read-policy', 'prefer=2'],
    2,
    'read policy prefer=2: the legs are 0 to 1',
  ],
  [['x/y', '--mirror', 'a.img', 'b.img'], 2, 'device name "x/y": a name must not contain "/"'],
  [['', '--mirror', 'a.img', 'b.img'], 2, 'a device name must not be empty'],
  [
    ['--mirror', 'a.img', 'b.img', '--', '-x'],
    2,
    'device name "-x": a name must not begin with "-"',
  ],
  [
    ['y'.repeat(128), '--mirror', 'a.img', 'b.img'],
    2,
    'device name of 128 bytes: at most 127 are allowed',
  ],
  [['x'], 2, 'say what to make: either --mirror LEG LEG... or --table TABLE'],
  [
    ['x', '--table', '0 8 zero', '--mirror', 'a.img', 'b.img'],
    2,
    'say what to make: either --mirror LEG LEG... or --table TABLE',
  ],
  [
    ['x', '--table', ''],
    1,
    'the table is empty, at least one line START LEN TARGET ARGS... is wanted',
  ],
  [
    ['x', '--table', '0 8 raid5 a.img'],
    1,
    'table line 1: unknown target "raid5", known are delay, dust, error, flakey, linear, mirror, striped, zero',
  ],
  [
    ['x', '--table', '0 8 zero\n16 8 zero'],
    1,
    'table line 2: a gap before sector 16: the target before ends at 8',
  ],
  [
    ['x', '--table', '0 4096 linear a.img 0'],
    1,
    'table line 1: F/a.img has 2048 sectors, too small for 4096 sectors from 0 on',
  ],
  [['x', '--table', '0 8 linear no.img 0'], 4, 'leg F/no.img does not exist'],
  [
    ['x', '--table', '0 2048 mirror core 1 1024 2 a.img 0 link.img 0'],
    1,
    'leg F/a.img and F/link.img are the same file',
  ],
  [
    ['x', '--table', '0 8 zero\n8 1024 mirror core 1 1024 2 a.img 0 b.img 0'],
    1,
    'a mirror must be the only target of its table',
  ],
];

describe('dmio create', () => {
  it(
    'refuses every bad input in one line, and changes nothing',
    async () => {
      makeBadLegs();
      const daemon = await startDaemon(place.folder);
      const before = snapshot(place.folder);
      // All at once: who changed a message sees every row that has it.
      const got = CREATES.map(([args]) => [args, dmio(place.folder, 'create', ...args)]);
      const wanted = CREATES.map(([args, code, message]) => [
        args,
        { code, stdout: '', stderr: lineOf('dmio', message) },
      ]);
      expect(got).toEqual(wanted);
      expect(snapshot(place.folder)).toEqual(before);
      expect(JSON.parse(dmio(place.folder, '--json', 'ls').stdout)).toEqual({ devices: [] });
      // Nothing of all that is still held.
      expect(dmio(place.folder, 'create', 'x', '--mirror', 'a.img', 'b.img').code).toBe(0);
      expect(await daemon.stop()).toBe(0);
    },
    SLOW,
  );

  it(
    'refuses what is in use: a name, a leg of this daemon, a leg of another',
    async () => {
      await startDaemon(place.folder);
      expect(dmio(place.folder, 'create', 'x', '--mirror', 'a.img', 'b.img').code).toBe(0);
      expect(dmio(place.folder, 'wait', 'x', '--in-sync').code).toBe(0);
      const before = snapshot(place.folder);
      expectLine(
        dmio(place.folder, 'create', 'x', '--table', '0 8 zero'),
        5,
        'dmio',
        'device x exists already',
      );
      expectLine(
        dmio(place.folder, 'create', 'y', '--mirror', 'new.img', 'a.img', '--size', '1M'),
        5,
        'dmio',
        'leg F/a.img is already open in this process',
      );
      expectLine(
        run(
          place.folder,
          process.execPath,
          ...serveArgs('--mirror', 'a.img', 'c.img', '--size', '1M', '--create'),
        ),
        5,
        'dmio',
        'leg F/a.img is in use: another process holds its lock',
      );
      expect(snapshot(place.folder)).toEqual(before);
    },
    SLOW,
  );
});

function serveArgs(...args: readonly string[]): string[] {
  return [join(import.meta.dirname, '../../cli/main.js'), 'serve', '--socket', 's.sock', ...args];
}

describe('dmio serve', () => {
  it.each([
    [['--mirror', 'a.img', 'no.img'], 4, 'leg F/no.img does not exist; --create --size S makes it'],
    [['--mirror', 'a.img', 'a.img'], 1, 'leg F/a.img is named twice'],
    [
      ['--mirror', 'a.img', 'new.img', '--create', '--size', '2M'],
      1,
      'leg F/a.img has 1048576 bytes, too small for a device of 2097152 bytes',
    ],
    [
      ['--linear', 'a.img', '--table', '0 8 zero'],
      2,
      'a device is one of: a mirror, a linear leg, a table',
    ],
    [[], 2, 'a device is one of: a mirror, a linear leg, a table'],
    [['--linear', 'a.img', '--port', '1'], 2, 'say where: one of --socket PATH, --port P, --stdio'],
    [['--linear', 'a.img', '--bind', '::1'], 2, '--bind goes with --port'],
    [
      ['--linear', '--read-only'],
      2,
      "option '--linear <LEG>' argument '--read-only' is invalid. A leg that begins with - is written ./--read-only.",
    ],
    [
      ['--linear', 'a.img', '--engine', 'warp'],
      2,
      'engine warp: expected one of auto, uring, node',
    ],
    [['--linear', 'a.img', '--name', 'a/b'], 2, 'device name "a/b": a name must not contain "/"'],
  ])(
    '%j',
    (args, code, message) => {
      const before = snapshot(place.folder);
      expectLine(run(place.folder, process.execPath, ...serveArgs(...args)), code, 'dmio', message);
      expect(snapshot(place.folder)).toEqual(before);
    },
    SLOW,
  );

  it(
    'refuses to speak NBD on what is no socket and no pipe',
    () => {
      const cli = join(import.meta.dirname, '../../cli/main.js');
      const serve = [process.execPath, cli, 'serve', '--linear', 'a.img', '--stdio'];
      const ran = run(place.folder, 'sh', '-c', '"$@" </dev/null', 'sh', ...serve);
      const message = '--stdio: stdin is no socket and no pipe; who starts it must give it one';
      expectLine(ran, 2, 'dmio', message);
    },
    SLOW,
  );

  it(
    'refuses a port in use, and takes back the legs it made',
    async () => {
      const server = await new Promise<Server>((ready) => {
        const made = createServer().listen(0, '127.0.0.1', () => ready(made));
      });
      const { port } = server.address() as AddressInfo;
      const before = snapshot(place.folder);
      const args = ['--mirror', 'new1.img', 'new2.img', '--create', '--size', '1M'];
      const cli = join(import.meta.dirname, '../../cli/main.js');
      const ran = run(
        place.folder,
        process.execPath,
        cli,
        'serve',
        '--port',
        String(port),
        ...args,
      );
      expect(ran.stderr).toMatch(new RegExp(`^dmio: [^\\n]*${port}[^\\n]*in use[^\\n]*\\n$`));
      expect(ran.code).toBe(1);
      expect(snapshot(place.folder)).toEqual(before);
      server.close();
    },
    SLOW,
  );

  it(
    'refuses a leg that is no copy of the first, and takes legs that are',
    async () => {
      sparse('fs1.img', 4 * MIB);
      run(place.folder, 'mke2fs', '-q', '-F', 'fs1.img');
      run(place.folder, 'cp', 'fs1.img', 'fs2.img');
      sparse('zero.img', 4 * MIB);
      expectLine(
        run(place.folder, process.execPath, ...serveArgs('--mirror', 'zero.img', 'fs1.img')),
        5,
        'dmio',
        'leg F/fs1.img carries an ext2/3/4 file system; the first leg would be copied over it; --create does that',
      );
      const serve = await startServe(
        place.folder,
        '--socket',
        's.sock',
        '--mirror',
        'fs1.img',
        'fs2.img',
      );
      expect(await serve.stop()).toBe(0);
    },
    SLOW,
  );
});

describe('dmiod', () => {
  it(
    'refuses the control socket and the state directory of a live daemon',
    async () => {
      await startDaemon(place.folder);
      const second = ['--listen', 'unix:n2.sock'];
      expectLine(
        dmiod(place.folder, ...second, '--control', 'control.sock', '--state-dir', 's2'),
        1,
        'dmiod',
        'control socket F/control.sock: a live daemon is listening there',
      );
      expectLine(
        dmiod(place.folder, ...second, '--control', 'c2.sock', '--state-dir', 'state'),
        1,
        'dmiod',
        'state directory F/state: another daemon uses it',
      );
      expectLine(
        dmiod(place.folder, '--control', 'a.img', '--state-dir', 's2', '--listen', 'unix:n2.sock'),
        1,
        'dmiod',
        'control socket F/a.img: a file that is no socket is in the way',
      );
      expect(dmio(place.folder, 'ls').code).toBe(0);
    },
    SLOW,
  );

  it(
    'refuses places where nothing can be made',
    () => {
      for (const [args, message] of [
        [
          ['--listen', 'unix:/proc/x/n.sock'],
          'NBD socket /proc/x/n.sock: no such file or directory',
        ],
        [['--state-dir', '/proc/x/y'], 'state directory /proc/x/y: no such file or directory'],
        [['--control', 'a.img/c.sock'], 'control socket F/a.img/c.sock: not a directory'],
        [
          ['--control', `/tmp/${'x'.repeat(103)}`],
          `control socket /tmp/${'x'.repeat(103)}: socket path of 108 bytes: at most 107 are allowed`,
        ],
      ] as const) {
        const places = ['--control', 'c.sock', '--state-dir', 'state', '--log-level', 'silent'];
        expectLine(dmiod(place.folder, ...places, ...args), 1, 'dmiod', message);
      }
    },
    SLOW,
  );

  it(
    'refuses unknown config keys and bad values with file, line, key and what is allowed',
    () => {
      writeFileSync(
        join(place.folder, 'bad.toml'),
        'engine = "auto"\n\nlisten = ["unix:x"]\ncolour = "red"\n',
      );
      for (const more of [[], ['--check-config']]) {
        expectLine(
          dmiod(place.folder, '--config', 'bad.toml', ...more),
          1,
          'dmiod',
          'bad.toml:4: key "colour": unknown key (allowed: control, state-dir, listen, metrics, engine, log-level, auto-re-add, re-add-delay, [hooks], allow-plain-tcp, allow, allow-read, [tls], [limits], [device.NAME])',
        );
      }
      writeFileSync(join(place.folder, 'good.toml'), 'engine = "auto"\n');
      const good = dmiod(place.folder, '--config', 'good.toml', '--check-config');
      expect(good).toEqual({ code: 0, stdout: 'OK\n', stderr: '' });
    },
    SLOW,
  );

  it.each([
    [['--bogus'], "unknown option '--bogus'"],
    [['extra'], 'too many arguments. Expected 0 arguments but got 1.'],
    [
      ['--listen', 'x'],
      "option '--listen <ADDRESS>' argument 'x' is invalid. Expected unix:PATH or tcp:HOST:PORT.",
    ],
    [
      ['--engine', 'warp'],
      "option '--engine <E>' argument 'warp' is invalid. Expected one of auto, uring, node.",
    ],
  ])(
    '%j',
    (args, message) => {
      expectLine(dmiod(place.folder, ...args), 2, 'dmiod', message);
    },
    SLOW,
  );
});

describe('dmio without a daemon', () => {
  it(
    'exits 3',
    () => {
      expectLine(
        dmio(place.folder, 'ls'),
        3,
        'dmio',
        'no daemon on control.sock: no such socket (is dmiod running? is --control right?)',
      );
    },
    SLOW,
  );

  it.each([
    [['nosuch'], "unknown command 'nosuch'"],
    [['ls', '--nosuch'], "unknown option '--nosuch'"],
    [['remove'], "missing required argument 'NAME'"],
    [['wait', 'x'], 'say what to wait for: either --in-sync or --event N'],
    [['leg', 'fail', 'x'], "missing required argument 'LEG'"],
  ])(
    '%j exits 2',
    (args, message) => {
      expectLine(dmio(place.folder, ...args), 2, 'dmio', message);
    },
    SLOW,
  );
});
