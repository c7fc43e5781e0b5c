// nbd-client without a kernel: it negotiates, says what it has found, and then has no device to give it
// to. And fio's nbd engine.
import type { Column } from './cell.ts';
import { ODD, SIZE, type TableServer } from './server.ts';

const KERNEL = 'the kernel says it: test/vm/attach.test.ts';
const NO_KERNEL = 'the kernel has no such command';
const SIMPLE = 'the kernel knows simple replies only';

/** What nbd-client says up to the ioctl that fails: `device` is a plain file. */
function client(server: TableServer, ...args: readonly string[]): Promise<string> {
  server.blank('device', 0);
  const all = [...args, server.path('device'), '-nonetlink', '-nofork'];
  return server.said('timeout', '20', 'nbd-client', ...all);
}

const unix = (server: TableServer, name: string): Promise<string> =>
  client(server, '-unix', server.socket, '-name', name);
const tcp = (server: TableServer, name: string, ...more: readonly string[]): Promise<string> =>
  client(server, '127.0.0.1', String(server.port), '-name', name, ...more);

const named = (text: string): string[] => text.trim().split('\n').slice(1).sort();

export const NBD_CLIENT: Column = {
  'GO with INFO_EXPORT': async (server) => {
    expect(await unix(server, 'disk')).toContain('size = 64MB');
  },
  EXPORT_NAME: async (server) => {
    expect(await tcp(server, 'disk', '-g')).toContain('size = 64MB');
  },
  LIST: async (server) => {
    const all = ['disk', 'grow', 'ro', ODD].sort();
    const overTcp = await server.said('nbd-client', '-l', '127.0.0.1', String(server.port));
    expect(named(overTcp)).toEqual(all);
    expect(named(await server.said('nbd-client', '-l', '-unix', server.socket))).toEqual(all);
  },
  'a name with spaces, umlauts, a symbol': async (server) => {
    expect(await unix(server, ODD)).toContain('size = 1MB');
  },
  'a name nobody has, of 4096 bytes too': async (server) => {
    expect(await unix(server, 'nobody')).toContain('there is no export named "nobody"');
    // It has room for less, and is refused all the same.
    expect(await unix(server, 'x'.repeat(4096))).not.toContain('size =');
    expect(await unix(server, 'disk')).toContain('size = 64MB');
  },
  'unix socket and TCP': async (server) => {
    expect(await unix(server, 'ro')).toContain('size = 1MB');
    expect(await tcp(server, 'ro')).toContain('size = 1MB');
  },
  BLOCK_SIZE: 'it does not ask',
  'single bytes, anywhere': 'the kernel speaks in sectors',
  '32 MiB in one request': KERNEL,
  'many requests in flight': KERNEL,
  'several connections (CAN_MULTI_CONN)': KERNEL,
  FLUSH: KERNEL,
  FUA: KERNEL,
  TRIM: KERNEL,
  'WRITE_ZEROES, NO_HOLE': NO_KERNEL,
  FAST_ZERO: NO_KERNEL,
  CACHE: NO_KERNEL,
  'structured replies, holes in READ': SIMPLE,
  DF: SIMPLE,
  'errors in words': async (server) => {
    expect(await unix(server, 'nobody')).toContain(
      'Server said: there is no export named "nobody"',
    );
  },
  'base:allocation': SIMPLE,
  'x-dmiod:mirror': SIMPLE,
  'read-only': KERNEL,
  'TLS with a certificate': async (server) => {
    const pem = (name: string): string => `${server.certificates}/${name}.pem`;
    const files = ['-certfile', pem('client-cert'), '-keyfile', pem('client-key')];
    const more = [...files, '-cacertfile', pem('ca-cert'), '-tlshostname', 'localhost'];
    const said = await client(server, 'localhost', String(server.port), '-name', 'secret', ...more);
    expect(said).toContain('size = 1MB');
  },
  'TLS with a pre-shared key': 'it has certificates only',
  'TLS is demanded': async (server) => {
    expect(await tcp(server, 'secret')).not.toContain('size =');
    // EXPORT_NAME can only be refused by hanging up; nbd-client then says any number.
    expect(await tcp(server, 'secret', '-g')).not.toContain('size = 1MB');
  },
  'a grown device': async (server) => {
    server.grown();
    expect(await unix(server, 'grow')).toContain('size = 2MB');
  },
  'stdin and stdout, socket activation': 'it starts no servers',
};

/** A job on `disk`, which must end well; its report. */
async function fio(server: TableServer, ...args: readonly string[]): Promise<string> {
  const job = ['--name=cell', '--ioengine=nbd', `--uri=${server.uri()}`, '--thread', ...args];
  const said = await server.sh('fio', ...job);
  expect(said).toMatch(/err= 0/);
  return said;
}
const VERIFY = ['--verify=crc32c', '--verify_fatal=1'];
const LIBNBD_SAYS = 'its nbd engine has no word for it';
const BY_LIBNBD = 'libnbd negotiates for it: that column';

