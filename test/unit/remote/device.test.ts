// The rules of core/remote/README.md: what is sent again and when, what is given up, what comes back.
import { ERRNO } from '../../../core/base/errno.ts';
import { Prng } from '../../../core/base/prng.ts';
import { REQ_FLAG, REQ_OP } from '../../../core/block/op.ts';
import { ZeroQuery } from '../../../core/block/run.ts';
import { COMMAND } from '../../../core/nbd/proto.ts';
import { RequestHeader } from '../../../core/nbd/wire.ts';
import { RemoteWorld } from '../../support/remote-world.ts';

const types = (world: RemoteWorld, slot = 0): readonly number[] =>
  world
    .wire(slot)
    .requests()
    .map(({ type }) => type);

describe('a remote device', () => {
  it('pipelines, and takes replies in any order', () => {
    const world = new RemoteWorld();
    const first = world.submit(REQ_OP.READ, 0, 1);
    const second = world.submit(REQ_OP.READ, 1, 1);
    const [a, b] = world.wire().two();
    world.wire().answer(b, 0, new Uint8Array(512).fill(2));
    world.run();
    expect([first.errno, second.errno]).toEqual([undefined, 0]);
    world.wire().answer(a, 5);
    world.run();
    expect([first.errno, second.bio.vecs[0]?.page[511]]).toEqual([ERRNO.EIO, 2]);
  });

  it('writes and flushes where the server has no FUA', () => {
    const world = new RemoteWorld({ transmissionFlags: 0x5 });
    const write = world.submit(REQ_OP.WRITE, 0, 1, REQ_FLAG.FUA);
    world.wire().answer(world.wire().oldest());
    world.run();
    expect(write.errno).toBeUndefined();
    const flush = world.wire().oldest();
    expect(flush.type).toBe(COMMAND.FLUSH);
    world.wire().answer(flush);
    world.run();
    expect(write.errno).toBe(0);
  });

  it('sends again what was in flight, once the old connection is fenced, when nothing is cached', () => {
    const world = new RemoteWorld();
    const write = world.submit(REQ_OP.WRITE, 3, 1);
    expect(types(world)).toEqual([COMMAND.WRITE]);
    world.wire().link.closed('gone');
    expect(world.asked).toEqual(['fence 0']);
    world.fenced(0);
    expect(world.asked).toEqual(['connect 0']);
    const wire = world.connect(0);
    const again = wire.oldest();
    expect(again).toMatchObject({ type: COMMAND.WRITE, offset: 1536, lengthBytes: 512 });
    wire.answer(again);
    world.run();
    expect(write.errno).toBe(0);
  });

  it('gives up when acknowledged writes may be lost, and comes back after a FLUSH has failed', () => {
    const world = new RemoteWorld();
    world.submit(REQ_OP.WRITE, 3, 1);
    world.wire().answer(world.wire().oldest());
    const read = world.submit(REQ_OP.READ, 3, 1);
    world.wire().link.closed('gone');
    world.run();
    expect(read.errno).toBe(ERRNO.ENOTCONN);
    world.fenced(0);
    world.connect(0);
    expect(world.device.isDead).toBe(true);
    const flush = world.submit(REQ_OP.FLUSH);
    world.run();
    expect([flush.errno, world.device.isDead]).toEqual([ERRNO.ENOTCONN, false]);
  });

  it('asks at once that what was there before it is kept, and until then a lost connection is a loss', () => {
    const world = new RemoteWorld({}, 1, false);
    const read = world.submit(REQ_OP.READ, 3, 1);
    expect(types(world)).toEqual([COMMAND.FLUSH, COMMAND.READ]);
    world.wire().link.closed('gone');
    world.run();
    expect([read.errno, world.device.isDead]).toEqual([ERRNO.ENOTCONN, true]);
  });

  it('asks nothing of a server without FLUSH', () => {
    const world = new RemoteWorld({ transmissionFlags: 0x1 }, 1, false);
    expect(types(world)).toEqual([]);
    world.wire().link.closed('gone');
    expect(world.device.isDead).toBe(false);
  });

  it('is not afraid for writes that a FLUSH or FUA has covered', () => {
    const world = new RemoteWorld();
    world.submit(REQ_OP.WRITE, 3, 1);
    world.wire().answer(world.wire().oldest());
    world.submit(REQ_OP.FLUSH);
    world.wire().answer(world.wire().oldest());
    world.submit(REQ_OP.WRITE, 4, 1, REQ_FLAG.FUA);
    world.wire().answer(world.wire().oldest());
    world.wire().link.closed('gone');
    expect(world.device.isDead).toBe(false);
  });

  it('does not count a write that was answered after the FLUSH went out as flushed', () => {
    const world = new RemoteWorld();
    world.submit(REQ_OP.WRITE, 3, 1);
    world.submit(REQ_OP.FLUSH);
    const [write, flush] = world.wire().two();
    world.wire().answer(write);
    world.wire().answer(flush);
    world.wire().link.closed('gone');
    expect(world.device.isDead).toBe(true);
  });

  it('asks a surviving link for a flush before a new one is made', () => {
    const world = new RemoteWorld({}, 2);
    world.submit(REQ_OP.WRITE, 3, 1);
    world.wire(0).answer(world.wire(0).oldest());
    world.wire(0).link.closed('gone');
    world.fenced(0);
    expect(world.asked).toEqual([]);
    const probe = world.wire(1).oldest();
    expect(probe.type).toBe(COMMAND.FLUSH);
    world.wire(1).answer(probe);
    expect([world.asked, world.device.isDead]).toEqual([['connect 0'], false]);
    world.wire(1).link.closed('gone too');
    expect(world.device.isDead).toBe(false);
  });

  it('ends what is overdue with ETIMEDOUT, and is no use before every old connection is fenced', () => {
    const world = new RemoteWorld({}, 2);
    const write = world.submit(REQ_OP.WRITE, 0, 1);
    const read = world.submit(REQ_OP.READ, 8, 1);
    world.tick(8);
    expect([write.errno, read.errno]).toEqual([undefined, undefined]);
    world.tick(1);
    expect([write.errno, read.errno]).toEqual([ERRNO.ETIMEDOUT, ERRNO.ETIMEDOUT]);
    expect(world.wires.map((wire) => wire?.isAbandoned)).toEqual([true, true]);
    world.fenced(0);
    world.connect(0);
    const early = world.submit(REQ_OP.READ, 0, 1);
    world.run();
    expect([early.errno, world.device.isDead]).toEqual([ERRNO.ENOTCONN, true]);
    world.fenced(1);
    expect(world.device.isDead).toBe(false);
  });

  it('ends what waits for a connection when its time is up', () => {
    const world = new RemoteWorld();
    world.wire().link.closed('gone');
    world.fenced(0);
    const read = world.submit(REQ_OP.READ, 0, 1);
    world.tick(9);
    expect(read.errno).toBe(ERRNO.ETIMEDOUT);
  });

  it('is dead for good when another server answers', () => {
    const world = new RemoteWorld();
    world.device.refused('its size was 1 and is 2');
    const flush = world.submit(REQ_OP.FLUSH);
    world.run();
    world.fenced(0);
    expect([flush.errno, world.device.isDead, world.asked]).toEqual([ERRNO.ENOTCONN, true, []]);
  });

  it('treats ESHUTDOWN as a server that goes away, not as an answer', () => {
    const world = new RemoteWorld();
    const read = world.submit(REQ_OP.READ, 0, 1);
    world.wire().answer(world.wire().oldest(), 108);
    world.run();
    expect([read.errno, world.wire().isAbandoned]).toEqual([undefined, true]);
  });

  describe('asked what is zero', () => {
    /** BLOCK_STATUS, as a whole: u32 context, then u32 length and u32 flags each. */
    function status(
      request: RequestHeader,
      context: number,
      extents: readonly (readonly [number, number])[],
    ): Uint8Array {
      const made = new Uint8Array(24 + 8 * extents.length);
      const view = new DataView(made.buffer);
      view.setUint32(0, 0x668e33ef);
      view.setUint16(4, 1);
      view.setUint16(6, 5);
      view.setUint32(8, request.cookieHigh);
      view.setUint32(12, request.cookieLow);
      view.setUint32(16, made.length - 20);
      view.setUint32(20, context);
      for (const [i, [length, flags]] of extents.entries()) {
        view.setUint32(24 + 8 * i, length);
        view.setUint32(28 + 8 * i, flags);
      }
      return made;
    }

    function ask(world: RemoteWorld, sector: number, sectors: number): () => number[] | undefined {
      let answer: number[] | undefined;
      const owner = {
        zeroesKnown: ({ count, starts, ends }: ZeroQuery) =>
          (answer = [...starts.slice(0, count)].flatMap((start, i) => [start, ends[i] ?? 0])),
      };
      const query = new ZeroQuery(owner);
      query.sector = sector;
      query.sectors = sectors;
      world.device.askZeroes(query);
      world.run();
      return () => answer;
    }

    it('asks the server, and believes ZERO, not HOLE', () => {
      const world = new RemoteWorld({ isStructured: true, allocationId: 9 });
      const answer = ask(world, 8, 100);
      const request = world.wire().oldest();
      expect(request).toMatchObject({
        type: COMMAND.BLOCK_STATUS,
        offset: 4096,
        lengthBytes: 51200,
      });
      expect(answer()).toBeUndefined();
      // Zero, a hole that says nothing, zero with half a sector of data behind, zero beyond the end.
      const extents = [
        [1024, 3],
        [512, 1],
        [1280, 2],
        [1280, 0],
        [2 ** 20, 2],
      ] as const;
      const whole = status(request, 9, extents);
      for (let at = 0; at < whole.length; at += 7) world.wire().give(whole.subarray(at, at + 7));
      world.run();
      expect(answer()).toEqual([8, 10, 11, 13, 16, 108]);
    });

    it('holds data for a server that says nothing, an error, or less than was asked', () => {
      const without = new RemoteWorld();
      expect(ask(without, 0, 8)()).toEqual([]);
      expect(without.wire().requests()).toEqual([]);
      const world = new RemoteWorld({ isStructured: true, allocationId: 1 });
      const refused = ask(world, 0, 8);
      world.wire().answer(world.wire().oldest(), 22);
      world.run();
      expect(refused()).toEqual([]);
      const short = ask(world, 0, 8);
      world.wire().give(status(world.wire().oldest(), 1, [[512, 3]]));
      world.run();
      expect(short()).toEqual([0, 1]);
    });

    it.each([
      ['another context', 2, [[4096, 3]]],
      [
        'more than was asked for',
        1,
        [
          [4096, 3],
          [512, 3],
        ],
      ],
      ['an extent of no bytes', 1, [[0, 3]]],
    ] as const)(
      'gives a connection up that answers %s, and asks again on the next',
      (_, id, extents) => {
        const world = new RemoteWorld({ isStructured: true, allocationId: 1 });
        const answer = ask(world, 0, 8);
        world.wire().give(status(world.wire().oldest(), id, extents));
        world.run();
        expect([answer(), world.asked]).toEqual([undefined, ['fence 0']]);
        world.fenced(0);
        const wire = world.connect(0);
        wire.give(status(wire.oldest(), 1, [[4096, 3]]));
        world.run();
        expect(answer()).toEqual([0, 8]);
      },
    );

    it('is answered when the device is given up', () => {
      const world = new RemoteWorld({ isStructured: true, allocationId: 1 });
      const answer = ask(world, 0, 8);
      world.tick(9);
      expect(answer()).toEqual([]);
      expect(ask(world, 0, 8)()).toEqual([]);
    });
  });

  it('survives anything a server can send: bios end at most once, and all by their time', () => {
    for (let seed = 1; seed <= 1500; seed += 1) {
      const prng = new Prng(seed);
      const world = new RemoteWorld({ isStructured: prng.u32() % 2 === 0 });
      const bios = Array.from({ length: 1 + (prng.u32() % 8) }, (_, i) =>
        world.submit(prng.u32() % 2 === 0 ? REQ_OP.READ : REQ_OP.WRITE, i, 1),
      );
      const asked = world.wire().requests();
      for (let n = 0; n < 6 && !world.wire().link.isLost; n += 1) {
        world.wire().give(someReply(prng, asked[prng.u32() % asked.length] ?? new RequestHeader()));
      }
      world.tick(10);
      expect(bios.map(({ errno }) => errno)).not.toContain(undefined);
      expect(world.device.inFlight).toBe(0);
    }
  });
});

