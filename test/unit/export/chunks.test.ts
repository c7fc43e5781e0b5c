// Structured and extended replies of one connection: chunks, texts, holes, the status of blocks.
import { ERRNO } from '../../../core/base/errno.ts';
import type { BlockDevice } from '../../../core/block/device.ts';
import { RUN, type Run } from '../../../core/block/run.ts';
import { PLAIN, type Agreement } from '../../../core/nbd/agreement.ts';
import { REPLY_STYLE } from '../../../core/nbd/chunk.ts';
import { CHUNK, COMMAND, COMMAND_FLAG, nameIn, NBD_ERROR } from '../../../core/nbd/proto.ts';
import { concat } from '../../support/hex.ts';
import { extendedRequest, request } from '../../support/nbd-messages.ts';
import type { SeenReply } from '../../support/reply-reader.ts';
import { expectLeft, filled, said, SessionWorld } from '../../support/session-world.ts';

const { READ, WRITE, FLUSH, TRIM, CACHE, WRITE_ZEROES, BLOCK_STATUS } = COMMAND;
const { DF, FUA, NO_HOLE, FAST_ZERO, REQ_ONE, PAYLOAD_LEN } = COMMAND_FLAG;
const KIB = 1024;
const STRUCTURED: Agreement = { ...PLAIN, style: REPLY_STYLE.STRUCTURED, contexts: 1 };
const EXTENDED: Agreement = { ...PLAIN, style: REPLY_STYLE.EXTENDED, contexts: 3 };

/** `[flags, KiB]` runs from the start on, for ever the last. */
type Layout = readonly (readonly [flags: number, kib: number])[];

function runOf(layout: Layout, sector: number, sectors: number, run: Run): void {
  let start = 0;
  for (const [flags, kib] of layout) {
    const end = start + kib * 2;
    if (sector < end) {
      run.set(Math.min(end - sector, sectors), flags);
      return;
    }
    start = end;
  }
  run.set(sectors, RUN.DATA);
}

function worldWith(layout: Layout, mirror?: Layout): SessionWorld {
  const world = new SessionWorld();
  const device: BlockDevice & { hasMirrorState?: boolean } = world.device;
  device.allocationAt = (sector, sectors, run) => runOf(layout, sector, sectors, run);
  if (mirror === undefined) return world;
  device.hasMirrorState = true;
  device.mirrorStateAt = (sector, sectors, run) => runOf(mirror, sector, sectors, run);
  return world;
}

function isZero(data: Uint8Array | undefined, length: number): boolean {
  return data?.length === length && data.every((byte) => byte === 0);
}

/** `DATA@0+4096`, `HOLE@...`, `NONE`, `ERROR`; a `.` marks the last. */
function chunksOf(reply: SeenReply | undefined): string[] {
  return (reply?.chunks ?? []).map(({ type, isDone, payload }) => {
    const view = new DataView(payload.buffer);
    const place = type === CHUNK.OFFSET_DATA || type === CHUNK.OFFSET_HOLE;
    const length = type === CHUNK.OFFSET_DATA ? payload.length - 8 : place ? view.getUint32(8) : 0;
    const range = place ? `@${Number(view.getBigUint64(0))}+${length}` : '';
    return `${nameIn(CHUNK, type)}${range}${isDone ? '.' : ''}`;
  });
}

