// One connection in transmission: requests to bios to replies.
import { ERRNO } from '../../../core/base/errno.ts';
import { REQ_FLAG, REQ_OP } from '../../../core/block/op.ts';
import { COMMAND, COMMAND_FLAG, LIMIT } from '../../../core/nbd/proto.ts';
import { toHex } from '../../support/hex.ts';
import { request } from '../../support/nbd-messages.ts';
import { expectLeft, filled, said, SessionWorld } from '../../support/session-world.ts';

const { READ, WRITE, DISC, FLUSH, TRIM, WRITE_ZEROES } = COMMAND;
const { FUA, NO_HOLE } = COMMAND_FLAG;
const SIZE = 2 ** 20;

describe('commands', () => {
  it('write, flush, read back, trim, zero, disconnect', () => {
    const world = new SessionWorld();
    const client = world.client();
    world.device.seen = [];
    client.send(request({ type: WRITE, cookie: 1, offset: 4096 }, filled(8192, 7)));
    world.run();
    client.send(request({ type: FLUSH, cookie: 2 }));
    client.send(request({ type: READ, cookie: 3, offset: 4096, length: 8192 }));
    client.send(request({ type: WRITE_ZEROES, cookie: 4, offset: 0, length: 512, flags: NO_HOLE }));
    client.send(request({ type: TRIM, cookie: 5, offset: SIZE - 1024, length: 1024, flags: FUA }));
    world.run();
    expect(said(client)).toEqual(['1 OK', '2 OK', '3 OK', '4 OK', '5 OK']);
    expect(toHex(client.replies[2]?.data ?? filled(1, 0))).toBe('07'.repeat(8192));
    expect(world.device.seen).toEqual([
      { op: REQ_OP.WRITE, flags: 0, sector: 8, sectors: 16 },
      { op: REQ_OP.FLUSH, flags: 0, sector: 0, sectors: 0 },
      { op: REQ_OP.READ, flags: 0, sector: 8, sectors: 16 },
      { op: REQ_OP.WRITE_ZEROES, flags: REQ_FLAG.NOUNMAP, sector: 0, sectors: 1 },
      { op: REQ_OP.DISCARD, flags: REQ_FLAG.FUA, sector: 2046, sectors: 2 },
    ]);
    client.send(request({ type: DISC }));
    expect(client.ended).toBe('');
    expectLeft(world);
  });

  it('take FUA everywhere, and hand it on where it means something', () => {
    const world = new SessionWorld();
    const client = world.client();
    world.device.seen = [];
    client.send(request({ type: WRITE, flags: FUA }, filled(512, 1)));
    client.send(request({ type: WRITE_ZEROES, flags: FUA, length: 512 }));
    client.send(request({ type: READ, flags: FUA, length: 512 }));
    client.send(request({ type: FLUSH, flags: FUA }));
    world.run();
    expect(said(client)).toEqual(['0 OK', '0 OK', '0 OK', '0 OK']);
    expect(world.device.seen.map(({ flags }) => flags)).toEqual([REQ_FLAG.FUA, REQ_FLAG.FUA, 0, 0]);
  });

  it('are answered as they end, not as they came', () => {
    const world = new SessionWorld();
    const client = world.client();
    world.device.hold();
    client.send(request({ type: READ, cookie: 1, length: 512 }));
    world.run();
    world.device.release(0);
    client.send(request({ type: 99, cookie: 2, length: 512 }));
    world.run();
    expect(said(client)).toEqual(['2 EINVAL']);
    world.device.release();
    world.run();
    expect(said(client)).toEqual(['2 EINVAL', '1 OK']);
  });

  it('give the cookie back as it came', () => {
    const world = new SessionWorld();
    const client = world.client();
    const bytes = request({ type: FLUSH });
    bytes.set([0xfe, 0xdc, 0xba, 0x98, 0x76, 0x54, 0x32, 0x10], 8);
    client.reading = false;
    client.send(bytes);
    world.run();
    expect(toHex(client.session.replies.headers.subarray(0, 16))).toBe(
      '6744669800000000fedcba9876543210',
    );
  });

  it('of no bytes succeed and do nothing', () => {
    const world = new SessionWorld();
    const client = world.client();
    world.device.seen = [];
    for (const type of [READ, WRITE, TRIM, WRITE_ZEROES]) {
      client.send(request({ type, cookie: type, offset: SIZE, length: 0 }));
    }
    world.run();
    expect(said(client)).toEqual(['0 OK', '1 OK', '4 OK', '6 OK']);
    expect(world.device.seen).toEqual([]);
  });

  it('are cut to what the device takes at once', () => {
    const world = new SessionWorld({
      device: {
        limits: {
          maxSectors: 24,
          maxDiscardSectors: 20,
          maxWriteZeroesSectors: 17,
          logicalBlockSize: 4096,
        },
      },
    });
    const client = world.client();
    world.device.seen = [];
    client.send(request({ type: WRITE }, filled(20_480, 3)));
    world.run();
    client.send(request({ type: READ, length: 20_480 }));
    client.send(request({ type: TRIM, length: 20_480 }));
    client.send(request({ type: WRITE_ZEROES, length: 20_480 }));
    world.run();
    const pieces = (op: number): number[][] =>
      (world.device.seen ?? [])
        .filter((bio) => bio.op === op)
        .map((bio) => [bio.sector, bio.sectors]);
    expect(pieces(REQ_OP.WRITE)).toEqual([
      [0, 24],
      [24, 16],
    ]);
    expect(pieces(REQ_OP.READ)).toEqual([
      [0, 24],
      [24, 16],
    ]);
    expect(pieces(REQ_OP.DISCARD)).toEqual([
      [0, 16],
      [16, 16],
      [32, 8],
    ]);
    expect(pieces(REQ_OP.WRITE_ZEROES)).toEqual([
      [0, 16],
      [16, 16],
      [32, 8],
    ]);
    expect(client.replies[1]?.data).toEqual(filled(20_480, 3));
    expect(said(client)).toEqual(['0 OK', '0 OK', '0 OK', '0 OK']);
  });
});

