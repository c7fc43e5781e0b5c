// qemu's tools: qemu-img, qemu-io, and qemu-nbd --list.
import type { Column } from './cell.ts';
import { MIB, ODD, SIZE, type TableServer } from './server.ts';

interface Extent {
  readonly start: number;
  readonly length: number;
  readonly zero: boolean;
  readonly data: boolean;
}

/** qemu-io's commands, one after the other, on `uri`; what it says of them. */
async function io(
  server: TableServer,
  uri: string,
  ...commands: readonly string[]
): Promise<string> {
  const args = commands.flatMap((command) => ['-c', command]);
  return server.said('qemu-io', '-f', 'raw', ...args, uri);
}

async function works(server: TableServer, ...commands: readonly string[]): Promise<void> {
  const text = await io(server, server.uri(), ...commands);
  expect(text).not.toMatch(/fail|error|invalid/i);
}

async function mapOf(server: TableServer, ...more: readonly string[]): Promise<readonly Extent[]> {
  const options = ['driver=nbd', 'server.type=unix', `server.path=${server.socket}`, ...more];
  const args = ['map', '--output=json', '--image-opts', options.join(',')];
  return JSON.parse(await server.sh('qemu-img', ...args)) as Extent[];
}

const size = async (server: TableServer, uri: string): Promise<number> => {
  const text = await server.sh('qemu-img', 'info', '--output=json', '-f', 'raw', uri);
  return (JSON.parse(text) as { 'virtual-size': number })['virtual-size'];
};

const list = (server: TableServer): Promise<string> =>
  server.sh('qemu-nbd', '--list', '-k', server.socket);

/** What `qemu-nbd --list` says of `disk`. */
async function listed(server: TableServer): Promise<string> {
  const part = (await list(server)).split("export: '").find((text) => text.startsWith("disk'"));
  return part ?? '';
}

/** qemu-img with a TLS object. */
function secured(server: TableServer, object: string): Promise<string> {
  const where = `driver=nbd,host=localhost,port=${server.port},export=secret,tls-creds=t`;
  return server.said('qemu-img', 'info', '--object', object, '--image-opts', where);
}

