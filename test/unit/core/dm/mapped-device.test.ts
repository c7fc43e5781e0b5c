import { ERRNO } from '../../../../core/base/errno.ts';
import { Prng } from '../../../../core/base/prng.ts';
import { bytesOfSectors } from '../../../../core/base/units.ts';
import { BioVec } from '../../../../core/block/bio.ts';
import { REQ_FLAG, REQ_OP } from '../../../../core/block/op.ts';
import type { MappedDevicePools } from '../../../../core/dm/mapped-device.ts';
import { Bench, expectEqual, randomBytes } from '../../../conformance/bench.ts';
import { SEED } from '../../../conformance/block-device.ts';
import { createManualLoop } from '../../../support/manual-loop.ts';
import { mapDevice } from '../../../support/mapped.ts';
import { MemoryDevice } from '../../../support/memory-device.ts';

const LEGS = ['a', 'b', 'c'] as const;
const LEG_SECTORS = 512;
const TINY: MappedDevicePools = { splits: 1, children: 1 };

interface Piece {
  readonly leg: (typeof LEGS)[number];
  readonly offset: number;
  readonly sectors: number;
}

/** A random table over three legs. No sector of a leg is used twice, or the model would not hold. */
function drawTable(prng: Prng): Piece[] {
  const used = { a: 0, b: 0, c: 0 };
  const pieces: Piece[] = [];
  for (let i = 0; i < 12; i += 1) {
    const leg = prng.pick(LEGS);
    const offset = used[leg] + prng.below(8);
    const sectors = prng.between(1, 40);
    if (offset + sectors > LEG_SECTORS) continue;
    used[leg] = offset + sectors;
    pieces.push({ leg, offset, sectors });
  }
  return pieces;
}

function setUp(pieces: readonly Piece[], seed: number, pools?: MappedDevicePools) {
  const loop = createManualLoop();
  const prng = new Prng(seed);
  const make = (name: string) =>
    new MemoryDevice({ name, loop, sectors: LEG_SECTORS, prng, maxDelayTurns: 4 });
  const legs = { a: make('a'), b: make('b'), c: make('c') };
  let start = 0;
  const lines = pieces.map(({ leg, offset, sectors }) => {
    start += sectors;
    return `${start - sectors} ${sectors} linear ${leg} ${offset}`;
  });
  const options = { loop, devices: legs, ...(pools === undefined ? {} : { pools }) };
  const device = mapDevice(lines.join('\n'), options);
  return { legs, device, bench: new Bench(device) };
}

/** What the legs hold, seen through the table. */
function flatten(
  pieces: readonly Piece[],
  legs: Readonly<Record<string, MemoryDevice>>,
): Uint8Array {
  const parts = pieces.map(({ leg, offset, sectors }) => {
    const bytes = legs[leg]?.bytes ?? new Uint8Array(0);
    return bytes.subarray(bytesOfSectors(offset), bytesOfSectors(offset + sectors));
  });
  return Buffer.concat(parts);
}

