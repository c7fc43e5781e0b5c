// The clients people use, unmodified, against the server on a memory device.
import { randomBytes } from 'node:crypto';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

import { Export } from '../../core/export/export.ts';
import { ExportTable } from '../../core/export/export-table.ts';
import { uriOf, type ListenAddress } from '../../daemon/net/address.ts';
import { NbdServer } from '../../daemon/net/server.ts';
import { createNodeLoop } from '../../daemon/node-loop.ts';
import { MemoryDevice } from '../support/memory-device.ts';
import { ROOT } from '../support/root.ts';
import { runWell } from '../support/run.ts';
import { tempDirectory } from '../support/temp.ts';

const SIZE = 64 * 2 ** 20;
/** A tool moves some hundred megabytes; on a busy machine that takes a while. */
const TOOL_MS = 120_000;

const dir = tempDirectory();
const loop = createNodeLoop();
const table = new ExportTable();
const server = new NbdServer({ exports: table, loop });
const disk = new MemoryDevice({ loop, sectors: SIZE / 512, name: 'disk' });
const coarse = new MemoryDevice({
  loop,
  sectors: SIZE / 512,
  name: 'coarse',
  limits: {
    logicalBlockSize: 4096,
    maxWriteZeroesSectors: 0,
    maxDiscardSectors: 0,
    maxSectors: 256,
  },
});
const small = new MemoryDevice({ loop, sectors: 2048, limits: { readOnly: true } });
let unix: ListenAddress;
let tcp: ListenAddress;

beforeAll(async () => {
  table.add(new Export({ name: 'disk', device: disk, description: 'one disk' }));
  table.add(new Export({ name: 'coarse', device: coarse }));
  table.add(new Export({ name: 'ro/é', device: small }));
  unix = await server.listen({ kind: 'unix', path: join(dir, 's') });
  tcp = await server.listen({ kind: 'tcp', host: '127.0.0.1', port: 0 });
});
afterAll(async () => {
  await server.close();
  expect(server.arenaUsedBytes).toBe(0);
});

const over = { 'a unix socket': () => unix, TCP: () => tcp };
const transports = Object.keys(over) as (keyof typeof over)[];
const exportsWithBlocks = ['disk', 'coarse'];

/** Python on libnbd; `h` is connected unless the code says otherwise. Prints what the test expects. */
async function nbdsh(code: string, args: readonly string[] = []): Promise<string> {
  return (await runWell('nbdsh', [...args, '-c', code])).trim();
}

