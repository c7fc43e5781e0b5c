// libnbd's tools: nbdinfo, nbdsh, nbdcopy.
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';

import { DMIO, DMIOD } from '../../support/running.ts';
import type { Column } from './cell.ts';
import { MIB, ODD, SIZE, type TableServer } from './server.ts';

const ERRNO = `import errno
def name(f, *args):
  try: f(*args); return "ok"
  except nbd.Error as e: return errno.errorcode[e.errnum]
`;

/** nbdsh, connected to `uri`. */
async function nbdsh(server: TableServer, uri: string, code: string): Promise<string> {
  const connect = `h.set_uri_allow_local_file(True)\nh.add_meta_context("base:allocation")\nh.connect_uri("${uri}")\n`;
  return (await server.sh('nbdsh', '-c', ERRNO + connect + code)).trim();
}

async function info(server: TableServer, uri: string): Promise<Record<string, unknown>> {
  const text = await server.sh('nbdinfo', '--json', uri);
  return (JSON.parse(text) as { exports: Record<string, unknown>[] }).exports[0] ?? {};
}

const mapOf = (text: string): string[] =>
  text
    .trim()
    .split('\n')
    .map((line) => line.trim().split(/\s+/).slice(0, 3).join(' '));

export const LIBNBD: Column = {
  'GO with INFO_EXPORT': async (server) => {
    expect(await info(server, server.uri())).toMatchObject({
      'export-name': 'disk',
      'export-size': SIZE,
      is_read_only: false,
      can_flush: true,
      can_fua: true,
    });
  },
  EXPORT_NAME: async (server) => {
    const sizes = `def size(flags):
  h = nbd.NBD(); h.set_handshake_flags(flags); h.set_export_name("disk"); h.connect_unix("${server.socket}")
  return (h.get_size(), len(h.pread(7, 5)))
print(size(0), size(2))`;
    expect((await server.sh('nbdsh', '-c', sizes)).trim()).toBe(`(${SIZE}, 7) (${SIZE}, 7)`);
  },
  LIST: async (server) => {
    const { exports } = JSON.parse(
      await server.sh('nbdinfo', '--list', '--json', server.uri()),
    ) as {
      exports: { 'export-name': string }[];
    };
    // What is for TLS only is not shown in the clear.
    const names = exports.map((one) => one['export-name']).sort();
    expect(names).toEqual(['disk', 'grow', 'ro', ODD].sort());
  },
  'a name with spaces, umlauts, a symbol': async (server) => {
    expect(await info(server, server.uri(ODD))).toMatchObject({
      'export-name': ODD,
      'export-size': MIB,
    });
  },
  'a name nobody has, of 4096 bytes too': async (server) => {
    const code = `def go(n):
  h = nbd.NBD(); h.set_opt_mode(True); h.connect_unix("${server.socket}")
  h.set_export_name(n)
  said = name(h.opt_info)
  h.set_export_name("disk"); h.opt_go()
  return (said, h.get_size())
print(go("nobody"), go("é" * 2048), go("a/b c"))`;
    expect((await server.sh('nbdsh', '-c', ERRNO + code)).trim()).toBe(
      `('ENOENT', ${SIZE}) ('ENOENT', ${SIZE}) ('ENOENT', ${SIZE})`,
    );
  },
  'unix socket and TCP': async (server) => {
    for (const uri of [server.uri(), server.tcp()]) {
      expect((await server.sh('nbdinfo', '--size', uri)).trim()).toBe(String(SIZE));
    }
  },
  BLOCK_SIZE: async (server) => {
    expect(await info(server, server.uri())).toMatchObject({
      block_size_minimum: 1,
      block_size_preferred: 4096,
      block_size_maximum: 32 * MIB,
    });
  },
  'single bytes, anywhere': async (server) => {
    const code = `for i in range(300): h.pwrite(bytes([i % 251 + 1]), 5000 + 3 * i)
got = h.pread(900, 5000)
print(all(got[3 * i] == i % 251 + 1 for i in range(300)), set(got[1::3]) | set(got[2::3]))`;
    await server.clear();
    expect(await nbdsh(server, server.uri(), code)).toBe('True {0}');
  },
  '32 MiB in one request': async (server) => {
    const code = 'h.pwrite(b"x" * 2**25, 1)\nprint(h.pread(2**25, 1) == b"x" * 2**25)';
    expect(await nbdsh(server, server.uri(), code)).toBe('True');
  },
  'many requests in flight': async (server) => {
    await server.striped();
    await server.sh('nbdcopy', '--requests=256', server.uri(), 'copy');
    expect(await server.sh('cmp', 'copy', 'a.img')).toBe('');
  },
  'several connections (CAN_MULTI_CONN)': async (server) => {
    await server.sh('dd', 'if=/dev/urandom', 'of=random', 'bs=1M', 'count=64', 'status=none');
    await server.sh('nbdcopy', '--connections=8', '--flush', 'random', server.uri());
    expect(await info(server, server.uri())).toMatchObject({ can_multi_conn: true });
    for (const leg of ['a.img', 'b.img']) expect(await server.sh('cmp', 'random', leg)).toBe('');
    const code = `a, b, c = nbd.NBD(), nbd.NBD(), nbd.NBD()
for x in (a, b, c): x.connect_uri("${server.uri()}")
for i in range(32):
  a.pwrite(bytes([i + 1]) * 3000, i * 3000); b.flush()
  assert c.pread(3000, i * 3000) == bytes([i + 1]) * 3000
print("one view")`;
    expect(await nbdsh(server, server.uri(), code)).toBe('one view');
  },
  FLUSH: async (server) => {
    const before = server.done('flush');
    expect(await nbdsh(server, server.uri(), 'h.pwrite(b"x", 0); h.flush(); print("ok")')).toBe(
      'ok',
    );
    expect(server.done('flush')).toBe(before + 1);
  },
  FUA: async (server) => {
    const code = `h.set_strict_mode(0)
f = nbd.CMD_FLAG_FUA
print(name(h.pwrite, b"x" * 512, 0, f), name(h.zero, 512, 0, f), name(h.trim, 512, 0, f),
  name(h.pread, 512, 0, f), name(h.cache, 512, 0, f), name(h.flush, f))`;
    expect(await nbdsh(server, server.uri(), code)).toBe('ok ok ok ok ok ok');
  },
  TRIM: async (server) => {
    await server.striped();
    const code = `h.trim(${MIB}, ${MIB}); print(h.pread(${MIB}, ${MIB}) == bytes(${MIB}))`;
    expect(await nbdsh(server, server.uri(), code)).toBe('True');
    const map = mapOf(await server.sh('nbdinfo', '--map', server.uri()));
    expect(map[0]).toBe(`0 ${3 * MIB} 3`);
  },
  'WRITE_ZEROES, NO_HOLE': async (server) => {
    await server.striped();
    const code = `h.zero(${MIB}, ${MIB}); h.zero(${MIB}, ${3 * MIB}, nbd.CMD_FLAG_NO_HOLE)
print(h.pread(${4 * MIB}, 0) == bytes(${4 * MIB}))`;
    expect(await nbdsh(server, server.uri(), code)).toBe('True');
    const map = mapOf(await server.sh('nbdinfo', '--map', server.uri()));
    expect(map[0]?.startsWith('0 ') && map[0].endsWith(' 3')).toBe(true);
    // What must not be a hole has its blocks still, the other has none.
    expect(await server.kibibytes('a.img')).toBeGreaterThanOrEqual(1024);
    expect(await server.kibibytes('a.img')).toBeLessThan(2048);
  },
  FAST_ZERO: async (server) => {
    await server.striped();
    const code = `fast = nbd.CMD_FLAG_FAST_ZERO
print(h.can_fast_zero(), name(h.zero, ${MIB}, ${MIB}, fast), name(h.zero, 100, ${3 * MIB + 7}, fast))
print(h.pread(${MIB}, ${MIB}) == bytes(${MIB}), h.pread(200, ${3 * MIB}) == b"3" * 200)`;
    // Fast, or told at once that it is not, and then nothing is changed.
    expect(await nbdsh(server, server.uri(), code)).toBe('True ok ENOTSUP\nTrue True');
  },
  CACHE: async (server) => {
    const code = `print(h.can_cache(), name(h.cache, ${SIZE}, 0), name(h.cache, 3, 5))`;
    expect(await nbdsh(server, server.uri(), code)).toBe('True ok ok');
  },
  'structured replies, holes in READ': async (server) => {
    await server.striped();
    const code = `seen = []
h.pread_structured(${4 * MIB}, 0, lambda data, at, status, err: seen.append((at >> 20, len(data) >> 20, status)) or 0)
print(h.get_structured_replies_negotiated(), sorted(seen))`;
    expect(await nbdsh(server, server.uri(), code)).toBe(
      'True [(0, 1, 2), (1, 1, 1), (2, 1, 2), (3, 1, 1)]',
    );
  },
  DF: async (server) => {
    await server.striped();
    const code = `seen = []
h.pread_structured(${4 * MIB}, 0, lambda data, at, status, err: seen.append(len(data)) or 0, nbd.CMD_FLAG_DF)
print(h.can_df(), seen)`;
    expect(await nbdsh(server, server.uri(), code)).toBe(`True [${4 * MIB}]`);
  },
  'errors in words': async (server) => {
    const code = `h.set_debug(True); h.set_strict_mode(0)
words = []
h.set_debug_callback(lambda context, text: words.append(text) or 0)
print(name(h.pread, 512, ${SIZE}), name(h.pwrite, b"x", ${SIZE}))
print(any("past the end" in text for text in words))`;
    expect(await nbdsh(server, server.uri(), code)).toBe('EINVAL ENOSPC\nTrue');
  },
  'base:allocation': async (server) => {
    await server.striped();
    expect(mapOf(await server.sh('nbdinfo', '--map', server.uri()))).toEqual([
      `0 ${MIB} 3`,
      `${MIB} ${MIB} 0`,
      `${2 * MIB} ${MIB} 3`,
      `${3 * MIB} ${MIB} 0`,
      `${4 * MIB} ${SIZE - 4 * MIB} 3`,
    ]);
  },
  'x-dmiod:mirror': async (server) => {
    const lacking = async (): Promise<readonly (readonly [from: number, to: number])[]> =>
      mapOf(await server.sh('nbdinfo', '--map=x-dmiod:mirror', server.uri()))
        .map((line) => line.split(' ').map(Number) as [number, number, number])
        .filter(([, , flags]) => (flags & 2) !== 0)
        .map(([from, length]) => [from, from + length] as const);
    await nbdsh(server, server.uri(), 'h.flush()');
    server.dmio('leg', 'fail', 'disk', '1');
    await nbdsh(server, server.uri(), `h.pwrite(b"x", ${2 * MIB})`);
    const seen = await lacking();
    server.dmio('leg', 're-add', 'disk', '1');
    server.dmio('wait', 'disk', '--in-sync', '--timeout', '60');
    expect(seen.some(([from, to]) => from <= 2 * MIB && 2 * MIB < to)).toBe(true);
    expect(await lacking()).toEqual([]);
  },
  'read-only': async (server) => {
    await server.sh('nbdinfo', '--is', 'readonly', server.uri('ro'));
    const code = `h.set_strict_mode(0)
print(name(h.pwrite, b"x", 0), name(h.zero, 1, 0), name(h.trim, 1, 0), name(h.pread, 1, 0), name(h.flush))`;
    expect(await nbdsh(server, server.uri('ro'), code)).toBe('EPERM EPERM EPERM ok ok');
  },
  'TLS with a certificate': async (server) => {
    const uri = `nbds://localhost:${server.port}/secret?tls-certificates=${server.certificates}`;
    expect(await nbdsh(server, uri, 'h.pwrite(b"s", 9); print(h.pread(1, 9))')).toBe(
      "bytearray(b's')",
    );
    const unix = `nbds+unix://localhost/secret?socket=${server.socket}&tls-certificates=${server.certificates}`;
    const code = `h.set_tls_verify_peer(False); h.set_uri_allow_local_file(True)
h.connect_uri("${unix}")
print(h.get_size())`;
    expect((await server.sh('nbdsh', '-c', code)).trim()).toBe(String(MIB));
  },
  'TLS with a pre-shared key': async (server) => {
    const uri = `nbds://carol@localhost:${server.port}/secret?tls-psk-file=${server.keys}`;
    expect(await nbdsh(server, uri, 'print(h.get_size())')).toBe(String(MIB));
  },
  'TLS is demanded': async (server) => {
    expect(await server.said('nbdinfo', server.tcp('secret'))).toMatch(/TLS/);
    expect(await server.said('nbdinfo', server.uri('secret'))).toMatch(/TLS/);
  },
  'a grown device': async (server) => {
    expect((await server.sh('nbdinfo', '--size', server.grown())).trim()).toBe(String(2 * MIB));
  },
  'stdin and stdout, socket activation': async (server) => {
    server.blank('own', MIB);
    const serve = [process.execPath, DMIO, 'serve', '--linear', join(server.folder, 'own')];
    const command = JSON.stringify([...serve, '--stdio']);
    const code = `h.connect_command(${command})
h.pwrite(b"xyz" * ${MIB / 4}, 5); h.flush()
print(h.get_size(), h.pread(${MIB / 2}, 5) == (b"xyz" * ${MIB / 4})[:${MIB / 2}])`;
    expect((await server.sh('nbdsh', '-c', code)).trim()).toBe(`${MIB} True`);
    // A daemon that is handed the socket it is to listen on.
    server.blank('other', MIB);
    const daemon = [process.execPath, DMIOD, '--config', 'act.toml', '--log-level', 'silent'];
    writeFileSync(
      server.path('act.toml'),
      'control = "act.sock"\nstate-dir = "act"\n[device.l]\nlinear = "other"\n',
    );
    const map = await server.sh('nbdinfo', '--map', '--', '[', ...daemon, ']');
    expect(mapOf(map)).toEqual([`0 ${MIB} 3`]);
  },
};
