// The data plane on io_uring allocates nothing per request: bytes of heap a request, measured over
// many of them, from the client's socket to the file's page cache and back.
import { closeSync, openSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { connect, createServer, type Socket } from 'node:net';
import { once } from 'node:events';
import { join } from 'node:path';

import { DEFAULT_LIMITS } from '../../core/block/limits.ts';
import type { BlockDevice } from '../../core/block/device.ts';
import { Export } from '../../core/export/export.ts';
import { COMMAND, COMMAND_FLAG, SIZE } from '../../core/nbd/proto.ts';
import { fdsOf } from '../../daemon/net/socket-taker.ts';
import { UringDevice } from '../../daemon/uring/engine.ts';
import type { Room } from '../../daemon/uring/memory.ts';
import { DataPlane } from '../../daemon/uring/plane.ts';
import { dup, eventfd, recvmsg, sendmsg } from '../../daemon/uring/syscall.ts';
import { garbagePerStep } from '../support/garbage.ts';
import { mirrorOf } from '../support/mirror.ts';
import { request } from '../support/nbd-messages.ts';
import { tempDirectory } from '../support/temp.ts';

const DEPTH = 4;
/** An object of two fields: what one a request must look like. */
const LEAST_OBJECT = 40;
/**
 * Measured are 0 bytes, and 4 where the engine boxes one number a turn of four requests. A number
 * above 2^31 that crosses a call that was not inlined is boxed in 16 bytes, and what is inlined
 * depends on when the engine optimises what: so there is room for one box a request, not for two.
 */
const MOST_GARBAGE = 24;
const FILE_BYTES = 2 ** 24;
const MSG_DONTWAIT = 0x40;
const TWO32 = 2 ** 32;
const directory = tempDirectory();

/** A message header with one piece of memory behind it. */
class Message {
  readonly bytes: Uint8Array;
  private readonly room: Room;

  constructor(plane: DataPlane, length: number) {
    this.room = plane.memory.carve(80 + Math.ceil(length / 16) * 16);
    const { address, words } = this.room;
    words[4] = (address + 64) % TWO32;
    words[5] = Math.floor((address + 64) / TWO32);
    words[6] = 1;
    words[16] = (address + 80) % TWO32;
    words[17] = Math.floor((address + 80) / TWO32);
    words[18] = length;
    this.bytes = new Uint8Array(words.buffer, words.byteOffset + 80, length);
  }

  send(fd: number): number {
    return sendmsg(fd, this.room.words, 0);
  }

  receive(fd: number): number {
    return recvmsg(fd, this.room.words, MSG_DONTWAIT);
  }
}

async function socketPair(): Promise<readonly [number, number]> {
  const path = join(directory, 'pair.sock');
  const server = createServer({ pauseOnConnect: true }).listen(path);
  await once(server, 'listening');
  const accepted = once(server, 'connection') as Promise<[Socket]>;
  const client = connect({ path });
  const [[socket]] = await Promise.all([accepted, once(client, 'connect')]);
  const fds = [client, socket].map((one) => dup(fdsOf(one, one)?.input ?? -1));
  client.destroy();
  socket.destroy();
  server.close();
  return fds as unknown as readonly [number, number];
}

interface Kind {
  readonly type: number;
  readonly length: number;
  readonly payload?: number;
  readonly reply?: number;
  readonly flags?: number;
}

/** How the legs are opened; a sync of a file in memory takes no time, so that it can be asked often. */
interface Place {
  readonly folder: string;
  readonly direct: boolean;
}
const ON_DISK: Place = { folder: directory, direct: false };
const IN_MEMORY: Place = { folder: '/dev/shm', direct: false };

async function bytesPerRequest(kind: Kind, legs: number, place = ON_DISK): Promise<number> {
  const plane = new DataPlane({ arenaBytes: 2 ** 26, maxConnections: 2 }, eventfd());
  const name = `dmiod-alloc-${process.pid}`;
  const files = Array.from({ length: legs }, (_, i) => join(place.folder, `${name}-${i}`));
  const fds = files.map((path) => {
    writeFileSync(path, Buffer.alloc(FILE_BYTES, 7));
    truncateSync(path, FILE_BYTES);
    return openSync(path, 'r+');
  });
  const devices = fds.map((fd, i): BlockDevice => {
    const facts = { sectors: FILE_BYTES / 512, limits: DEFAULT_LIMITS, direct: place.direct };
    return new UringDevice(plane.engine, { name: `leg-${i}`, fd, ...facts });
  });
  const device = legs === 1 ? devices[0] : mirrorOf(devices);
  const target = new Export({ name: 'x', device: device as BlockDevice });
  const [mine, theirs] = await socketPair();
  const both = { input: theirs, output: theirs, isSocket: true };
  expect(plane.connect(both, target, new Uint8Array(0), () => undefined)).not.toBeNull();

  const { payload = 0, reply = 0 } = kind;
  const requestBytes = SIZE.REQUEST + payload;
  const asked = new Message(plane, DEPTH * requestBytes);
  for (let i = 0; i < DEPTH; i += 1) {
    asked.bytes.set(request({ ...kind, offset: i * 65536 }), i * requestBytes);
  }
  const answered = new Message(plane, DEPTH * (SIZE.SIMPLE_REPLY + reply));
  const step = (): void => {
    if (asked.send(mine) !== asked.bytes.length) throw new Error('the socket did not take all');
    let left = answered.bytes.length;
    while (left > 0) {
      plane.poll();
      const got = answered.receive(mine);
      if (got > 0) left -= got;
    }
  };
  const garbage = garbagePerStep(step) / DEPTH;
  for (const fd of [...fds, mine]) closeSync(fd);
  for (const path of files) rmSync(path);
  plane.close();
  return garbage;
}

const READ = { type: COMMAND.READ, length: 4096, reply: 4096 };
const WRITE = { type: COMMAND.WRITE, length: 4096, payload: 4096 };
const WRITE_FUA = { ...WRITE, flags: COMMAND_FLAG.FUA };
const FLUSH = { type: COMMAND.FLUSH, length: 0 };
const SLOW = 120_000;

it('an object of two fields a request would be seen', () => {
  const kept: { at: number; length: number }[] = [];
  const step = (): void => {
    for (let i = 0; i < DEPTH; i += 1) kept[i] = { at: i, length: i };
  };
  expect(garbagePerStep(step) / DEPTH).toBeGreaterThan(LEAST_OBJECT * 0.9);
});

describe('a request through the ring', () => {
  it.each([
    ['READ', READ, 1],
    ['WRITE', WRITE, 1],
    ['READ of a mirror', READ, 2],
    ['WRITE of a mirror', WRITE, 2],
  ] as const)(
    '%s allocates no object',
    async (_, kind, legs) => {
      expect(await bytesPerRequest(kind, legs)).toBeLessThan(MOST_GARBAGE * legs);
    },
    SLOW,
  );

  it.each([
    ['FUA on the page cache', WRITE_FUA, 1, IN_MEMORY],
    ['FUA without it', WRITE_FUA, 1, { ...IN_MEMORY, direct: true }],
    ['FUA of a mirror', WRITE_FUA, 2, IN_MEMORY],
    ['FLUSH', FLUSH, 1, IN_MEMORY],
  ] as const)(
    '%s allocates no object',
    async (_, kind, legs, place) => {
      const bytes = await bytesPerRequest(kind, legs, place);
      expect(bytes).toBeLessThan(MOST_GARBAGE * legs);
    },
    SLOW,
  );
});