describe.each(transports)('over %s', (transport) => {
  const uri = (name: string): string => uriOf(over[transport](), name);

  it(
    'nbdinfo sees what is exported',
    async () => {
      const info = JSON.parse(await runWell('nbdinfo', ['--json', uri('disk')])) as {
        exports: readonly Record<string, unknown>[];
      };
      expect(info.exports[0]).toMatchObject({
        'export-name': 'disk',
        description: 'one disk',
        'export-size': SIZE,
        is_read_only: false,
        can_flush: true,
        can_fua: true,
        can_multi_conn: true,
        can_trim: true,
        can_zero: true,
        can_df: true,
        can_cache: true,
        can_fast_zero: true,
        block_size_minimum: 1,
        block_size_preferred: 4096,
        block_size_maximum: 2 ** 25,
      });
      expect((await runWell('nbdinfo', ['--size', uri('ro/é')])).trim()).toBe('1048576');
      await runWell('nbdinfo', ['--is', 'readonly', uri('ro/é')]);
      const list = JSON.parse(
        await runWell('nbdinfo', ['--list', '--json', uri('')]),
      ) as typeof info;
      expect(list.exports.map((one) => one['export-name'])).toEqual(['disk', 'coarse', 'ro/é']);
    },
    TOOL_MS,
  );

  it.each(exportsWithBlocks)(
    'nbdcopy copies in and out of %s',
    async (name) => {
      const [there, back] = [join(dir, 'there'), join(dir, 'back')];
      const bytes = randomBytes(SIZE);
      bytes.fill(0, 2 ** 20, 8 * 2 ** 20); // a hole for it to find
      writeFileSync(there, bytes);
      await runWell('nbdcopy', ['--flush', there, uri(name)]);
      await runWell('nbdcopy', ['--connections=4', '--requests=64', uri(name), back]);
      expect(readFileSync(back).equals(bytes)).toBe(true);
    },
    TOOL_MS,
  );

  it.each(exportsWithBlocks)(
    'qemu-img works on %s',
    async (name) => {
      const raw = join(dir, 'raw');
      writeFileSync(raw, randomBytes(SIZE));
      expect(await runWell('qemu-img', ['info', uri(name)])).toContain('64 MiB');
      await runWell('qemu-img', ['convert', '-n', '-f', 'raw', '-O', 'raw', '-W', raw, uri(name)]);
      const compared = await runWell('qemu-img', [
        'compare',
        '-f',
        'raw',
        '-F',
        'raw',
        raw,
        uri(name),
      ]);
      expect(compared).toContain('identical');
      await runWell('qemu-img', ['bench', '-f', 'raw', '-c', '2000', '-d', '64', uri(name)]);
      await runWell('qemu-img', [
        'bench',
        '-w',
        '-f',
        'raw',
        '-c',
        '2000',
        '--pattern=7',
        uri(name),
      ]);
    },
    TOOL_MS,
  );

  it.each(exportsWithBlocks)(
    'qemu-io verifies patterns on %s, unaligned too',
    async (name) => {
      const commands = [
        'write -P 0x11 0 1M',
        'write -P 0x22 1000 3000',
        'write -f -P 0x33 4095 2',
        'write -z 70000 100000',
        'write -z -u 300000 8192',
        'discard 512K 64K',
        'flush',
        'read -P 0x11 0 1000',
        'read -P 0x22 1000 3000',
        'read -P 0x11 4000 95',
        'read -P 0x33 4095 2',
        'read -P 0x11 4097 1000',
        'read -P 0 70000 100000',
        'read -P 0x11 170000 130000',
        'read -P 0 300000 8192',
      ];
      const args = commands.flatMap((command) => ['-c', command]);
      expect(await runWell('qemu-io', ['-f', 'raw', ...args, uri(name)])).not.toContain('failed');
    },
    TOOL_MS,
  );

  it.each(exportsWithBlocks)(
    'fio verifies %s at depth 16 over 4 connections',
    async (name) => {
      const args = [
        '--ioengine=nbd',
        `--uri=${uri(name)}`,
        '--rw=randwrite',
        '--bs=4k',
        '--iodepth=16',
      ];
      const layout = ['--numjobs=4', '--thread', '--size=8m', '--offset_increment=8m'];
      const verify = ['--verify=crc32c', '--verify_fatal=1', '--group_reporting'];
      const said = await runWell('fio', ['--name=v', ...args, ...layout, ...verify]);
      expect(said).toMatch(/err= 0/);
      const ranges = ['--bsrange=1k-100k', '--bs_unaligned=1'];
      expect(await runWell('fio', ['--name=u', ...args, ...ranges, ...layout, ...verify])).toMatch(
        /err= 0/,
      );
    },
    TOOL_MS,
  );
});

