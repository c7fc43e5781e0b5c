import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

import { loadConfig, NO_CONFIG, parseConfig } from '../../../daemon/config/load.ts';
import { tempDirectory } from '../../support/temp.ts';

const FILE = '/etc/dmiod/dmiod.toml';

describe('a config file', () => {
  it('is read whole, its relative paths against its own folder', () => {
    const text = `
control = "/run/x/control.sock"
state-dir = "state"
listen = ["unix:nbd.sock", "tcp:127.0.0.1:10809", "tcp:[::1]:0"]
engine = "auto"
log-level = "debug"

[device.data]
mirror = ["/srv/a.img", "b.img"]
size = "1GiB"
region-size = "64K"
read-policy = "prefer=1"
log = "core"
assume-clean = true

[device."one leg"]
linear = "c.img"
read-only = true

[device.raw]
table = """
0 8 zero
8 8 error
"""
`;
    expect(parseConfig(FILE, text)).toEqual({
      control: '/run/x/control.sock',
      'state-dir': '/etc/dmiod/state',
      listen: [
        { kind: 'unix', path: '/etc/dmiod/nbd.sock' },
        { kind: 'tcp', host: '127.0.0.1', port: 10809 },
        { kind: 'tcp', host: '::1', port: 0 },
      ],
      engine: 'auto',
      'log-level': 'debug',
      device: {
        data: {
          mirror: ['/srv/a.img', '/etc/dmiod/b.img'],
          size: 2 ** 30,
          'region-size': 65536,
          'read-policy': 'prefer=1',
          log: 'core',
          'assume-clean': true,
        },
        'one leg': { linear: '/etc/dmiod/c.img', 'read-only': true },
        raw: { table: '0 8 zero\n8 8 error\n' },
      },
    });
  });

  it('may be empty', () => {
    expect(parseConfig(FILE, '')).toEqual(NO_CONFIG);
    expect(parseConfig(FILE, '# nothing\n')).toEqual(NO_CONFIG);
  });
});

const LISTEN = 'unix:PATH or tcp:HOST:PORT';
const KEYS = 'control, state-dir, listen, engine, log-level, [hooks], [device.NAME]';
const DEVICE_KEYS =
  'mirror, linear, table, size, log, region-size, read-policy, read-only, assume-clean';
const SIZES = 'a size such as 4096, 64KiB, 64K, 1GiB, 1G or 8s (sectors)';