export const QEMU: Column = {
  'GO with INFO_EXPORT': async (server) => {
    expect(await size(server, server.uri())).toBe(SIZE);
  },
  EXPORT_NAME: 'qemu always says GO to a server that knows it',
  LIST: async (server) => {
    const names = (await list(server)).match(/export: '.*'/g)?.sort();
    expect(names).toEqual(['disk', 'grow', 'ro', ODD].map((name) => `export: '${name}'`).sort());
  },
  'a name with spaces, umlauts, a symbol': async (server) => {
    expect(await size(server, server.uri(ODD))).toBe(MIB);
  },
  'a name nobody has, of 4096 bytes too': async (server) => {
    for (const name of ['nobody', 'x'.repeat(4096)]) {
      expect(await server.said('qemu-img', 'info', server.uri(name))).toMatch(/no export named "/);
    }
  },
  'unix socket and TCP': async (server) => {
    expect([await size(server, server.uri()), await size(server, server.tcp())]).toEqual([
      SIZE,
      SIZE,
    ]);
  },
  BLOCK_SIZE: async (server) => {
    expect(await listed(server)).toMatch(/min block: 1\n +opt block: 4096\n +max block: 33554432/);
  },
  'single bytes, anywhere': async (server) => {
    await server.clear();
    const bytes = ['write -P 7 4095 2', 'write -P 9 70001 1', 'read -P 7 4095 2'];
    await works(server, ...bytes, 'read -P 9 70001 1', 'read -P 0 4097 65904', 'read -P 0 0 4095');
  },
  '32 MiB in one request': async (server) => {
    await works(server, 'write -P 5 1M 32M', 'read -P 5 1M 32M');
  },
  'many requests in flight': async (server) => {
    const args = ['bench', '-f', 'raw', '-c', '5000', '-d', '128', '-s', '4096'];
    expect(await server.sh('qemu-img', ...args, server.uri())).toContain('Run completed');
    expect(await server.sh('qemu-img', ...args, '-w', '--pattern=3', server.uri())).toContain(
      'Run completed',
    );
    await works(server, 'read -P 3 0 16M');
  },
  'several connections (CAN_MULTI_CONN)': async (server) => {
    expect(await listed(server)).toMatch(/flags: .*\bmulti\b/);
  },
  FLUSH: async (server) => {
    const before = server.done('flush');
    await works(server, 'write -P 1 0 4k', 'flush');
    expect(server.done('flush')).toBeGreaterThan(before);
  },
  FUA: async (server) => {
    await works(server, 'write -f -P 8 1000 3000', 'write -z -f 8k 4k', 'read -P 8 1000 3000');
  },
  TRIM: async (server) => {
    await server.striped();
    const before = server.done('discard');
    await works(server, 'discard 1M 1M', 'read -P 0 1M 1M');
    expect(server.done('discard')).toBe(before + 1);
    expect((await mapOf(server, 'export=disk'))[0]).toMatchObject({
      start: 0,
      length: 3 * MIB,
      zero: true,
    });
  },
  'WRITE_ZEROES, NO_HOLE': async (server) => {
    await server.striped();
    const before = server.done('zeroes');
    // Without -u qemu says NO_HOLE.
    await works(server, 'write -z -u 1M 1M', 'write -z 3M 1M', 'read -P 0 0 8M');
    expect(server.done('zeroes')).toBe(before + 2);
    expect(await server.kibibytes('a.img')).toBeGreaterThanOrEqual(1024);
    expect(await server.kibibytes('a.img')).toBeLessThan(2048);
  },
  FAST_ZERO: async (server) => {
    expect(await listed(server)).toMatch(/flags: .*fast-zero/);
    await server.sh(
      'dd',
      'if=/dev/urandom',
      'of=image',
      'bs=1M',
      'count=2',
      'seek=9',
      'status=none',
    );
    await server.sh('truncate', '-s', String(SIZE), 'image');
    // qemu-img zeroes the target first, if that is fast.
    await server.sh('qemu-img', 'convert', '-n', '-f', 'raw', '-O', 'raw', 'image', server.uri());
    await server.sh('qemu-img', 'compare', '-f', 'raw', '-F', 'raw', 'image', server.uri());
  },
  CACHE: async (server) => {
    expect(await listed(server)).toMatch(/flags: .*\bcache\b/);
  },
  'structured replies, holes in READ': async (server) => {
    await server.striped();
    await server.sh('qemu-img', 'convert', '-f', 'raw', '-O', 'raw', server.uri(), 'sparse');
    await server.sh('cmp', 'sparse', 'a.img');
    expect(await server.kibibytes('sparse')).toBeLessThan(3072);
  },
  DF: async (server) => {
    expect(await listed(server)).toMatch(/flags: .*\bdf\b/);
  },
  'errors in words': async (server) => {
    expect(await server.said('qemu-img', 'info', server.uri('nobody'))).toContain(
      'there is no export named "nobody"',
    );
  },
  'base:allocation': async (server) => {
    await server.striped();
    const extents = (await mapOf(server, 'export=disk')).map(
      ({ start, length, zero }) => `${start / MIB} ${length / MIB} ${zero}`,
    );
    expect(extents).toEqual(['0 1 true', '1 1 false', '2 1 true', '3 1 false', '4 60 true']);
  },
  'x-dmiod:mirror': async (server) => {
    expect(await listed(server)).toMatch(/contexts: 2\n +base:allocation\n +x-dmiod:mirror/);
    // qemu shows a bitmap's bit 0 as what is no data: writes under way, and there are none.
    const extents = await mapOf(server, 'export=disk', 'x-dirty-bitmap=x-dmiod:mirror');
    expect(extents.reduce((sum, { length }) => sum + length, 0)).toBe(SIZE);
  },
  'read-only': async (server) => {
    expect(await io(server, server.uri('ro'), 'write 0 512')).toMatch(
      /read.only|not permitted|permission denied/i,
    );
    expect(await io(server, server.uri('ro'), 'read -P 0 0 1M')).not.toMatch(
      /read 0\/|failed.*pattern/i,
    );
    expect(
      await server.sh('qemu-io', '-r', '-f', 'raw', '-c', 'read -P 0 0 1M', server.uri('ro')),
    ).toContain('read 1048576/1048576');
  },
  'TLS with a certificate': async (server) => {
    const object = `tls-creds-x509,id=t,dir=${server.certificates},endpoint=client`;
    expect(await secured(server, object)).toContain('virtual size: 1 MiB');
  },
  'TLS with a pre-shared key': async (server) => {
    const dir = await server.keyFolder();
    const object = `tls-creds-psk,id=t,dir=${dir},username=carol,endpoint=client`;
    expect(await secured(server, object)).toContain('virtual size: 1 MiB');
  },
  'TLS is demanded': async (server) => {
    expect(await server.said('qemu-img', 'info', server.tcp('secret'))).toMatch(/TLS/);
  },
  'a grown device': async (server) => {
    expect(await size(server, server.grown())).toBe(2 * MIB);
  },
  'stdin and stdout, socket activation': 'qemu starts no servers',
};