describe('libnbd', () => {
  const uri = (name: string): string => uriOf(unix, name);

  it(
    'writes on A, flushes on B, reads on C',
    async () => {
      const code = `
u = "${uri('disk')}"
a, b, c = nbd.NBD(), nbd.NBD(), nbd.NBD()
for x in (a, b, c): x.connect_uri(u)
assert a.can_multi_conn()
for i in range(64):
  a.pwrite(bytes([i + 1]) * 3000, i * 3000)
  b.flush()
  assert c.pread(3000, i * 3000) == bytes([i + 1]) * 3000
print("coherent")`;
      expect(await nbdsh(code)).toBe('coherent');
    },
    TOOL_MS,
  );

  it(
    'gets the errno of every mistake, and stays connected',
    async () => {
      const code = `
import errno
def name(f, *args):
  try: f(*args); return "ok"
  except nbd.Error as e: return errno.errorcode[e.errnum]
h.set_strict_mode(0)
s = h.get_size()
print(name(h.pwrite, b"x" * 512, s - 511),
  name(h.pread, 512, s),
  name(h.trim, 512, s),
  name(h.zero, 512, s),
  name(h.pread, 33 * 2**20, 0),
  name(h.pwrite, b"x" * (33 * 2**20), 0),
  name(h.pwrite, b"", 0),
  name(h.cache, 512, 0),
  name(h.pread, 512, 0, 1 << 4),
  name(h.pwrite, b"x", 0, 1 << 15),
  name(h.pwrite, b"x" * 2**25, 1),
  chr(h.pread(1, 2**25)[0]))`;
      expect(await nbdsh(code, ['-u', uri('disk')])).toBe(
        'ENOSPC EINVAL EINVAL ENOSPC EINVAL EINVAL ok ok EINVAL EINVAL ok x',
      );
      const readOnly = `
h.set_strict_mode(0)
try: h.pwrite(b"x", 0)
except nbd.Error as e: print(e.errno)`;
      expect(await nbdsh(readOnly, ['-u', uri('ro/é')])).toBe('EPERM');
    },
    TOOL_MS,
  );

  it(
    'negotiates in every style',
    async () => {
      const code = `
def connect(flags, opt_mode=False):
  h = nbd.NBD()
  h.set_handshake_flags(flags)
  h.set_export_name("disk")
  h.set_opt_mode(opt_mode)
  h.connect_unix("${unixPath()}")
  return h
print([connect(flags).get_size() for flags in (0, 1, 3)])
h = connect(3, True)
found = []
h.opt_list(lambda name, description: found.append(name) or 0)
h.set_export_name("nope")
try: h.opt_info()
except nbd.Error as e: found.append(e.errno)
h.set_export_name("coarse")
h.opt_info()
found.append(h.get_size())
h.opt_go()
found.append(h.pread(1, 5))
h.shutdown()
print(found)
connect(3, True).opt_abort()
print("aborted")`;
      const [sizes, found, aborted] = (await nbdsh(code)).split('\n');
      expect(sizes).toBe(`[${SIZE}, ${SIZE}, ${SIZE}]`);
      expect(found).toContain("'disk', 'coarse', 'ro/é'");
      expect(found).toContain("'ENOENT'");
      expect(found).toContain(String(SIZE));
      expect(aborted).toBe('aborted');
    },
    TOOL_MS,
  );

  it(
    'gets its answers before DISC is obeyed',
    async () => {
      const code = `
bufs = [nbd.Buffer(2**18) for _ in range(100)]
cookies = [h.aio_pread(b, i * 2**18) for i, b in enumerate(bufs)]
h.aio_disconnect()
while not (h.aio_is_closed() or h.aio_is_dead()): h.poll(-1)
print(all(h.aio_command_completed(c) for c in cookies), h.aio_is_closed())`;
      expect(await nbdsh(code, ['-u', uri('disk')])).toBe('True True');
    },
    TOOL_MS,
  );

  it(
    'is served on stdin and stdout',
    async () => {
      const main = join(ROOT, 'dist/test/interop/stdio-server/main.js');
      const code = `
h.connect_command(["${process.execPath}", "${main}"])
h.pwrite(b"hello", 3)
print(h.get_size(), bytes(h.pread(5, 3)))
h.shutdown()`;
      expect(await nbdsh(code)).toBe("1048576 b'hello'");
    },
    TOOL_MS,
  );

  it(
    'is served on a socket it handed over',
    async () => {
      const main = join(ROOT, 'dist/test/interop/stdio-server/main.js');
      const code = `
h.connect_systemd_socket_activation(["${process.execPath}", "${main}"])
print(h.get_size(), bytes(h.pread(1, 0)))`;
      expect(await nbdsh(code)).toBe("1048576 b'\\x00'");
    },
    TOOL_MS,
  );

  function unixPath(): string {
    return join(dir, 's');
  }
});
