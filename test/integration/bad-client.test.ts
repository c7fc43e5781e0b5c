// One bad client never disturbs another: fio writes, reads back and verifies beside each kind of them.
import { randomBytes } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';

import type { DeviceStatus } from '../../core/control/status.ts';
import { COMMAND } from '../../core/nbd/proto.ts';
import { request } from '../support/nbd-messages.ts';
import { startDaemon } from '../support/programs.ts';
import { RawClient } from '../support/raw-client.ts';
import { runBeside } from '../support/run.ts';
import { Place } from '../support/place.ts';

const SLOW = 120_000;
/** The good client's half of the device; the bad ones write to the other. */
const HALF_MIB = 16;
const place = new Place();

const status = (): DeviceStatus => place.statusOf('data');

/** Its exit code, and all it complained of. */
async function fio(): Promise<readonly [number | null, string]> {
  const args = [
    ...['--name=good', '--ioengine=nbd', `--uri=${place.uriOf('data')}`, '--rw=randrw'],
    ...['--bs=4k', '--iodepth=16', '--numjobs=2', '--size=8M', '--offset_increment=8M'],
    ...['--time_based', '--runtime=2', '--verify=crc32c', '--verify_fatal=1'],
  ];
  const { code, stderr } = await runBeside(place.folder, 'fio', ...args);
  return [code, stderr];
}

const there = { kind: 'unix', path: '' } as const;
const connect = (): Promise<RawClient> =>
  RawClient.connect({ ...there, path: place.path('nbd.sock') });
const open = (): Promise<RawClient> =>
  RawClient.open({ ...there, path: place.path('nbd.sock') }, 'data');
const offset = HALF_MIB * 2 ** 20;

/** Each does its worst once; what it leaves open is closed when the good client has ended. */
const BAD: Readonly<Record<string, () => Promise<RawClient | undefined>>> = {
  'vanishes in mid-payload': async () => {
    const client = await open();
    const length = 2 ** 20;
    client.send(request({ type: COMMAND.WRITE, offset, length }, randomBytes(70_000)));
    await sleep(5);
    client.socket.destroy();
    return undefined;
  },
  'stays in mid-payload': async () => {
    const client = await open();
    client.send(request({ type: COMMAND.WRITE, offset, length: 2 ** 20 }, randomBytes(70_000)));
    return client;
  },
  'reads megabytes and takes none': async () => {
    const client = await open();
    client.socket.pause();
    for (let cookie = 1; cookie <= 64; cookie += 1) {
      client.send(request({ type: COMMAND.READ, cookie, offset, length: 2 ** 20 }));
    }
    return client;
  },
  'sends garbage for a handshake': async () => {
    const client = await connect();
    client.send(randomBytes(5000));
    await client.closed;
    return undefined;
  },
  'sends garbage for requests': async () => {
    const client = await open();
    client.send(randomBytes(5000));
    await client.closed;
    return undefined;
  },
  'asks and vanishes': async () => {
    const client = await open();
    for (let cookie = 1; cookie <= 64; cookie += 1) {
      client.send(request({ type: COMMAND.READ, cookie, offset, length: 2 ** 20 }));
    }
    await sleep(5);
    client.socket.destroy();
    return undefined;
  },
  'sends half a request': async () => {
    const client = await open();
    client.send(request({ type: COMMAND.READ, offset, length: 512 }).subarray(0, 13));
    return client;
  },
  'sends a byte at a time, then nothing': async () => {
    const client = await connect();
    for (const byte of Buffer.from('\0\0\0\x03IHAVEOPT')) {
      client.send(Buffer.from([byte]));
      await sleep(1);
    }
    return client;
  },
};

it.each(Object.keys(BAD))(
  'a client that %s disturbs no other',
  async (kind) => {
    const daemon = await startDaemon(place.folder);
    const legs = ['create', 'data', '--mirror', 'a.img', 'b.img', '--size', `${2 * HALF_MIB}M`];
    place.ok(...legs);
    let done = false;
    const good = fio().finally(() => (done = true));
    const left: RawClient[] = [];
    for (let i = 0; i < 200 && !done; i += 1) {
      const client = await BAD[kind]?.();
      if (client !== undefined && left.push(client) === 8) break;
    }
    expect(await good).toEqual([0, '']);
    for (const client of left) client.socket.destroy();
    // A connection that its client has left is closed; nothing of it stays.
    while (status().connections > 0) await sleep(50);
    expect(status()).toMatchObject({ state: 'in-sync' });
    expect(await daemon.stop()).toBe(0);
  },
  SLOW,
);

/** What nbdsh's 4 KiB reads, one after the other, came to in so many seconds; each must be right. */
async function progress(seconds: number): Promise<number> {
  const code = `import time
h.pwrite(b"g" * 4096, 0)
end, count = time.monotonic() + ${seconds}, 0
while time.monotonic() < end:
  assert h.pread(4096, 0) == b"g" * 4096
  count += 1
print(count)`;
  const ran = await runBeside(place.folder, 'nbdsh', '-u', place.uriOf('data'), '-c', code);
  expect([ran.code, ran.stderr]).toEqual([0, '']);
  return Number(ran.stdout);
}

/** Who comes anew finds a place, and is told what there is. */
async function comesIn(): Promise<void> {
  const ran = await runBeside(place.folder, 'nbdinfo', '--size', place.uriOf('data'));
  expect([ran.stderr, ran.stdout.trim()]).toEqual(['', String(2 * HALF_MIB * 2 ** 20)]);
}

it(
  'a thousand connections in the handshake, of the same user, keep nobody out and hold nobody up',
  async () => {
    const daemon = await startDaemon(place.folder);
    place.ok('create', 'data', '--mirror', 'a.img', 'b.img', '--size', `${2 * HALF_MIB}M`);
    const alone = await progress(2);
    const crowd: RawClient[] = [];
    const come = async (): Promise<void> => {
      const client = await connect().catch(() => undefined);
      // The kernel's own line of those who wait to be accepted is full: the crowd is early, that is all.
      if (client === undefined) return sleep(5);
      // Half of them say something.
      if (crowd.push(client) % 2 === 0) client.send(Buffer.from('\0\0\0\x03IHAVE'));
    };
    // While they stand there, and while they come.
    while (crowd.length < 1000) await come();
    await comesIn();
    const beside = await progress(2);
    let isOver = false;
    const more = (async () => {
      while (!isOver) {
        await come();
        await sleep(2);
      }
    })();
    await comesIn();
    const amid = await progress(2);
    await comesIn();
    isOver = true;
    await more;
    // Of two times of measuring on a busy machine a tenth is little, and would show a stand-still.
    expect(Math.min(beside, amid)).toBeGreaterThan(alone / 10);
    expect(daemon.stderr).toContain('its place was wanted, and it had chosen no export yet');
    for (const { socket } of crowd) socket.destroy();
    expect(await daemon.stop()).toBe(0);
  },
  SLOW,
);
