// The server on real sockets: listeners, limits, time-outs, clients that behave badly, shutdown.
import { once } from 'node:events';
import { statSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { PassThrough } from 'node:stream';
import { setTimeout as delay } from 'node:timers/promises';

import { Export } from '../../../core/export/export.ts';
import { ExportTable } from '../../../core/export/export-table.ts';
import { COMMAND, NBD_ERROR } from '../../../core/nbd/proto.ts';
import { addressText, uriOf, type ListenAddress } from '../../../daemon/net/address.ts';
import { NbdServer, type NbdServerOptions } from '../../../daemon/net/server.ts';
import { createNodeLoop } from '../../../daemon/node-loop.ts';
import { MemoryDevice } from '../../support/memory-device.ts';
import { clientFlags, infoData, option, request } from '../../support/nbd-messages.ts';
import { RawClient } from '../../support/raw-client.ts';
import { tempDirectory } from '../../support/temp.ts';

const { READ, WRITE, DISC } = COMMAND;
const LOOPBACK: ListenAddress = { kind: 'tcp', host: '127.0.0.1', port: 0 };

const dir = tempDirectory();
const servers: NbdServer[] = [];
let sockets = 0;

afterEach(async () => {
  await Promise.all(servers.splice(0).map((server) => server.close(200)));
});

function unixAddress(): ListenAddress & { kind: 'unix' } {
  sockets += 1;
  return { kind: 'unix', path: join(dir, `${sockets}.sock`) };
}

interface Served {
  readonly server: NbdServer;
  readonly table: ExportTable;
  readonly device: MemoryDevice;
  readonly target: Export;
}

function serve(options: Partial<NbdServerOptions> = {}): Served {
  const loop = createNodeLoop();
  const table = new ExportTable();
  const device = new MemoryDevice({ loop, sectors: 2 ** 17 });
  const target = new Export({ name: 'disk', device });
  table.add(target);
  const server = new NbdServer({ exports: table, loop, ...options });
  servers.push(server);
  return { server, table, device, target };
}

/** Waits for what will be so in the end, on however busy a machine; the test's own limit ends it. */
async function until(isSo: () => boolean): Promise<void> {
  while (!isSo()) await delay(2);
}

describe('a listener', () => {
  it('serves a unix socket with the mode asked for, and TCP on the port it says', async () => {
    const { server, target } = serve();
    const unix = await server.listen({ ...unixAddress(), mode: 0o600 });
    const tcp = await server.listen(LOOPBACK);
    expect(unix.kind === 'unix' && statSync(unix.path).mode & 0o777).toBe(0o600);
    expect(tcp.kind === 'tcp' && tcp.port).toBeGreaterThan(0);
    for (const address of [unix, tcp]) {
      const client = await RawClient.open(address, '');
      client.send(request({ type: READ, cookie: 7, length: 512 }));
      expect((await client.readReply()).cookieLow).toBe(7);
      expect(await client.read(512)).toEqual(Buffer.alloc(512));
    }
    expect(server.connectionsOf(target).map(({ exportName }) => exportName)).toEqual([
      'disk',
      'disk',
    ]);
  });

  it('takes the place of a dead server, and leaves no file behind', async () => {
    const address = unixAddress();
    const dead = createServer().listen(address.path);
    await once(dead, 'listening');
    // What a killed process leaves: the file stays, nobody answers.
    const { server } = serve();
    await expect(server.listen(address)).rejects.toThrow('another server answers there');
    const { rename } = await import('node:fs/promises');
    await rename(address.path, `${address.path}.stale`);
    dead.close();
    await server.listen({ kind: 'unix', path: `${address.path}.stale` });
    await server.close();
    expect(statSync(`${address.path}.stale`, { throwIfNoEntry: false })).toBeUndefined();
  });

  it('says in one line why it cannot be', async () => {
    const { server } = serve();
    const taken = await server.listen(LOOPBACK);
    const file = join(dir, 'file');
    writeFileSync(file, 'precious');
    const cases: readonly [ListenAddress, string][] = [
      [taken, 'the address is in use'],
      [{ kind: 'unix', path: file }, 'the file exists and is no socket'],
      [{ kind: 'unix', path: join(dir, 'no/such/dir.sock') }, 'there is no such directory'],
      [{ kind: 'unix', path: join(dir, 'x'.repeat(120)) }, 'at most 107 bytes'],
      [{ kind: 'tcp', host: '192.0.2.1', port: 0 }, 'no such address'],
    ];
    for (const [address, why] of cases) {
      const error: unknown = await server.listen(address).catch((caught: unknown) => caught);
      expect(error).toMatchObject({ name: 'ListenError' });
      expect(String(error)).toContain(why);
      expect(String(error)).not.toContain('\n');
    }
  });

  it('is found by the URI it is given', () => {
    expect(uriOf({ kind: 'unix', path: '/run/a b?.sock' }, 'x/y')).toBe(
      'nbd+unix:///x%2Fy?socket=/run/a%20b%3F.sock',
    );
    expect(uriOf({ kind: 'tcp', host: 'h', port: 10809 }, '')).toBe('nbd://h/');
    expect(uriOf({ kind: 'tcp', host: '::1', port: 1 }, 'd')).toBe('nbd://[::1]:1/d');
    expect(addressText({ kind: 'tcp', host: '::1', port: 1 })).toBe('[::1]:1');
  });
});

describe('a client', () => {
  it('that says nothing is dropped after the handshake time-out; one in transmission is not', async () => {
    const { server, target } = serve({ limits: { handshakeTimeoutMs: 100 } });
    const address = await server.listen(unixAddress());
    // All of its handshake is there when the time begins: no machine is too busy for it.
    const [input, output] = [new PassThrough(), new PassThrough()];
    input.write(Buffer.concat([clientFlags(3), option(7, infoData('disk'))]));
    const served = server.serve(input, output, 'pipe');
    await until(() => target.connections === 1);
    const silent = await RawClient.connect(address);
    await silent.closed;
    await delay(50);
    input.end(request({ type: READ, length: 1 }));
    const chunks: Buffer[] = [];
    for await (const chunk of output) chunks.push(chunk as Buffer);
    expect(Buffer.concat(chunks).length).toBe(18 + 52 + 17);
    await served;
  });

  it('too many is turned away, and has its place when another leaves', async () => {
    const { server } = serve({ limits: { maxConnections: 2 } });
    const address = await server.listen(unixAddress());
    const [first] = [await RawClient.open(address, ''), await RawClient.open(address, '')];
    const third = await RawClient.connect(address);
    await third.closed;
    first.send(request({ type: DISC }));
    await first.closed;
    await RawClient.open(address, '');
  });

  it('that stops sending still gets its answers', async () => {
    const { server, device } = serve();
    const client = await RawClient.open(await server.listen(unixAddress()), '');
    device.hold();
    client.send(request({ type: READ, cookie: 1, length: 512 }));
    client.socket.end();
    await until(() => device.heldCount === 1);
    device.release();
    expect((await client.readReply()).cookieLow).toBe(1);
    await client.read(512);
    await client.closed;
  });

  it('that asks for the unknown can ask again', async () => {
    const { server, table, device } = serve();
    const client = await RawClient.connect(await server.listen(LOOPBACK));
    await client.read(18);
    client.send(clientFlags(3));
    client.send(option(7, infoData('late')));
    expect((await client.read(20)).readUInt32BE(12)).toBe(0x80000006);
    table.add(new Export({ name: 'late', device }));
    await client.read('there is no export named "late"'.length);
    client.send(option(7, infoData('late')));
    await client.read(52);
    expect(() => table.add(new Export({ name: 'late', device }))).toThrow('already an export');
  });

  it('that breaks the protocol is dropped, and others do not notice', async () => {
    const { server } = serve();
    const address = await server.listen(unixAddress());
    const good = await RawClient.open(address, '');
    const bad = await RawClient.open(address, '');
    bad.send(Buffer.alloc(28));
    await bad.closed;
    good.send(request({ type: READ, length: 1 }));
    await good.read(17);
  });

  it('may vanish in mid-payload: nothing is written, nothing stays taken', async () => {
    const { server, device, target } = serve();
    const address = await server.listen(unixAddress());
    const client = await RawClient.open(address, '');
    client.send(request({ type: WRITE, length: 100_000 }, new Uint8Array(50_000).fill(1)));
    await until(() => server.arenaUsedBytes > 0);
    client.socket.destroy();
    await until(() => target.connections === 0);
    expect(device.bytes.every((byte) => byte === 0)).toBe(true);
    expect(server.arenaUsedBytes).toBe(0);
  });
});

describe('a client that never reads', () => {
  const COUNT = 20_000;

  async function openSlow(address: ListenAddress, length = 2 ** 20): Promise<RawClient> {
    const slow = await RawClient.open(address, '');
    slow.socket.pause();
    const one = request({ type: READ, length });
    slow.send(Buffer.concat(Array.from({ length: COUNT }, () => one)));
    return slow;
  }

  it('does not grow the server, and does not disturb others', async () => {
    const { server } = serve();
    const address = await server.listen(unixAddress());
    const other = await RawClient.open(address, '');
    const before = process.memoryUsage().arrayBuffers;
    await openSlow(address);
    // 20 GB were asked for: a quarter of the arena and a little buffer are what it gets.
    await until(() => server.arenaUsedBytes === 2 ** 24);
    await delay(100);
    expect(server.arenaUsedBytes).toBe(2 ** 24);
    expect(process.memoryUsage().arrayBuffers - before).toBeLessThan(2 ** 23);
    for (let i = 0; i < 20; i += 1) {
      other.send(request({ type: READ, length: 2 ** 20 }));
      await other.read(16 + 2 ** 20);
    }
  });

  it('on many connections leaves room for others all the same', async () => {
    const { server } = serve();
    const address = await server.listen(unixAddress());
    const slow = await Promise.all(Array.from({ length: 8 }, () => openSlow(address)));
    const other = await RawClient.open(address, '');
    for (let i = 0; i < 20; i += 1) {
      other.send(request({ type: READ, length: 2 ** 20 }));
      await other.read(16 + 2 ** 20);
    }
    for (const { socket } of slow) socket.destroy();
  });

  it('is dropped when others wait for the memory it holds', async () => {
    const { server, target } = serve({ limits: { stallTimeoutMs: 200 } });
    const address = await server.listen(unixAddress());
    const slow = [await openSlow(address, 2 ** 25), await openSlow(address, 2 ** 25)];
    await until(() => server.arenaUsedBytes === 2 ** 26);
    const other = await RawClient.open(address, '');
    other.send(request({ type: READ, cookie: 1, length: 512 }));
    expect((await other.readReply()).cookieLow).toBe(1);
    // One was enough: the other may stand still as long as it likes.
    expect(server.connectionsOf(target)).toHaveLength(2);
    for (const { socket } of slow) socket.destroy();
  });

  it('is left alone while nobody waits', async () => {
    const { server, target } = serve({ limits: { stallTimeoutMs: 40 } });
    const address = await server.listen(unixAddress());
    await openSlow(address);
    await delay(300);
    expect(server.connectionsOf(target)).toHaveLength(1);
  });
});

describe('the end', () => {
  it('of the server: what is in flight is answered, what comes is ESHUTDOWN', async () => {
    const { server, device } = serve();
    const address = await server.listen(unixAddress());
    const client = await RawClient.open(address, '');
    device.hold();
    client.send(request({ type: WRITE, cookie: 1 }, new Uint8Array(512).fill(9)));
    await until(() => device.heldCount === 1);
    const closed = server.close();
    await expect(RawClient.connect(address)).rejects.toThrow();
    client.send(request({ type: READ, cookie: 2, length: 512 }));
    expect(await client.readReply()).toMatchObject({ cookieLow: 2, error: NBD_ERROR.ESHUTDOWN });
    device.release();
    expect(await client.readReply()).toMatchObject({ cookieLow: 1, error: 0 });
    await Promise.all([closed, client.closed]);
    expect(device.bytes[0]).toBe(9);
    expect(server.arenaUsedBytes).toBe(0);
  });

  it('of the server is bounded, whatever device and clients do', async () => {
    const { server, device } = serve();
    const client = await RawClient.open(await server.listen(unixAddress()), '');
    device.hold();
    client.send(request({ type: READ, length: 512 }));
    await until(() => device.heldCount === 1);
    await server.close(150);
    expect(device.heldCount).toBe(1);
    await client.closed;
    device.release();
  });

  it('of an export closes its connections, not those of others', async () => {
    const { server, table, device, target } = serve();
    table.add(new Export({ name: 'other', device }));
    const address = await server.listen(unixAddress());
    const gone = await RawClient.open(address, 'disk');
    const stays = await RawClient.open(address, 'other');
    expect(await server.removeExport('nope')).toBe(false);
    expect(await server.removeExport('disk')).toBe(true);
    await gone.closed;
    expect(target.connections).toBe(0);
    stays.send(request({ type: READ, length: 1 }));
    await stays.read(17);
    const late = await RawClient.connect(address);
    await late.read(18);
    late.send(clientFlags(3));
    late.send(option(7, infoData('disk')));
    expect((await late.read(20)).readUInt32BE(12)).toBe(0x80000006);
  });
});

describe('any pair of streams', () => {
  it('is served until its input ends', async () => {
    const { server } = serve();
    const [input, output] = [new PassThrough(), new PassThrough()];
    const done = server.serve(input, output, 'pipe');
    input.write(clientFlags(3));
    input.write(option(7, infoData('')));
    input.end(request({ type: READ, cookie: 5, length: 3 }));
    const chunks: Buffer[] = [];
    for await (const chunk of output) chunks.push(chunk as Buffer);
    const said = Buffer.concat(chunks);
    expect(said.subarray(18 + 52).toString('hex')).toBe('67446698000000000000000000000005000000');
    await done;
  });
});
