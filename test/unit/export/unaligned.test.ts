// Requests of any bytes on a device of blocks: the geometry, read-modify-write, and its atomicity.
import fc from 'fast-check';

import { ERRNO } from '../../../core/base/errno.ts';
import { Prng } from '../../../core/base/prng.ts';
import { REQ_OP } from '../../../core/block/op.ts';
import { BlockRange } from '../../../core/export/unaligned.ts';
import { COMMAND } from '../../../core/nbd/proto.ts';
import { request } from '../../support/nbd-messages.ts';
import type { SessionClient } from '../../support/session-client.ts';
import { NOTHING_LEFT, SessionWorld } from '../../support/session-world.ts';

const { READ, WRITE, TRIM, WRITE_ZEROES } = COMMAND;

const filled = (length: number, byte: number): Uint8Array => new Uint8Array(length).fill(byte);

/** As toEqual, but not a matcher's visit to every byte. */
function expectSame(bytes: Uint8Array, expected: Uint8Array): void {
  const differs = Buffer.compare(bytes, expected) !== 0;
  if (differs) expect(bytes).toEqual(expected);
  expect(differs).toBe(false);
}

describe('the blocks around a range', () => {
  it('cover it, no block more, and have the right edges', () => {
    const block = fc.constantFrom(512, 4096, 65_536);
    const cases = fc.property(block, fc.nat(300_000), fc.integer({ min: 1, max: 300_000 }), check);
    fc.assert(cases, { numRuns: 2000 });

    function check(blockBytes: number, offset: number, length: number): void {
      const range = new BlockRange();
      range.set(offset, length, blockBytes);
      const end = offset + length;
      const coverEnd = range.coverStart + range.coverBytes;
      expect(range.coverStart % blockBytes).toBe(0);
      expect(range.lead).toBe(offset - range.coverStart);
      expect(range.tail).toBe(coverEnd - end);
      expect(range.lead).toBeLessThan(blockBytes);
      expect(range.tail).toBeLessThan(blockBytes);
      expect(range.isAligned).toBe(offset % blockBytes === 0 && length % blockBytes === 0);
      const innerStart = Math.ceil(offset / blockBytes) * blockBytes;
      const innerEnd = Math.floor(end / blockBytes) * blockBytes;
      expect(range.innerBytes).toBe(Math.max(0, innerEnd - innerStart));
      if (range.innerBytes > 0) expect(range.innerStart).toBe(innerStart);
      expect(range.isAligned).toBe(!range.hasHead && !range.hasTail);
    }
  });
});

describe('an unaligned request', () => {
  function world(): { world: SessionWorld; client: SessionClient } {
    const one = new SessionWorld({ device: { sectors: 64, limits: { logicalBlockSize: 4096 } } });
    one.device.bytes.forEach((_, i) => (one.device.bytes[i] = i % 251));
    return { world: one, client: one.client() };
  }
  const before = world().world.device.bytes;

  // Inside a block, at its start, at its end, over a border, over whole blocks, all with every edge.
  const ranges = [
    [1, 3],
    [0, 1],
    [4095, 1],
    [4095, 2],
    [100, 4096],
    [4096, 5000],
    [5000, 3192],
    [4000, 12_300],
    [1, 32_766],
  ] as const;

  it.each(ranges)('of bytes %d + %d reads them', (offset, length) => {
    const { world: one, client } = world();
    client.send(request({ type: READ, offset, length }));
    one.run();
    expect(client.replies[0]?.data).toEqual(before.slice(offset, offset + length));
  });

  it.each(ranges)('of bytes %d + %d writes them and no other', (offset, length) => {
    const { world: one, client } = world();
    client.send(request({ type: WRITE, offset }, filled(length, 0xee)));
    one.run();
    const expected = before.slice();
    expected.fill(0xee, offset, offset + length);
    expectSame(one.device.bytes, expected);
    expect(one.leftovers()).toEqual({ ...NOTHING_LEFT, connections: 1 });
  });

  it.each(ranges)('of bytes %d + %d zeroes them and no other', (offset, length) => {
    for (const maxWriteZeroesSectors of [0, 64]) {
      const { world: one, client } = world();
      Object.assign(one.device.limits, { maxWriteZeroesSectors });
      client.send(request({ type: WRITE_ZEROES, offset, length }));
      one.run();
      const expected = before.slice();
      expected.fill(0, offset, offset + length);
      expectSame(one.device.bytes, expected);
    }
  });

  it.each(ranges)('of bytes %d + %d trims what is whole, and nothing else', (offset, length) => {
    const { world: one, client } = world();
    client.send(request({ type: TRIM, offset, length }));
    one.run();
    const expected = before.slice();
    const start = Math.ceil(offset / 4096) * 4096;
    const end = Math.floor((offset + length) / 4096) * 4096;
    if (start < end) expected.fill(0, start, end);
    expectSame(one.device.bytes, expected);
    expect(client.replies[0]?.error).toBe(0);
  });

  it.each([
    ['first', 0],
    ['last', 16],
  ])('whose %s block cannot be read fails, and nothing is written', (_, badSector) => {
    for (const type of [WRITE, WRITE_ZEROES]) {
      const { world: one, client } = world();
      one.device.fault = ({ op, sector }) =>
        op === REQ_OP.READ && sector === badSector ? ERRNO.EIO : 0;
      const length = 10_000;
      client.send(request({ type, offset: 100, length }, filled(type === WRITE ? length : 0, 1)));
      one.run();
      expect(client.replies[0]?.error).toBe(ERRNO.EIO);
      expectSame(one.device.bytes, before);
      expect(one.leftovers()).toEqual({ ...NOTHING_LEFT, connections: 1 });
    }
  });

  it('of one block reads it once', () => {
    const { world: one, client } = world();
    one.device.seen = [];
    client.send(request({ type: WRITE, offset: 10 }, filled(5, 1)));
    one.run();
    expect(one.device.seen.map(({ op }) => op)).toEqual([REQ_OP.READ, REQ_OP.WRITE]);
  });

  it('does not make aligned neighbours wait for each other', () => {
    const { world: one, client } = world();
    one.device.hold();
    for (let i = 0; i < 4; i += 1) client.send(request({ type: WRITE }, filled(4096, i)));
    expect(one.device.heldCount).toBe(4);
    one.device.release();
    one.run();
    expect(client.replies).toHaveLength(4);
  });
});

