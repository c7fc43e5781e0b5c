import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

import { loadConfig, NO_CONFIG, parseConfig } from '../../../daemon/config/load.ts';
import { RULE_FORMAT } from '../../../daemon/net/access.ts';
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
auto-re-add = false
re-add-delay = 2.5

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
      'auto-re-add': false,
      're-add-delay': 2.5,
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
const KEYS =
  'control, state-dir, listen, metrics, engine, log-level, auto-re-add, re-add-delay, [hooks], allow-plain-tcp, allow, allow-read, [tls], [limits], [device.NAME]';
const DEVICE_KEYS =
  'mirror, linear, table, size, log, region-size, metadata, read-policy, cache, leg-timeout, read-only, assume-clean, tls, allow, allow-read';
const SIZES = 'a size such as 4096, 64KiB, 64K, 1GiB, 1G or 8s (sectors)';

// text, line, the rest of the message
const BAD: readonly (readonly [string, number, string])[] = [
  ['control = ', 1, 'not TOML: unspecified values are invalid'],
  ['[tls]\nmode = "on"', 2, 'key "tls.mode": expected one of off, selective, required'],
  ['[tls]\nmode = "required"', 1, 'key "tls": expected certificates = FOLDER or psk-file = FILE'],
  [
    '[tls]\nmode = "off"\ncert = 1',
    3,
    'key "tls.cert": unknown key (allowed: mode, certificates, psk-file, verify-clients, plain-unix)',
  ],
  [
    '\nlisten = ["tcp:127.0.0.1:1", "tcp:0.0.0.0:2"]',
    2,
    'key "listen.1": 0.0.0.0 is reachable from other machines, and TLS is not required: require it, ' +
      'or say allow-plain-tcp (config: allow-plain-tcp = true; command line: --allow-plain-tcp)',
  ],
  ['allow = ["gid:1", "user:x"]', 1, `key "allow.1": expected ${RULE_FORMAT}`],
  [
    '[limits]\nconnections = 0',
    2,
    'key "limits.connections": expected a whole number from 1 to 4096',
  ],
  [
    '[device.a]\nlinear = "x"\ntls = "required"',
    3,
    'key "device.a.tls": TLS is off: say mode = "selective" or "required" in [tls]',
  ],
  ['engine = "auto"\nengine = "node"', 2, 'not TOML: defining a key multiple times is invalid'],
  ['control = "/x"\n\nmirror = 1', 3, `key "mirror": unknown key (allowed: ${KEYS})`],
  ['metric = "localhost:9000"', 1, `key "metric": unknown key (allowed: ${KEYS})`],
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
  [
    '[device.x]\nlinear = "/a"\ncache = "writethrough"',
    3,
    'key "device.x.cache": expected none, writeback, LEG=none or LEG=writeback, or an array of these',
  ],
  [
    '[device.x]\nlinear = "/a"\ncache = ["none", "/b=writeback"]',
    3,
    'key "device.x.cache": cache /b=writeback: the device has no leg /b',
  ],
  ['engine = "x"', 1, 'key "engine": expected one of auto, uring, node'],
  [
    'log-level = "loud"',
    1,
    'key "log-level": expected one of trace, debug, info, warn, error, fatal, silent',
  ],
  ['re-add-delay = 0', 1, 'key "re-add-delay": expected seconds, 0.1 to 86400'],
  ['re-add-delay = "1 s"', 1, 'key "re-add-delay": expected seconds, 0.1 to 86400'],
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
    'key "device.x.table": table line 2: unknown target "nope", known are delay, dust, error, flakey, linear, mirror, striped, zero',
  ],
  [
    '[device.x]\nmirror = ["/a", "/b"]\nlog = "paper"',
    3,
    'key "device.x.log": expected "native", "core" or "disk=PATH"',
  ],
  [
    '[device.x]\nmirror = ["/a", "/b"]\nlog = "native"\nmetadata = "external:here"',
    4,
    'key "device.x.metadata": expected "internal" or "external:/DIR"',
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

describe('hooks', () => {
  it('are a program with its whole path, kinds of events, a time-out', () => {
    const text = '[hooks]\nrun = ["/bin/told", "x"]\nevents = ["leg-failed"]\ntimeout = 5';
    expect(parseConfig('x.toml', text).hooks).toEqual({
      run: ['/bin/told', 'x'],
      events: ['leg-failed'],
      timeout: 5,
    });
  });

  it.each([
    ['run = []', 'x.toml:2: key "hooks.run": expected a program and its arguments'],
    ['run = ["told"]', 'x.toml:2: key "hooks.run": the program is wanted with its whole path'],
    ['run = ["/x"]\ntimeout = 0', 'x.toml:3: key "hooks.timeout": expected 1 to 3600 seconds'],
    [
      'run = ["/x"]\nwhen = 1',
      'x.toml:3: key "hooks.when": unknown key (allowed: run, events, timeout)',
    ],
  ])('refuse %s', (text, message) => {
    expect(() => parseConfig('x.toml', `[hooks]\n${text}`)).toThrow(message);
  });

  it('know the kinds of events', () => {
    const text = '[hooks]\nrun = ["/x"]\nevents = ["leg-lost"]';
    expect(() => parseConfig('x.toml', text)).toThrow(/x\.toml:3: .*expected one of leg-failed,/);
  });
});