describe(`a mapped device (seed ${SEED})`, () => {
  it.each([undefined, TINY, { splits: 2, children: 3 }])(
    'is its targets one behind the other, whatever crosses their borders (pools %j)',
    async (pools) => {
      for (let round = 0; round < 10; round += 1) {
        const prng = new Prng(SEED + round);
        const pieces = drawTable(prng);
        const { device, legs, bench } = setUp(pieces, SEED + round, pools);
        const model = new Uint8Array(bytesOfSectors(device.sectors));
        for (let step = 0; step < 30; step += 1) {
          const sector = prng.below(device.sectors);
          const sectors = prng.between(1, device.sectors - sector);
          const bytes = randomBytes(prng, sectors);
          const cut = prng.below(sectors) * 512;
          const vecs = [new BioVec(bytes, 0, cut), new BioVec(bytes, cut, bytes.length - cut)];
          await bench.expect(0, 'a WRITE', { op: REQ_OP.WRITE, sector, sectors, vecs });
          model.set(bytes, bytesOfSectors(sector));
          expectEqual(flatten(pieces, legs), model, 'the legs through the table');
        }
        const read = new Uint8Array(model.length);
        await bench.expect(0, 'a READ', { op: REQ_OP.READ, sectors: device.sectors, bytes: read });
        expectEqual(read, model, 'the whole device');
        expect(device.splitsInFlight).toBe(0);
      }
    },
    60_000,
  );

  const THREE: readonly Piece[] = [
    { leg: 'a', offset: 5, sectors: 10 },
    { leg: 'b', offset: 0, sectors: 10 },
    { leg: 'c', offset: 7, sectors: 10 },
  ];

  it('cuts a bio into one child a target, with the flags of the whole', async () => {
    const { legs, bench } = setUp(THREE, 1);
    for (const leg of Object.values(legs)) leg.seen = [];
    const bytes = new Uint8Array(bytesOfSectors(14));
    const flags = REQ_FLAG.FUA;
    await bench.expect(0, 'a WRITE', { op: REQ_OP.WRITE, flags, sector: 8, sectors: 14, bytes });
    expect(legs.a.seen).toEqual([{ op: REQ_OP.WRITE, flags, sector: 13, sectors: 2 }]);
    expect(legs.b.seen).toEqual([{ op: REQ_OP.WRITE, flags, sector: 0, sectors: 10 }]);
    expect(legs.c.seen).toEqual([{ op: REQ_OP.WRITE, flags, sector: 7, sectors: 2 }]);
  });

  it.each([REQ_OP.DISCARD, REQ_OP.WRITE_ZEROES])('cuts op %i, which has no memory', async (op) => {
    const { device, legs, bench } = setUp(THREE, 1);
    for (const leg of Object.values(legs)) leg.bytes.fill(9);
    await bench.expect(0, 'the bio', { op, sectors: device.sectors });
    expect(Array.from(flatten(THREE, legs)).every((byte) => byte === 0)).toBe(true);
    expect(legs.a.bytes.filter((byte) => byte === 9)).toHaveLength(
      bytesOfSectors(LEG_SECTORS - 10),
    );
  });

  it('tells every target of a FLUSH, once', async () => {
    const { legs, bench } = setUp(THREE, 1);
    for (const leg of Object.values(legs)) leg.seen = [];
    await bench.expect(0, 'a FLUSH', { op: REQ_OP.FLUSH });
    for (const leg of Object.values(legs))
      expect(leg.seen?.map(({ op }) => op)).toEqual([REQ_OP.FLUSH]);
  });

  it('ends with the first errno of a child, and not before the last child', async () => {
    const { legs, bench } = setUp(THREE, 1);
    legs.b.fault = () => ERRNO.ENOSPC;
    legs.c.hold();
    const bytes = new Uint8Array(bytesOfSectors(30));
    const bio = bench.submit(bench.bio({ op: REQ_OP.WRITE, sectors: 30, bytes }));
    for (let i = 0; i < 20; i += 1) await bench.turn();
    expect(bio.ends).toBe(0);
    legs.c.fault = () => ERRNO.EIO;
    legs.c.release();
    await bench.settle();
    expect(bio.error).toBe(ERRNO.ENOSPC);
    await bench.expect(0, 'a bio beside the fault', { op: REQ_OP.READ, sectors: 10, bytes });
  });

  it('ends 1000 bios that cross borders with one child for all of them', async () => {
    const { device, bench } = setUp(THREE, SEED, TINY);
    const bytes = new Uint8Array(bytesOfSectors(30));
    for (let i = 0; i < 1000; i += 1) {
      const op = i % 5 === 0 ? REQ_OP.FLUSH : REQ_OP.READ;
      bench.submit(bench.bio(op === REQ_OP.FLUSH ? { op } : { op, sectors: 30, bytes }));
    }
    expect(device.splitsInFlight).toBe(1000);
    await bench.settle();
    expect(device.splitsInFlight).toBe(0);
  });

  it('hands on a bio inside one target without a child, while a split waits for one', async () => {
    const { legs, bench } = setUp(THREE, 1, TINY);
    legs.a.hold();
    const bytes = new Uint8Array(bytesOfSectors(30));
    const split = bench.submit(bench.bio({ op: REQ_OP.READ, sectors: 30, bytes }));
    const inside = { op: REQ_OP.READ, sector: 12, sectors: 4, bytes: new Uint8Array(2048) };
    const whole = bench.submit(bench.bio(inside));
    for (let i = 0; i < 20; i += 1) await bench.turn();
    expect([split.ends, whole.ends]).toEqual([0, 1]);
    legs.a.release();
    await bench.settle();
  });

  it('passes a bio of no sectors without asking anybody', async () => {
    const { legs, bench } = setUp(THREE, 1);
    for (const leg of Object.values(legs)) leg.seen = [];
    await bench.expect(0, 'an empty READ', { op: REQ_OP.READ, sector: 30, sectors: 0 });
    expect(Object.values(legs).flatMap((leg) => leg.seen)).toEqual([]);
  });
});

describe('a table with error and zero', () => {
  const table = '0 10 zero\n10 10 error\n20 10 linear disk 0';

  it('fails what touches the error target only', async () => {
    const loop = createManualLoop();
    const disk = new MemoryDevice({ loop, sectors: 10 });
    const bench = new Bench(mapDevice(table, { loop, devices: { disk } }));
    const bytes = new Uint8Array(bytesOfSectors(30)).fill(3);
    await bench.expect(ERRNO.EIO, 'a WRITE of all', { op: REQ_OP.WRITE, sectors: 30, bytes });
    expect(disk.bytes.every((byte) => byte === 3)).toBe(true);
    await bench.expect(0, 'a READ of zero', { op: REQ_OP.READ, sectors: 10, bytes });
    expect(bytes.subarray(0, 5120).every((byte) => byte === 0)).toBe(true);
    await bench.expect(ERRNO.EIO, 'a DISCARD', { op: REQ_OP.DISCARD, sector: 19, sectors: 2 });
    await bench.expect(0, 'a FLUSH', { op: REQ_OP.FLUSH });
  });
});