describe('structured replies', () => {
  it('answer a READ in chunks, and everything else that went well in 16 bytes', () => {
    const world = new SessionWorld();
    const client = world.client(STRUCTURED);
    client.send(request({ type: WRITE, cookie: 1, offset: 512 }, filled(700, 7)));
    world.run();
    client.send(request({ type: READ, cookie: 2, offset: 513, length: 100 }));
    client.send(request({ type: READ, cookie: 3, length: 0 }));
    client.send(request({ type: FLUSH, cookie: 4 }));
    client.send(request({ type: CACHE, cookie: 5, length: 2 ** 20 }));
    world.run();
    expect(said(client)).toEqual(['1 OK', '3 OK', '2 OK', '4 OK', '5 OK']);
    expect(client.replies.map(chunksOf)).toEqual([[], ['NONE.'], ['OFFSET_DATA@513+100.'], [], []]);
    expect(client.replies[2]?.data).toEqual(filled(100, 7));
    client.session.abandon();
    expectLeft(world);
  });

  it.each([
    ['a write past the end', { type: WRITE, offset: 2 ** 20 - 1 }, 2, 'ENOSPC', 'past the end'],
    [
      'a read past the end',
      { type: READ, offset: 2 ** 40, length: 2 },
      0,
      'EINVAL',
      'past the end',
    ],
    ['an unknown flag on READ', { type: READ, length: 2, flags: 512 }, 0, 'EINVAL', 'unknown flag'],
    ['DF on TRIM', { type: TRIM, length: 2, flags: DF }, 0, 'EINVAL', 'not go with'],
    ['an unknown command', { type: 99 }, 0, 'EINVAL', 'not offered'],
    ['a status of nothing', { type: BLOCK_STATUS }, 0, 'EINVAL', 'no bytes'],
    [
      'NO_HOLE and fast',
      { type: WRITE_ZEROES, length: 512, flags: FAST_ZERO | NO_HOLE },
      0,
      'ENOTSUP',
      'no faster',
    ],
    [
      'a fast edge',
      { type: WRITE_ZEROES, offset: 1, length: 512, flags: FAST_ZERO },
      0,
      'ENOTSUP',
      'no faster',
    ],
  ])('say in words what is wrong with %s', (_, fields, payload, error, text) => {
    const world = new SessionWorld();
    const client = world.client(STRUCTURED);
    client.send(request({ cookie: 1, ...fields }, filled(payload, 1)));
    client.send(request({ type: READ, cookie: 2, length: 1 }));
    world.run();
    expect(said(client)).toEqual([`1 ${error}`, '2 OK']);
    expect(client.replies[0]?.text).toContain(text);
    expect(chunksOf(client.replies[0])).toEqual(['ERROR.']);
  });

  it('say where the device failed', () => {
    const world = new SessionWorld({ device: { limits: { maxSectors: 8 } } });
    world.device.fault = (bio) => (bio.sector === 16 ? ERRNO.EIO : 0);
    const client = world.client(STRUCTURED);
    client.send(request({ type: READ, cookie: 1, offset: 100, length: 60_000 }));
    client.send(request({ type: WRITE, cookie: 2, offset: 8192 + 5 }, filled(10, 1)));
    client.send(request({ type: FLUSH, cookie: 3 }));
    world.run();
    const places = client.replies.map(({ cookie, error, errorOffset }) => [
      cookie,
      error,
      errorOffset,
    ]);
    expect(places.sort()).toEqual([
      [1, NBD_ERROR.EIO, 8192],
      [2, NBD_ERROR.EIO, 8197],
      [3, NBD_ERROR.OK, -1],
    ]);
    expect(client.replies[0]?.text).toContain('input/output error');
  });

  it('refuse BLOCK_STATUS without a context', () => {
    const world = new SessionWorld();
    const client = world.client({ ...STRUCTURED, contexts: 0 });
    client.send(request({ type: BLOCK_STATUS, cookie: 1, length: 512 }));
    world.run();
    expect(client.replies[0]).toMatchObject({ error: NBD_ERROR.EINVAL });
    expect(client.replies[0]?.text).toContain('no metadata context');
  });
});