// text, line, the rest of the message
const BAD: readonly (readonly [string, number, string])[] = [
  ['control = ', 1, 'not TOML: unspecified values are invalid'],
  ['engine = "auto"\nengine = "node"', 2, 'not TOML: defining a key multiple times is invalid'],
  ['control = "/x"\n\nmirror = 1', 3, `key "mirror": unknown key (allowed: ${KEYS})`],
  ['metrics = "localhost:9000"', 1, `key "metrics": unknown key (allowed: ${KEYS})`],
  ['[devices.x]', 1, `key "devices": unknown key (allowed: ${KEYS})`],
  ['control = 5', 1, 'key "control": expected a path, as a string'],
  ['control = ""', 1, 'key "control": a path must not be empty'],
  [
    `control = "/${'x'.repeat(107)}"`,
    1,
    'key "control": socket path of 108 bytes: at most 107 are allowed',
  ],
  ['listen = "unix:/x"', 1, `key "listen": expected an array of ${LISTEN}`],
  ['listen = []', 1, 'key "listen": expected at least one address'],
  ['listen = [\n "unix:/x",\n "udp:1"]', 3, `key "listen.1": "udp:1": expected ${LISTEN}`],
  ['listen = ["tcp:h:70000"]', 1, `key "listen.0": "tcp:h:70000": expected ${LISTEN}`],
  ['engine = "warp"', 1, 'key "engine": expected one of auto, uring, node'],
  ['engine = "x"', 1, 'key "engine": expected one of auto, uring, node'],
  [
    'log-level = "loud"',
    1,
    'key "log-level": expected one of trace, debug, info, warn, error, fatal, silent',
  ],
  ['device = 1', 1, 'key "device": expected tables: [device.NAME]'],
  ['[device]\nx = 1', 2, 'key "device.x": expected a table: [device.NAME]'],
  [
    '[device."a/b"]\nlinear = "/x"',
    1,
    'key "device.a/b": device name "a/b": a name must not contain "/"',
  ],
  [
    '[device.x]\nmirror = ["/a", "/b"]\nmirorr = 1',
    3,
    `key "device.x.mirorr": unknown key (allowed: ${DEVICE_KEYS})`,
  ],
  ['[device.x]', 1, 'key "device.x": expected exactly one of mirror, linear, table; found none'],
  [
    '[device.x]\nlinear = "/a"\ntable = "0 1 zero"',
    1,
    'key "device.x": expected exactly one of mirror, linear, table; found linear and table',
  ],
  ['[device.x]\nmirror = "/a"', 2, 'key "device.x.mirror": expected an array of legs'],
  ['[device.x]\nmirror = ["/a",\n  7]', 3, 'key "device.x.mirror.1": expected a path, as a string'],
  ['[device.x]\nlinear = "/a"\nsize = "12Q"', 3, `key "device.x.size": expected ${SIZES}`],
  [
    '[device.x]\nlinear = "/a"\nsize = 1000',
    3,
    'key "device.x.size": expected a multiple of 512 bytes above 0',
  ],
  ['[device.x]\nlinear = "/a"\nsize = 1.5', 3, `key "device.x.size": expected ${SIZES}`],
  [
    '[device.x]\nmirror = ["/a", "/b"]\nregion-size = "3K"',
    3,
    'key "device.x.region-size": expected a power of two of at least 1024 bytes',
  ],
  [
    '[device.x]\nmirror = ["/a", "/b"]\nregion-size = 512',
    3,
    'key "device.x.region-size": expected a power of two of at least 1024 bytes',
  ],
  ['[device.x]\nmirror = ["/a"]', 2, 'key "device.x.mirror": a mirror has 2 to 64 legs; 1 given'],
  ['[device.x]\nmirror = ["/a", "/a"]', 2, 'key "device.x.mirror": leg "/a" is named twice'],
  [
    '[device.x]\nmirror = ["/a", "/b"]\nread-policy = "prefer=2"',
    3,
    'key "device.x.read-policy": the legs are 0 to 1',
  ],
  [
    '[device.x]\ntable = "0 8 zero\\n8 8 nope"',
    2,
    'key "device.x.table": table line 2: unknown target "nope", known are error, linear, mirror, zero',
  ],
  [
    '[device.x]\nmirror = ["/a", "/b"]\nlog = "native"',
    3,
    'key "device.x.log": expected "core": there is no other log yet',
  ],
  [
    '[device.x]\nmirror = ["/a", "/b"]\nread-policy = "fast"',
    3,
    'key "device.x.read-policy": expected least-pending, round-robin or prefer=N (leg number N)',
  ],
  [
    '[device.x]\nmirror = ["/a", "/b"]\nread-only = "no"',
    3,
    'key "device.x.read-only": expected true or false',
  ],
  [
    '[device.x]\nlinear = "/a"\nassume-clean = true',
    3,
    'key "device.x.assume-clean": only a mirror has it',
  ],
  [
    '[device.x]\ntable = "0 1 zero"\nsize = 512',
    3,
    'key "device.x.size": a table says its own size',
  ],
  ['bad1 = 1\nbad2 = 2\nengine = "x"', 1, `key "bad1": unknown key (allowed: ${KEYS})`],
];

describe('a bad config file', () => {
  const folder = tempDirectory();

  it.each(BAD)('%j', (text, line, message) => {
    expect(() => parseConfig('x.toml', text)).toThrow(
      expect.objectContaining({
        code: 'bad-config',
        exit: 1,
        message: `x.toml:${line}: ${message}`,
      }) as Error,
    );
  });

  it('that is named must be there; the default need not', () => {
    expect(() => loadConfig(join(folder, 'none.toml'))).toThrow(
      `${folder}/none.toml: no such file or directory`,
    );
    mkdirSync(join(folder, 'd.toml'));
    expect(() => loadConfig(join(folder, 'd.toml'))).toThrow(`${folder}/d.toml: is a directory`);
    writeFileSync(join(folder, 'ok.toml'), 'engine = "node"\n');
    expect(loadConfig(join(folder, 'ok.toml'))).toEqual({ engine: 'node', device: {} });
  });
});
