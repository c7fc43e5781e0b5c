// 64 clients of 64 devices on one thread of the data plane: all of them move, and none waits for long.
import { closeSync, openSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

import { DEFAULT_LIMITS } from '../../../core/block/limits.ts';
import { Export } from '../../../core/export/export.ts';
import { COMMAND, SIZE } from '../../../core/nbd/proto.ts';
import { hasSyscalls, loadSyscalls } from '../../../daemon/sys/syscalls.ts';
import { UringDevice } from '../../../daemon/uring/engine.ts';
import { DataPlane } from '../../../daemon/uring/plane.ts';
import { eventfd, recvmsg, sendmsg } from '../../../daemon/uring/syscall.ts';
import { tempDirectory } from '../../support/temp.ts';
import { request } from '../../support/nbd-messages.ts';

const CLIENTS = 64;
const DEPTH = 4;
const EACH = 100;
const FILE_BYTES = 2 ** 20;
/** Hundreds are enough; a client that is never answered must not keep the test for ever. */
const MANY_TURNS = 1_000_000;
const MSG_DONTWAIT = 0x40;
const TWO32 = 2 ** 32;
const path = join(tempDirectory(), 'leg');

/** Keeps DEPTH requests on their way and counts the replies. */
class Client {
  answered = 0;
  private readonly fd: number;
  private readonly asked: Uint32Array;
  private readonly answer: Uint32Array;
  private readonly replyBytes: number;
  private partBytes = 0;

  constructor(plane: DataPlane, fd: number, lengthBytes: number) {
    this.fd = fd;
    this.replyBytes = SIZE.SIMPLE_REPLY + lengthBytes;
    const message = (bytes: number): Uint32Array => {
      const { address, words } = plane.memory.carve(80 + Math.ceil(bytes / 16) * 16);
      words[4] = (address + 64) % TWO32;
      words[5] = Math.floor((address + 64) / TWO32);
      words[6] = 1;
      words[16] = (address + 80) % TWO32;
      words[17] = Math.floor((address + 80) / TWO32);
      words[18] = bytes;
      return words;
    };
    this.asked = message(SIZE.REQUEST);
    const read = request({ type: COMMAND.READ, length: lengthBytes, offset: 0 });
    new Uint8Array(this.asked.buffer, this.asked.byteOffset + 80).set(read);
    this.answer = message(DEPTH * this.replyBytes);
    for (let i = 0; i < DEPTH; i += 1) sendmsg(fd, this.asked, 0);
  }

  move(): void {
    const got = recvmsg(this.fd, this.answer, MSG_DONTWAIT);
    if (got <= 0) return;
    this.partBytes += got;
    while (this.partBytes >= this.replyBytes) {
      this.partBytes -= this.replyBytes;
      this.answered += 1;
      sendmsg(this.fd, this.asked, 0);
    }
  }
}

it.each([4096, 65536])('64 clients of 64 devices that read %d bytes are served alike', (bytes) => {
  writeFileSync(path, '');
  truncateSync(path, FILE_BYTES);
  const calls = loadSyscalls();
  if (!hasSyscalls(calls)) throw new Error(calls.reason);
  const plane = new DataPlane({ arenaBytes: 2 ** 26, maxConnections: CLIENTS }, eventfd());
  const facts = { sectors: FILE_BYTES / 512, limits: DEFAULT_LIMITS, direct: false };
  const fds: number[] = [];
  const clients = Array.from({ length: CLIENTS }, (_, i) => {
    const fd = openSync(path, 'r+');
    const [mine, theirs] = calls.socketPair() ?? [-1, -1];
    fds.push(fd, mine);
    const device = new UringDevice(plane.engine, { name: `leg-${i}`, fd, ...facts });
    const target = new Export({ name: `x${i}`, device });
    const both = { input: theirs, output: theirs, isSocket: true };
    expect(plane.connect(both, target, new Uint8Array(0), () => undefined)).not.toBeNull();
    return new Client(plane, mine, bytes);
  });

  let total = 0;
  for (let turn = 0; total < CLIENTS * EACH; turn += 1) {
    if (turn === MANY_TURNS) throw new Error(`only ${total} answers`);
    plane.poll();
    for (const client of clients) client.move();
    total = clients.reduce((sum, { answered }) => sum + answered, 0);
  }
  const counts = clients.map(({ answered }) => answered);
  expect(Math.min(...counts)).toBeGreaterThan(EACH / 2);
  expect(Math.max(...counts)).toBeLessThan(EACH * 2);

  for (const fd of fds) closeSync(fd);
  while (plane.streams.size > 0) plane.poll();
  plane.close();
});