describe('a sparse READ', () => {
  const H = RUN.HOLE | RUN.ZERO;
  it.each<[string, Layout, number, number, number, string[], number]>([
    [
      'one hole, without touching the device',
      [[H, 512]],
      0,
      256 * KIB,
      0,
      ['OFFSET_HOLE@0+262144.'],
      0,
    ],
    ['one hole, with DF', [[H, 512]], 5, 100_000, DF, ['OFFSET_HOLE@5+100000.'], 0],
    [
      'data, with DF, where a part is a hole',
      [[H, 64]],
      0,
      256 * KIB,
      DF,
      ['OFFSET_DATA@0+262144.'],
      1,
    ],
    [
      'holes and data in turn',
      [
        [H, 64],
        [RUN.DATA, 64],
        [H, 64],
      ],
      1000,
      192 * KIB - 1000,
      0,
      ['OFFSET_HOLE@1000+64536', 'OFFSET_DATA@65536+65536', 'OFFSET_HOLE@131072+65536.'],
      1,
    ],
    [
      'no hole too small to be worth a chunk',
      [
        [RUN.DATA, 64],
        [H, 4],
        [RUN.DATA, 64],
      ],
      0,
      132 * KIB,
      0,
      ['OFFSET_DATA@0+135168.'],
      1,
    ],
    [
      'four chunks at most, the last of data',
      [
        [H, 64],
        [RUN.DATA, 64],
        [H, 64],
        [RUN.DATA, 64],
        [H, 64],
      ],
      0,
      320 * KIB,
      0,
      [
        'OFFSET_HOLE@0+65536',
        'OFFSET_DATA@65536+65536',
        'OFFSET_HOLE@131072+65536',
        'OFFSET_DATA@196608+131072.',
      ],
      1,
    ],
    [
      'four chunks at most, never a hole that is none',
      [
        [RUN.DATA, 64],
        [H, 64],
        [RUN.DATA, 64],
        [H, 64],
        [RUN.DATA, 64],
      ],
      0,
      320 * KIB,
      0,
      ['OFFSET_DATA@0+65536', 'OFFSET_HOLE@65536+65536', 'OFFSET_DATA@131072+196608.'],
      1,
    ],
    ['data, when it is short', [[H, 512]], 0, 32 * KIB, 0, ['OFFSET_DATA@0+32768.'], 1],
    [
      'data, where a hole may hold anything',
      [[RUN.HOLE, 512]],
      0,
      128 * KIB,
      0,
      ['OFFSET_DATA@0+131072.'],
      1,
    ],
  ])('is %s', (_, layout, offset, length, flags, expected, bios) => {
    for (const [agreed, make] of [
      [STRUCTURED, request],
      [EXTENDED, extendedRequest],
    ] as const) {
      const world = worldWith(layout);
      world.device.seen = [];
      const client = world.client(agreed);
      client.send(make({ type: READ, cookie: 9, offset, length, flags }));
      world.run();
      expect(client.replies.map(chunksOf)).toEqual([expected]);
      expect(isZero(client.replies[0]?.data, length)).toBe(true);
      expect(world.device.seen).toHaveLength(bios);
      client.session.abandon();
      expectLeft(world);
    }
  });

  it('fits the queue when every request has as many chunks as may be', () => {
    const layout = Array.from({ length: 8 }, (_, i): [number, number] => [i % 2 === 0 ? H : 0, 16]);
    const world = worldWith(layout);
    const client = world.client(STRUCTURED);
    client.reading = false;
    for (let i = 0; i < 300; i += 1) {
      client.send(request({ type: READ, cookie: i, length: 128 * KIB }));
    }
    world.run();
    client.reading = true;
    for (let i = 0; i < 300; i += 1) {
      client.takeReplies();
      world.run();
    }
    expect(client.replies).toHaveLength(300);
    expect(client.replies.every(({ error, data }) => error === 0 && data.length === 131_072)).toBe(
      true,
    );
    client.session.abandon();
    expectLeft(world);
  });

  it('is not looked for by a plain client', () => {
    const world = worldWith([[H, 512]]);
    const device: BlockDevice = world.device;
    device.allocationAt = () => {
      throw new Error('nobody asked');
    };
    const client = world.client();
    client.send(request({ type: READ, cookie: 1, length: 256 * KIB }));
    world.run();
    expect(isZero(client.replies[0]?.data, 256 * KIB)).toBe(true);
  });
});

