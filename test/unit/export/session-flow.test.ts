// One connection's flow: what slows it, what ends it, and that nothing is left behind.
import { MAX_REQUESTS } from '../../../core/export/session.ts';
import { COMMAND } from '../../../core/nbd/proto.ts';
import { concat, toHex } from '../../support/hex.ts';
import { request } from '../../support/nbd-messages.ts';
import { expectLeft, filled, said, SessionWorld } from '../../support/session-world.ts';

const { READ, WRITE, DISC, FLUSH, WRITE_ZEROES } = COMMAND;
const SIZE = 2 ** 20;

describe('back-pressure', () => {
  it('stops reading when all records are in use, and goes on when one is free', () => {
    const world = new SessionWorld();
    const client = world.client();
    world.device.hold();
    const total = MAX_REQUESTS + 10;
    for (let i = 0; i < total; i += 1) client.send(request({ type: FLUSH, cookie: i }));
    expect(world.device.heldCount).toBe(MAX_REQUESTS);
    expect(client.session.isBlocked).toBe(true);
    // The header of the next one is in, nothing behind it.
    expect(client.unsentBytes).toBe(9 * 28);
    world.device.release();
    world.run();
    expect(client.replies).toHaveLength(total);
    expect(client.unsentBytes).toBe(0);
  });

  it('holds a client that never reads to its records and its share of memory', () => {
    const world = new SessionWorld({ arenaBytes: 2 ** 20 });
    const slow = world.client();
    slow.reading = false;
    for (let i = 0; i < 1000; i += 1) {
      slow.send(request({ type: READ, cookie: i, length: 65_536 }));
      world.run();
    }
    expect(world.arena.usedBytes).toBe(2 ** 18);
    expect(slow.session.replies.length).toBe(4);
    expect(slow.unsentBytes).toBe(995 * 28);

    const other = world.client();
    other.send(request({ type: READ, cookie: 1, length: 65_536 }));
    world.run();
    expect(said(other)).toEqual(['1 OK']);

    slow.reading = true;
    slow.takeReplies();
    world.run();
    expect(slow.replies).toHaveLength(1000);
    expectLeft(world, { connections: 2 });
  });

  it('queues for memory in order, and a large request is not passed by small ones', () => {
    const world = new SessionWorld({ arenaBytes: 2 ** 20 });
    const [a, b, c] = [world.client(), world.client(), world.client()];
    world.device.hold();
    a.send(request({ type: READ, cookie: 1, length: 2 ** 19 }));
    b.send(request({ type: READ, cookie: 2, length: 2 ** 20 }));
    c.send(request({ type: READ, cookie: 3, length: 512 }));
    expect(world.arena.waiters).toBe(2);
    expect(world.device.heldCount).toBe(1);
    world.device.release(1);
    world.run();
    expect([a, b, c].map((client) => client.replies.length)).toEqual([1, 0, 0]);
    expect(world.device.heldCount).toBe(1);
    world.device.release();
    world.run();
    expect([a, b, c].map((client) => client.replies.length)).toEqual([1, 1, 1]);
    expectLeft(world, { connections: 3 });
  });
});

describe('a client that goes away', () => {
  it('with DISC gets what it asked for first', () => {
    const world = new SessionWorld();
    const client = world.client();
    world.device.hold();
    client.send(request({ type: READ, cookie: 1, length: 512 }));
    client.send(request({ type: DISC }));
    client.send(request({ type: READ, cookie: 2, length: 512 }));
    expect(client.ended).toBeUndefined();
    world.device.release();
    world.run();
    expect(said(client)).toEqual(['1 OK']);
    expect(client.ended).toBe('');
    expectLeft(world);
  });

  it('in mid-payload has written nothing, at every byte', () => {
    const message = request({ type: WRITE, offset: 512 }, filled(512, 9));
    for (let cut = 1; cut < message.length; cut += 1) {
      for (const end of ['abandon', 'endInput'] as const) {
        const world = new SessionWorld({ device: { sectors: 4 } });
        const client = world.client();
        client.send(message.subarray(0, cut));
        client.session[end]();
        world.run();
        expect(client.ended).toBe('');
        expect(world.device.bytes.every((byte) => byte === 0)).toBe(true);
        expectLeft(world);
      }
    }
  });

  it('with requests at the device leaves nothing behind when they end', () => {
    const world = new SessionWorld();
    const client = world.client();
    world.device.hold();
    client.send(request({ type: WRITE, offset: 3 }, filled(5000, 9)));
    client.send(request({ type: READ, length: 4096 }));
    client.send(request({ type: FLUSH }));
    client.session.abandon();
    expect(client.ended).toBeUndefined();
    expect(world.leftovers()).toMatchObject({ connections: 1, requestsInFlight: 3 });
    world.device.release();
    world.run();
    expect(client.replies).toEqual([]);
    expect(client.ended).toBe('');
    expectLeft(world);
    // The write was whole when the client went: it is done, not dropped half-way.
    expect(world.device.bytes.subarray(3, 5003)).toEqual(filled(5000, 9));
  });

  it('with unsent replies gives their memory back', () => {
    const world = new SessionWorld();
    const client = world.client();
    client.reading = false;
    client.send(request({ type: READ, length: 4096 }));
    world.run();
    expect(world.arena.usedBytes).toBe(4096);
    client.session.abandon();
    expectLeft(world);
  });

  it('while it queues for memory leaves the line', () => {
    const world = new SessionWorld({ arenaBytes: 2 ** 16 });
    const [holder, waiter] = [world.client(), world.client()];
    world.device.hold();
    holder.send(request({ type: READ, length: 2 ** 16 }));
    waiter.send(request({ type: READ, length: 512 }));
    expect(world.arena.waiters).toBe(1);
    waiter.session.abandon();
    expect(world.arena.waiters).toBe(0);
    world.device.release();
    world.run();
    expectLeft(world, { connections: 1 });
  });

  it('between the grant of memory and the news of it gives it back', () => {
    const world = new SessionWorld({ arenaBytes: 2 ** 16 });
    const [holder, waiter] = [world.client(), world.client()];
    holder.reading = false;
    holder.send(request({ type: READ, length: 2 ** 16 }));
    waiter.send(request({ type: READ, length: 512 }));
    world.run();
    holder.takeReplies();
    expect(world.arena.waiters).toBe(0);
    waiter.session.abandon();
    world.run();
    expectLeft(world, { connections: 1 });
  });
});