describe('mistakes', () => {
  it.each([
    ['a write past the end', { type: WRITE, offset: SIZE - 511 }, 512, 'ENOSPC'],
    ['a zeroing past the end', { type: WRITE_ZEROES, offset: SIZE, length: 1 }, 0, 'ENOSPC'],
    ['a zeroing of 4 GiB - 1', { type: WRITE_ZEROES, length: 0xffffffff }, 0, 'ENOSPC'],
    ['a read past the end', { type: READ, offset: SIZE - 1, length: 2 }, 0, 'EINVAL'],
    ['a trim past the end', { type: TRIM, length: SIZE + 1 }, 0, 'EINVAL'],
    ['a read of more than 32 MiB', { type: READ, length: LIMIT.PAYLOAD_BYTES + 1 }, 0, 'EINVAL'],
    ['BLOCK_STATUS', { type: COMMAND.BLOCK_STATUS, length: 512 }, 0, 'EINVAL'],
    ['RESIZE', { type: COMMAND.RESIZE, offset: 512 }, 0, 'EINVAL'],
    ['an unknown command', { type: 4711 }, 0, 'EINVAL'],
    ['an unknown flag', { type: READ, flags: 1 << 9, length: 512 }, 0, 'EINVAL'],
    ['NO_HOLE on READ', { type: READ, flags: NO_HOLE, length: 512 }, 0, 'EINVAL'],
    ['DF on READ', { type: READ, flags: COMMAND_FLAG.DF, length: 512 }, 0, 'EINVAL'],
    ['PAYLOAD_LEN on WRITE', { type: WRITE, flags: COMMAND_FLAG.PAYLOAD_LEN }, 512, 'EINVAL'],
    [
      'FAST_ZERO where it would not be',
      { type: WRITE_ZEROES, flags: COMMAND_FLAG.FAST_ZERO, length: 1 },
      0,
      'ENOTSUP',
    ],
  ])('%s is answered, and does no harm', (_, fields, payload, expected) => {
    const world = new SessionWorld();
    const client = world.client();
    world.device.seen = [];
    client.send(request({ cookie: 1, ...fields }, filled(payload, 9)));
    client.send(request({ type: READ, cookie: 2, length: 512 }));
    world.run();
    expect(said(client)).toEqual([`1 ${expected}`, '2 OK']);
    expect(world.device.seen).toHaveLength(1);
  });

  it('with an offset above 2^53 are past the end', () => {
    for (const [type, expected] of [
      [READ, '0 EINVAL'],
      [WRITE_ZEROES, '0 ENOSPC'],
    ] as const) {
      for (const high of [0x00200000, 0xffffffff]) {
        const world = new SessionWorld();
        const client = world.client();
        const bytes = request({ type, length: 512 });
        new DataView(bytes.buffer).setUint32(16, high);
        client.send(bytes);
        world.run();
        expect(said(client)).toEqual([expected]);
      }
    }
  });

  it('of a read-only export are EPERM, reads are not', () => {
    for (const options of [
      { target: { readOnly: true } },
      { device: { limits: { readOnly: true } } },
    ]) {
      const world = new SessionWorld(options);
      const client = world.client();
      client.send(request({ type: WRITE, cookie: 1 }, filled(512, 9)));
      client.send(request({ type: WRITE_ZEROES, cookie: 2, length: 512 }));
      client.send(request({ type: TRIM, cookie: 3, length: 512 }));
      client.send(request({ type: READ, cookie: 4, length: 512 }));
      client.send(request({ type: FLUSH, cookie: 5 }));
      world.run();
      expect(said(client)).toEqual(['1 EPERM', '2 EPERM', '3 EPERM', '4 OK', '5 OK']);
      expect(world.target.transmissionFlags & 2).toBe(2);
    }
  });

  it('with a payload above 32 MiB are read to the end, above 128 MiB not at all', () => {
    const world = new SessionWorld();
    const client = world.client();
    const length = LIMIT.PAYLOAD_BYTES + 1;
    client.send(request({ type: WRITE, cookie: 1, length }));
    for (let left = length; left > 0; left -= SIZE) client.send(filled(Math.min(left, SIZE), 1));
    client.send(request({ type: READ, cookie: 2, length: 1 }));
    world.run();
    expect(said(client)).toEqual(['1 EINVAL', '2 OK']);
    expect(client.replies[1]?.data).toEqual(filled(1, 0));
    expect(world.arena.usedBytes).toBe(0);

    client.send(request({ type: WRITE, length: LIMIT.REFUSED_PAYLOAD_BYTES + 1 }));
    expect(client.ended).toContain('a WRITE of more bytes');
    client.session.abandon();
    expectLeft(world);
  });

  it('in the magic end the connection', () => {
    const world = new SessionWorld();
    const client = world.client();
    client.send(filled(28, 0));
    expect(client.ended).toBe('a request without its magic');
    client.session.abandon();
    expectLeft(world);
  });

  it('that need more memory than there is are ENOMEM', () => {
    const world = new SessionWorld({ arenaBytes: 2 ** 16 });
    const client = world.client();
    client.send(request({ type: READ, cookie: 1, length: 2 ** 16 + 1 }));
    client.send(request({ type: WRITE, cookie: 2 }, filled(2 ** 16 + 1, 1)));
    client.send(request({ type: READ, cookie: 3, length: 2 ** 16 }));
    world.run();
    expect(said(client)).toEqual(['1 ENOMEM', '2 ENOMEM', '3 OK']);
  });
});