describe('BLOCK_STATUS', () => {
  const H = RUN.HOLE | RUN.ZERO;
  const layout: Layout = [
    [RUN.DATA, 4],
    [H, 4],
    [H, 4],
    [RUN.HOLE, 4],
    [RUN.DATA, 1000],
  ];
  const ask = (
    agreed: Agreement,
    offset: number,
    length: number,
    flags = 0,
  ): SeenReply | undefined => {
    const world = worldWith(layout, [
      [0, 8],
      [2, 1008],
    ]);
    const client = world.client(agreed);
    const make = agreed.style === REPLY_STYLE.EXTENDED ? extendedRequest : request;
    client.send(make({ type: BLOCK_STATUS, cookie: 1, offset, length, flags }));
    world.run();
    client.session.abandon();
    expectLeft(world);
    return client.replies[0];
  };

  it('joins neighbours that are alike, and stops at the end of the range', () => {
    expect(ask(STRUCTURED, 0, 2 ** 20)?.status.get(1)).toEqual([
      { length: 4096, flags: 0 },
      { length: 8192, flags: H },
      { length: 4096, flags: RUN.HOLE },
      { length: 2 ** 20 - 16_384, flags: 0 },
    ]);
    expect(ask(STRUCTURED, 1000, 4000)?.status.get(1)).toEqual([
      { length: 3096, flags: 0 },
      { length: 904, flags: H },
    ]);
  });

  it('gives one extent, inside the range, for REQ_ONE', () => {
    const status = ask(STRUCTURED, 4096, 2 ** 20 - 4096, REQ_ONE | FUA)?.status;
    expect([...(status ?? [])]).toEqual([[1, [{ length: 8192, flags: H }]]]);
  });

  it('gives a chunk for every context, the last one marked', () => {
    for (const style of [REPLY_STYLE.STRUCTURED, REPLY_STYLE.EXTENDED]) {
      const reply = ask({ ...PLAIN, style, contexts: 3 }, 0, 16_384);
      expect(reply?.chunks.map(({ isDone }) => isDone)).toEqual([false, true]);
      expect(reply?.status.get(2)).toEqual([
        { length: 8192, flags: 0 },
        { length: 8192, flags: 2 },
      ]);
      expect(reply?.status.get(1)).toHaveLength(3);
    }
    expect(ask({ ...PLAIN, style: 1, contexts: 2 }, 0, 16_384)?.status.has(1)).toBe(false);
  });

  it('says less than was asked when there is more than fits', () => {
    const many = Array.from({ length: 2048 }, (_, i): [number, number] => [
      i % 2 === 0 ? H : 0,
      0.5,
    ]);
    for (const agreed of [STRUCTURED, EXTENDED]) {
      const world = worldWith(many, [[0, 9999]]);
      const client = world.client(agreed);
      const make = agreed === EXTENDED ? extendedRequest : request;
      client.send(make({ type: BLOCK_STATUS, cookie: 1, length: 2 ** 20 }));
      world.run();
      const extents = client.replies[0]?.status.get(1) ?? [];
      expect(extents.length).toBeGreaterThan(1000);
      expect(extents.every(({ length }) => length === 512)).toBe(true);
      client.session.abandon();
      expectLeft(world);
    }
  });

  it('knows nothing of a device that cannot say', () => {
    const world = new SessionWorld();
    const client = world.client(STRUCTURED);
    client.send(request({ type: BLOCK_STATUS, cookie: 1, length: 2 ** 20 }));
    client.send(request({ type: BLOCK_STATUS, cookie: 2, offset: 2 ** 20 - 1, length: 2 }));
    world.run();
    expect(client.replies[0]?.status.get(1)).toEqual([{ length: 2 ** 20, flags: 0 }]);
    expect(client.replies[1]?.error).toBe(NBD_ERROR.EINVAL);
  });
});