describe('read-modify-write', () => {
  const SEEDS = [1, 2, 20261122];
  const BYTES = 32 * 1024;

  /** A request under way, and the bytes it touches. */
  interface Doing {
    readonly start: number;
    readonly end: number;
    readonly expected: Uint8Array | undefined;
  }

  /**
   * Clients write ranges of bytes that never overlap while under way, but share blocks all the time.
   * Then the disk is decided: any write lost under another's read-modify-write shows.
   */
  function play(seed: number, logicalBlockSize: number): void {
    const prng = new Prng(seed);
    const zeroes = prng.ratio(1, 2) ? 0 : 8;
    const world = new SessionWorld({
      device: {
        sectors: BYTES / 512,
        limits: { logicalBlockSize, maxWriteZeroesSectors: zeroes, maxSectors: 16 },
        prng: new Prng(seed + 1),
        maxDelayTurns: 12,
      },
      arenaBytes: 2 ** 20,
    });
    const model = new Uint8Array(BYTES);
    const clients = [world.client(), world.client(), world.client()];
    const doing = new Map<number, Doing>();
    let cookie = 0;
    let seenReplies = 0;
    const isFree = (start: number, end: number): boolean =>
      [...doing.values()].every((other) => end <= other.start || other.end <= start);
    const answered = (): void => {
      for (const client of clients) {
        for (const reply of client.replies.splice(0)) {
          const done = doing.get(reply.cookie);
          expect(reply.error).toBe(0);
          if (done?.expected !== undefined) expectSame(reply.data, done.expected);
          doing.delete(reply.cookie);
          seenReplies += 1;
        }
      }
    };
    const begin = (): void => {
      const start = prng.below(BYTES);
      const length = Math.min(BYTES - start, prng.pick([1, 7, 100, 511, 512, 4096, 9000]));
      const aligned = prng.ratio(1, 3);
      const offset = aligned ? start - (start % logicalBlockSize) : start;
      const end = aligned ? Math.min(BYTES, offset + logicalBlockSize) : start + length;
      if (!isFree(offset, end)) return;
      cookie += 1;
      const type = prng.pick([READ, WRITE, WRITE, WRITE, WRITE_ZEROES, TRIM]);
      const bytes = new Uint8Array(type === WRITE ? end - offset : 0).fill(prng.between(1, 255));
      const expected = type === READ ? model.slice(offset, end) : undefined;
      doing.set(cookie, { start: offset, end, expected });
      if (type === WRITE) model.set(bytes, offset);
      if (type === WRITE_ZEROES) model.fill(0, offset, end);
      if (type === TRIM) {
        const first = Math.ceil(offset / logicalBlockSize) * logicalBlockSize;
        const last = Math.floor(end / logicalBlockSize) * logicalBlockSize;
        if (first < last) model.fill(0, first, last);
      }
      prng.pick(clients).send(request({ type, cookie, offset, length: end - offset }, bytes));
    };

    for (let step = 0; step < 4000; step += 1) {
      if (prng.ratio(3, 5)) begin();
      else world.loop.run();
      answered();
    }
    world.run();
    answered();
    expect(doing.size).toBe(0);
    expect(seenReplies).toBe(cookie);
    expect(cookie).toBeGreaterThan(500);
    expectSame(world.device.bytes, model);
    expect(world.leftovers()).toEqual({ ...NOTHING_LEFT, connections: 3 });
  }

  it.each(SEEDS)('never loses a neighbour’s write: seed %d, blocks of 512', (seed) => {
    play(seed, 512);
  });

  it.each(SEEDS)('never loses a neighbour’s write: seed %d, blocks of 4096', (seed) => {
    play(seed, 4096);
  });
});