export const FIO: Column = {
  'GO with INFO_EXPORT': async (server) => {
    await fio(server, '--rw=read', '--bs=1m', `--size=${SIZE}`);
  },
  EXPORT_NAME: BY_LIBNBD,
  LIST: LIBNBD_SAYS,
  'a name with spaces, umlauts, a symbol': async (server) => {
    const job = [
      '--name=odd',
      '--ioengine=nbd',
      `--uri=${server.uri(ODD)}`,
      '--size=1m',
      '--bs=4k',
    ];
    expect(await server.sh('fio', ...job, '--rw=randwrite', ...VERIFY)).toMatch(/err= 0/);
  },
  'a name nobody has, of 4096 bytes too': async (server) => {
    const job = ['--name=none', '--ioengine=nbd', `--uri=${server.uri('nobody')}`, '--size=1m'];
    expect(await server.said('fio', ...job, '--rw=read')).toMatch(/No such file or directory/);
  },
  'unix socket and TCP': async (server) => {
    const job = ['--name=tcp', '--ioengine=nbd', `--uri=${server.tcp()}`, '--size=8m', '--bs=64k'];
    expect(await server.sh('fio', ...job, '--rw=randwrite', ...VERIFY)).toMatch(/err= 0/);
    await fio(server, '--rw=randwrite', '--bs=64k', '--size=8m', ...VERIFY);
  },
  BLOCK_SIZE: BY_LIBNBD,
  'single bytes, anywhere': async (server) => {
    const odd = ['--bsrange=1k-100k', '--bs_unaligned=1'];
    await fio(server, '--rw=randwrite', ...odd, '--size=8m', '--iodepth=8', ...VERIFY);
  },
  '32 MiB in one request': async (server) => {
    await fio(server, '--rw=write', '--bs=32m', `--size=${SIZE}`, ...VERIFY);
  },
  'many requests in flight': async (server) => {
    await fio(server, '--rw=randwrite', '--bs=4k', '--size=16m', '--iodepth=256', ...VERIFY);
  },
  'several connections (CAN_MULTI_CONN)': async (server) => {
    const four = ['--numjobs=4', '--size=8m', '--offset_increment=8m', '--group_reporting'];
    await fio(server, '--rw=randrw', '--bs=4k', '--iodepth=16', ...four, ...VERIFY);
  },
  FLUSH: async (server) => {
    const before = server.done('flush');
    await fio(server, '--rw=write', '--bs=64k', '--size=1m', '--fsync=4');
    expect(server.done('flush')).toBeGreaterThan(before + 2);
  },
  FUA: LIBNBD_SAYS,
  TRIM: async (server) => {
    const before = server.done('discard');
    await fio(server, '--rw=randtrim', '--bs=64k', '--size=4m');
    expect(server.done('discard')).toBe(before + 64);
  },
  'WRITE_ZEROES, NO_HOLE': LIBNBD_SAYS,
  FAST_ZERO: LIBNBD_SAYS,
  CACHE: LIBNBD_SAYS,
  'structured replies, holes in READ': async (server) => {
    await server.striped();
    await fio(server, '--rw=read', '--bs=4m', `--size=${SIZE}`);
  },
  DF: LIBNBD_SAYS,
  'errors in words': BY_LIBNBD,
  'base:allocation': LIBNBD_SAYS,
  'x-dmiod:mirror': LIBNBD_SAYS,
  'read-only': async (server) => {
    const job = [
      '--name=ro',
      '--ioengine=nbd',
      `--uri=${server.uri('ro')}`,
      '--size=1m',
      '--bs=64k',
    ];
    expect(await server.sh('fio', ...job, '--rw=read')).toMatch(/err= 0/);
    expect(await server.said('fio', ...job, '--rw=write')).toMatch(
      /read-only|not permitted|err= *\d*[1-9]/i,
    );
  },
  'TLS with a certificate': 'its URI may not name files',
  'TLS with a pre-shared key': 'its URI may not name files',
  'TLS is demanded': async (server) => {
    const job = ['--name=tls', '--ioengine=nbd', `--uri=${server.tcp('secret')}`, '--size=1m'];
    expect(await server.said('fio', ...job, '--rw=read')).toMatch(/TLS/);
  },
  'a grown device': async (server) => {
    const job = [
      '--name=grown',
      '--ioengine=nbd',
      `--uri=${server.grown()}`,
      '--size=2m',
      '--bs=64k',
    ];
    expect(await server.sh('fio', ...job, '--rw=randwrite', ...VERIFY)).toMatch(/err= 0/);
  },
  'stdin and stdout, socket activation': 'it starts no servers',
};