describe('extended headers', () => {
  it('answer everything with chunks that copy the offset back', () => {
    const world = new SessionWorld();
    const client = world.client(EXTENDED);
    const offset = 2 ** 19;
    client.send(
      extendedRequest({ type: WRITE, cookie: 1, offset, flags: PAYLOAD_LEN }, filled(512, 3)),
    );
    world.run();
    client.send(extendedRequest({ type: READ, cookie: 2, offset, length: 512 }));
    client.send(extendedRequest({ type: FLUSH, cookie: 3 }));
    client.send(extendedRequest({ type: READ, cookie: 4, offset: 2 ** 52, length: 512 }));
    world.run();
    expect(said(client)).toEqual(['1 OK', '4 EINVAL', '2 OK', '3 OK']);
    expect(client.replies.map(({ chunks }) => chunks.map((chunk) => chunk.requestOffset))).toEqual([
      [offset],
      [2 ** 52],
      [offset],
      [0],
    ]);
    expect(client.replies[2]?.data).toEqual(filled(512, 3));
  });

  it('carry lengths of 64 bits', () => {
    const world = new SessionWorld();
    const client = world.client(EXTENDED);
    const long = 2 ** 40;
    client.send(extendedRequest({ type: TRIM, cookie: 1, length: long }));
    client.send(extendedRequest({ type: WRITE_ZEROES, cookie: 2, length: long }));
    client.send(extendedRequest({ type: READ, cookie: 3, length: long }));
    client.send(
      extendedRequest({ type: WRITE_ZEROES, cookie: 4, length: 2 ** 20, flags: FAST_ZERO }),
    );
    client.send(extendedRequest({ type: CACHE, cookie: 5, length: 2 ** 20 }));
    world.run();
    expect(said(client).sort()).toEqual(['1 EINVAL', '2 ENOSPC', '3 EINVAL', '4 OK', '5 OK']);
  });

  it('end the connection for a payload nobody would read, and only for that', () => {
    const world = new SessionWorld();
    const client = world.client(EXTENDED);
    client.send(extendedRequest({ type: WRITE, cookie: 1, length: 512 }));
    client.send(extendedRequest({ type: READ, cookie: 2, flags: PAYLOAD_LEN }, filled(512, 1)));
    client.send(extendedRequest({ type: 99, cookie: 3, flags: PAYLOAD_LEN }, filled(512, 1)));
    world.run();
    expect(said(client)).toEqual(['1 EINVAL', '2 EINVAL', '3 EINVAL']);
    expect(client.replies[0]?.text).toContain('without its payload flag');
    expect(client.ended).toBeUndefined();
    client.send(extendedRequest({ type: WRITE, length: 2 ** 33, flags: PAYLOAD_LEN }));
    expect(client.ended).toContain('more bytes than anyone');
  });

  const word = (...words: number[]): Uint8Array => {
    const bytes = new Uint8Array(4 * words.length);
    words.forEach((each, i) => new DataView(bytes.buffer).setUint32(4 * i, each));
    return bytes;
  };

  it.each([
    ['one context', word(0, 4096, 2), 'OK', [2]],
    ['both', word(0, 4096, 2, 1), 'OK', [1, 2]],
    ['one twice', word(0, 4096, 1, 1), 'EINVAL', []],
    ['an unknown one', word(0, 4096, 7), 'EINVAL', []],
    ['none', word(0, 4096), 'EINVAL', []],
    ['half an id', concat(word(0, 4096, 1), filled(2, 0)), 'EINVAL', []],
    ['a range past the end', word(1, 0, 1), 'EINVAL', []],
    ['a range of nothing', word(0, 0, 1), 'EINVAL', []],
    ['more ids than anyone has', filled(2000, 1), 'EINVAL', []],
  ])('take a BLOCK_STATUS payload that names %s', (_, payload, error, contexts) => {
    const world = worldWith([], [[0, 9999]]);
    const client = world.client(EXTENDED);
    const flags = PAYLOAD_LEN;
    client.send(extendedRequest({ type: BLOCK_STATUS, cookie: 1, offset: 512, flags }, payload));
    client.send(extendedRequest({ type: READ, cookie: 2, length: 512 }));
    world.run();
    expect(said(client)).toEqual([`1 ${error}`, '2 OK']);
    expect([...(client.replies[0]?.status.keys() ?? [])].sort()).toEqual(contexts);
    client.session.abandon();
    expectLeft(world);
  });
});

describe('a client that may only read', () => {
  it.each([WRITE, WRITE_ZEROES, TRIM])('is refused command %d, others are not', (type) => {
    const world = new SessionWorld();
    const reader = world.client({ ...PLAIN, readOnly: true });
    const writer = world.client();
    const message = request({ type, cookie: 1, length: 512 }, filled(type === WRITE ? 512 : 0, 1));
    reader.send(message);
    writer.send(message);
    world.run();
    expect([said(reader), said(writer)]).toEqual([['1 EPERM'], ['1 OK']]);
  });
});