describe('a device that', () => {
  it.each([
    ['EIO', 'EIO'],
    ['ENOSPC', 'ENOSPC'],
    ['ETIMEDOUT', 'EIO'],
    ['EOPNOTSUPP', 'EINVAL'],
  ] as const)('answers %s has it said as %s', (errno, expected) => {
    const world = new SessionWorld();
    const client = world.client();
    world.device.fault = () => ERRNO[errno];
    client.send(request({ type: WRITE, cookie: 1 }, filled(512, 1)));
    client.send(request({ type: READ, cookie: 2, length: 512 }));
    client.send(request({ type: FLUSH, cookie: 3 }));
    world.run();
    expect(said(client)).toEqual([`1 ${expected}`, `2 ${expected}`, `3 ${expected}`]);
    expect(client.replies[1]?.data).toHaveLength(0);
    expectLeft(world, { connections: 1 });
  });

  it('fails in a later piece fails the request', () => {
    const world = new SessionWorld({ device: { limits: { maxSectors: 8 } } });
    const client = world.client();
    world.device.fault = (bio) => (bio.sector >= 8 ? ERRNO.EIO : 0);
    client.send(request({ type: READ, cookie: 1, length: 16_384 }));
    world.run();
    expect(said(client)).toEqual(['1 EIO']);
  });

  it('reads again what its device was given up on for, also where the device has ended by now', () => {
    const world = new SessionWorld();
    const client = world.client();
    world.device.bytes.fill(0x5a);
    let given = 0;
    world.device.fault = (bio) => {
      given += 1;
      if (given > 1) return 0;
      bio.loan?.lend();
      bio.loan?.giveBack();
      return ERRNO.ETIMEDOUT;
    };
    client.send(request({ type: READ, cookie: 1, length: 4096 }));
    world.run();
    expect(said(client)).toEqual(['1 OK']);
    expect(client.replies[0]?.data).toEqual(filled(4096, 0x5a));
    expect(given).toBe(2);
    // The next request of the record is asked once.
    world.device.fault = () => ERRNO.EIO;
    world.device.seen = [];
    client.send(request({ type: READ, cookie: 2, length: 4096 }));
    world.run();
    expect(said(client)).toEqual(['1 OK', '2 EIO']);
    expect(world.device.seen).toHaveLength(1);
  });

  it.each(['has no', 'refuses'])('%s WRITE_ZEROES is given zeros to write', (kind) => {
    const limits = kind === 'has no' ? { maxWriteZeroesSectors: 0 } : {};
    const world = new SessionWorld({ device: { limits } });
    const client = world.client();
    world.device.bytes.fill(0xee);
    world.device.fault = (bio) => (bio.op === REQ_OP.WRITE_ZEROES ? ERRNO.EOPNOTSUPP : 0);
    world.device.seen = [];
    const flags = NO_HOLE | FUA;
    client.send(request({ type: WRITE_ZEROES, cookie: 1, offset: 512, length: 700_000, flags }));
    world.run();
    expect(said(client)).toEqual(['1 OK']);
    const { bytes } = world.device;
    expect(bytes.subarray(0, 512)).toEqual(filled(512, 0xee));
    expect(bytes.subarray(512, 700_512).every((byte) => byte === 0)).toBe(true);
    expect(bytes.subarray(700_512).every((byte) => byte === 0xee)).toBe(true);
    const writes = world.device.seen.filter(({ op }) => op === REQ_OP.WRITE);
    expect(writes.length).toBeGreaterThan(2);
    expect(writes.every((bio) => bio.flags === REQ_FLAG.FUA)).toBe(true);
  });

  it.each(['has no', 'refuses'])('%s DISCARD is not asked twice: TRIM is a hint', (kind) => {
    const limits = kind === 'has no' ? { maxDiscardSectors: 0 } : {};
    const world = new SessionWorld({ device: { limits } });
    const client = world.client();
    world.device.fault = () => ERRNO.EOPNOTSUPP;
    client.send(request({ type: TRIM, cookie: 1, length: 4096 }));
    world.run();
    expect(said(client)).toEqual(['1 OK']);
  });

  it('fails a DISCARD for another reason has that said', () => {
    const world = new SessionWorld();
    const client = world.client();
    world.device.fault = () => ERRNO.EIO;
    client.send(request({ type: TRIM, cookie: 1, length: 4096 }));
    world.run();
    expect(said(client)).toEqual(['1 EIO']);
  });
});

describe('ranges up to 4 GiB - 1', () => {
  it('are trimmed and zeroed whole', () => {
    // A device that is as large as it says, and holds nothing.
    const world = new SessionWorld({ device: { sectors: 0 } });
    Object.defineProperty(world.device, 'sectors', { value: 2 ** 24 });
    Object.assign(world.device, { bytes: { fill: () => undefined } });
    const client = world.client();
    world.device.seen = [];
    client.send(request({ type: TRIM, cookie: 1, length: 0xfffffe00 }));
    client.send(request({ type: WRITE_ZEROES, cookie: 2, length: 0xfffffe00 }));
    world.run();
    expect(said(client)).toEqual(['1 OK', '2 OK']);
    expect(world.device.seen.map(({ sectors }) => sectors)).toEqual([2 ** 23 - 1, 2 ** 23 - 1]);
  });
});