describe('a shutdown of the export', () => {
  it('ends what is in flight, refuses what comes, and says when it is idle', async () => {
    const world = new SessionWorld();
    const client = world.client();
    world.device.hold();
    client.send(request({ type: WRITE, cookie: 1 }, filled(512, 1)));
    const half = request({ type: WRITE, cookie: 2, offset: 512 }, filled(512, 2));
    client.send(half.subarray(0, 300));
    let idle = false;
    const shutdown = world.target.beginShutdown().then(() => {
      idle = true;
    });
    client.send(half.subarray(300));
    client.send(request({ type: READ, cookie: 3, length: 512 }));
    client.send(request({ type: WRITE, cookie: 4 }, filled(512, 4)));
    world.run();
    expect(said(client)).toEqual(['2 ESHUTDOWN', '3 ESHUTDOWN', '4 ESHUTDOWN']);
    await Promise.resolve();
    expect(idle).toBe(false);

    world.device.release();
    world.run();
    await shutdown;
    expect(said(client).at(-1)).toBe('1 OK');
    expect(world.device.bytes.subarray(0, 512)).toEqual(filled(512, 1));
    expect(world.device.bytes.subarray(512, 1024)).toEqual(filled(512, 0));
    client.send(request({ type: DISC }));
    expectLeft(world);
  });

  it('is over at once when nothing is in flight', async () => {
    const world = new SessionWorld();
    await world.target.beginShutdown();
    expect(world.target.isShuttingDown).toBe(true);
  });
});

describe('any split of the stream', () => {
  const stream = concat(
    request({ type: WRITE, cookie: 1, offset: 500 }, filled(30, 1)),
    request({ type: READ, cookie: 2, offset: 490, length: 50 }),
    request({ type: WRITE, cookie: 3, offset: SIZE }, filled(5, 2)),
    request({ type: WRITE_ZEROES, cookie: 4, offset: 505, length: 9 }),
    request({ type: COMMAND.BLOCK_STATUS, cookie: 5, length: 1 }),
    request({ type: READ, cookie: 6, offset: 490, length: 50 }),
    request({ type: DISC }),
  );

  function outcome(chunks: readonly Uint8Array[]): unknown {
    const world = new SessionWorld({ device: { sectors: 2048 } });
    const client = world.client();
    for (const chunk of chunks) {
      client.send(chunk);
      world.run();
    }
    expectLeft(world);
    const replies = client.replies.map(({ cookie, error, data }) => [cookie, error, toHex(data)]);
    return { replies: replies.sort(), disk: toHex(world.device.bytes.subarray(0, 1024)) };
  }

  it('in two, at every byte, and into single bytes, leaves the same disk', () => {
    const bytes = [...stream].map((byte) => Uint8Array.of(byte));
    const { disk } = outcome(bytes) as { disk: string };
    for (let cut = 1; cut < stream.length; cut += 1) {
      const split = outcome([stream.subarray(0, cut), stream.subarray(cut)]) as { disk: string };
      expect(split.disk).toBe(disk);
    }
    expect(disk.slice(1000, 1060)).toBe(`${'01'.repeat(5)}${'00'.repeat(9)}${'01'.repeat(16)}`);
  });
});