/** A reply that is right, nearly right, or noise. */
function someReply(prng: Prng, { cookieHigh, cookieLow, offset }: Asked): Uint8Array {
  const isChunk = prng.u32() % 2 === 0;
  const lengths = [0, 6, 8, 12, 14, 520];
  const payload = isChunk ? (lengths[prng.u32() % lengths.length] ?? 0) : 512 * (prng.u32() % 2);
  const bytes = new Uint8Array((isChunk ? 20 : 16) + payload);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, isChunk ? 0x668e33ef : 0x67446698);
  if (isChunk) {
    const kinds = [0, 1, 2, 5, 0x8001, 0x8002, 77];
    view.setUint16(4, prng.u32() % 2);
    view.setUint16(6, kinds[prng.u32() % kinds.length] ?? 0);
    view.setUint32(16, payload);
    if (payload >= 8) view.setUint32(24, offset);
    if (payload === 12) view.setUint32(28, 512);
  } else view.setUint32(4, prng.u32() % 3 === 0 ? 5 : 0);
  view.setUint32(8, cookieHigh);
  view.setUint32(12, cookieLow);
  if (prng.u32() % 3 === 0) bytes[prng.u32() % bytes.length] = prng.u32() & 0xff;
  return bytes;
}

type Asked = ReturnType<ReturnType<RemoteWorld['wire']>['requests']>[number];
