// Rules R1..R17 of core/dm-io/README.md, the seed's: one test or more for each, by number.
// property.test.ts tries them all at random.
import { ERRNO } from '../../../core/base/errno.ts';
import { BioVec } from '../../../core/block/bio.ts';
import { REQ_FLAG, REQ_OP } from '../../../core/block/op.ts';
import { DmIoClient } from '../../../core/dm-io/client.ts';
import { dmIo } from '../../../core/dm-io/io.ts';
import { IoRegion } from '../../../core/dm-io/region.ts';
import { READ, WRITE } from '../../../core/dm-io/services.ts';
import { Disk } from '../../support/dm-io-disk.ts';
import { Fixture, marks, pages, pattern, SECTOR, whole } from '../../support/dm-io-fixture.ts';

let f: Fixture;

beforeEach(() => {
  f = new Fixture();
});

describe('R1: a READ takes one region', () => {
  it('refuses more, synchronous: -EIO, bits and memory untouched, no I/O', () => {
    const [a, b] = f.disks(2) as [Disk, Disk];
    const data = pattern(16, 7);
    const { ret, errorBits } = f.services.syncVm([whole(a), whole(b)], READ, data);
    expect([ret, errorBits.isEmpty, f.world.log.length]).toEqual([-5, true, 0]);
    expect(data).toEqual(pattern(16, 7));
  });

  it('refuses more, asynchronous: -EIO, and the routine is told bit 0 once, from the loop', () => {
    const told: bigint[] = [];
    const ret = f.services.asyncVm(
      f.disks(2).map(whole),
      READ,
      new Uint8Array(16 * SECTOR),
      (bits) => told.push(bits.toBigInt()),
      null,
    );
    expect([ret, told]).toEqual([-5, []]);
    f.world.settle();
    expect([told, f.world.log.length]).toEqual([[1n], 0]);
  });

  it('refuses more in dmIo too', () => {
    const sync = f.request(REQ_OP.READ, 0, new Uint8Array(16 * SECTOR));
    expect(dmIo(sync, f.disks(2).map(whole))).toBe(-5);
    const ended: bigint[] = [];
    const async = f.request(REQ_OP.READ, 0, new Uint8Array(16 * SECTOR));
    async.owner = { dmIoDone: (r) => ended.push(r.errorBits.toBigInt()) };
    expect(dmIo(async, f.disks(2).map(whole))).toBe(-5);
    f.world.settle();
    expect([ended, f.world.log.length]).toEqual([[1n], 0]);
  });

  it('allows one', () => {
    const disk = f.disk();
    disk.bytes.set(pattern(16));
    const data = new Uint8Array(16 * SECTOR);
    expect(f.services.syncVm([whole(disk)], READ, data).ret).toBe(0);
    expect(data).toEqual(pattern(16));
  });
});

describe('R2: every region uses the memory from its start', () => {
  it('replays one buffer for regions of different counts', () => {
    const [a, b, c] = f.disks(3) as [Disk, Disk, Disk];
    const regions = [
      { device: a, sector: 0, count: 4 },
      { device: b, sector: 8, count: 2 },
      { device: c, sector: 15, count: 1 },
    ];
    f.services.syncVm(regions, WRITE, pattern(4));
    expect(marks(a.bytes).slice(0, 5)).toEqual([1, 2, 3, 4, 0]);
    expect(marks(b.bytes).slice(7, 11)).toEqual([0, 1, 2, 0]);
    expect(marks(c.bytes).slice(14)).toEqual([0, 1]);
  });

  it('does not keep the list of regions', () => {
    const [a, b] = f.disks(2) as [Disk, Disk];
    const regions = [new IoRegion(a, 0, 1), new IoRegion(b, 0, 1)];
    f.services.asyncVm(regions, WRITE, pattern(1), () => undefined, null);
    regions.forEach((region) => (region.sector = 9));
    regions.length = 0;
    f.world.settle();
    expect([a.bytes[0], b.bytes[0], a.bytes[9 * SECTOR]]).toEqual([1, 1, 0]);
  });
});

describe('R3: no regions, no I/O', () => {
  it('ends with no bits: synchronous at once, asynchronous from the loop', () => {
    expect(f.services.syncVm([], WRITE, pattern(1)).ret).toBe(0);
    const told: boolean[] = [];
    const ret = f.services.asyncVm([], READ, pattern(1), (bits) => told.push(bits.isEmpty), null);
    expect([ret, told]).toEqual([0, []]);
    f.world.settle();
    expect(told).toEqual([true]);
  });
});

describe('R4: 64 regions', () => {
  it.each([1, 2, 32, 33, 63, 64])('writes to %d', (count) => {
    const all = f.disks(count, 1);
    expect(f.services.syncVm(all.map(whole), WRITE, pattern(1, 9)).ret).toBe(0);
    expect(all.map(({ bytes }) => bytes[511])).toEqual(all.map(() => 9));
  });
});

describe('R5: an empty region', () => {
  it('is skipped and its bit stays clear', () => {
    const [a, b] = f.disks(2) as [Disk, Disk];
    a.fail(REQ_OP.WRITE);
    const regions = [{ device: a, sector: 0, count: 0 }, whole(b)];
    expect(f.services.syncVm(regions, WRITE, pattern(16)).errorBits.toBigInt()).toBe(0n);
    expect(f.sent()).toEqual(['disk1 1 0+16']);
  });

  it('is flushed with PREFLUSH', () => {
    const a = f.disk();
    dmIo(f.request(REQ_OP.WRITE, REQ_FLAG.PREFLUSH, pattern(1)), [
      { device: a, sector: 3, count: 0 },
    ]);
    expect(f.sent()).toEqual(['disk0 2 0+0']);
  });
});

describe('R6: bit i if and only if some part of region i failed', () => {
  it.each([0, 1, 31, 32, 33, 62, 63])('only region %d of 64 fails', (bad) => {
    const all = f.disks(64, 4);
    all[bad]?.fail(REQ_OP.WRITE, 2, 3);
    const { ret, errorBits } = f.services.syncVm(all.map(whole), WRITE, pattern(4));
    expect([ret, errorBits.toBigInt()]).toEqual([-5, 1n << BigInt(bad)]);
  });

  it('all 64 fail', () => {
    const all = f.disks(64, 1).map((disk) => disk.fail(REQ_OP.WRITE));
    const { errorBits } = f.services.syncVm(all.map(whole), WRITE, pattern(1));
    expect([errorBits.toBigInt(), errorBits.count()]).toEqual([2n ** 64n - 1n, 64]);
  });

  it('one bio of five fails, the others go on', () => {
    const disk = new Disk(f.world, 10, { maxSectors: 2 }).fail(REQ_OP.WRITE, 4, 5);
    const { errorBits } = f.services.syncVm([whole(disk)], WRITE, pattern(10));
    expect(errorBits.toBigInt()).toBe(1n);
    expect(marks(disk.bytes)).toEqual([1, 2, 3, 4, 0, 0, 7, 8, 9, 10]);
  });

  it('a failure of one call is not seen by the next', () => {
    const disk = f.disk();
    disk.fail(REQ_OP.WRITE, 0, 1);
    expect(f.services.syncVm([whole(disk)], WRITE, pattern(16)).ret).toBe(-5);
    disk.faults = [];
    expect(f.services.syncVm([whole(disk)], WRITE, pattern(16)).errorBits.isEmpty).toBe(true);
  });
});

describe('R7: the routine is called once, from the loop, after the last bio', () => {
  it('not inside the call, not before the slowest region', () => {
    const told: string[] = [];
    f.services.asyncVm(
      f.disks(3).map(whole),
      WRITE,
      pattern(16),
      (_bits, c: string) => told.push(c),
      'x',
    );
    expect(told).toEqual([]);
    for (let i = 0; i < 2; i += 1) f.world.endOne();
    f.world.loop.run();
    expect([told, f.services.underWay]).toEqual([[], 1]);
    f.world.settle();
    expect(told).toEqual(['x']);
  });
});

describe('R8: its place is free before the routine runs', () => {
  it('so the routine submits again with the smallest reserve taken', () => {
    const disk = f.disk();
    const seen: number[] = [];
    const routine = (): void => {
      seen.push(f.services.underWay);
      if (seen.length < 20) f.services.asyncVm([whole(disk)], WRITE, pattern(16), routine, null);
    };
    for (let i = 0; i < 4; i += 1)
      f.services.asyncVm([whole(disk)], WRITE, pattern(16), routine, null);
    expect(f.services.underWay).toBe(f.services.reserve);
    f.world.settle();
    expect(seen.length).toBeGreaterThanOrEqual(20);
    expect(Math.max(...seen)).toBeLessThan(f.services.reserve);
  });
});

describe('R9: what a synchronous call returns', () => {
  it('0 without bits, -EIO with some', () => {
    const disk = f.disk();
    expect(f.services.syncVm([whole(disk)], WRITE, pattern(16)).ret).toBe(0);
    disk.fail(REQ_OP.WRITE, 3, 4);
    expect(f.services.syncVm([whole(disk)], WRITE, pattern(16)).ret).toBe(-5);
  });
});

describe('R10: a synchronous call abandons nothing', () => {
  it('waits for its slowest region though others of the loop end', () => {
    const [a, b] = f.disks(2) as [Disk, Disk];
    let others = 0;
    f.services.asyncVm([whole(a)], WRITE, pattern(16), () => (others += 1), null);
    f.services.syncVm([whole(a), whole(b)], WRITE, pattern(16));
    expect([others, f.world.underWay]).toEqual([1, 0]);
  });
});

describe('R11: the part of a read that failed is zeros', () => {
  it('for that bio only, of every memory', () => {
    const disk = new Disk(f.world, 6, { maxSectors: 2 }).fail(REQ_OP.READ, 2, 3);
    disk.bytes.set(pattern(6));
    const data = pattern(7, 100);
    f.services.syncVm([whole(disk)], READ, data);
    expect(marks(data)).toEqual([1, 2, 0, 0, 5, 6, 106]);
    const page = pattern(6, 100);
    f.services.syncBvec(
      [whole(disk)],
      READ,
      [new BioVec(page, 512, 512), new BioVec(page, 1024, 2048)].concat(
        new BioVec(pattern(3), 0, 1536),
      ),
    );
    expect(marks(page)).toEqual([100, 1, 2, 0, 0, 5]);
    const list = pages([pattern(4, 100), pattern(4, 100)]);
    f.services.sync([whole(disk)], READ, list, 1024);
    expect(marks(list.page)).toEqual([100, 101, 1, 2]);
    expect(marks(list.next?.page ?? new Uint8Array(0))).toEqual([0, 0, 5, 6]);
  });
});

describe('R12: synchronous is a hint beside waiting', () => {
  it('SYNC is on the bios of the synchronous services only', () => {
    const disk = f.disk();
    f.services.syncVm([whole(disk)], WRITE, pattern(16));
    f.services.asyncVm([whole(disk)], WRITE, pattern(16), () => undefined, null);
    dmIo(f.request(REQ_OP.WRITE, 0, pattern(16)), [whole(disk)]);
    f.world.settle();
    expect(f.world.log.map(({ flags }) => flags)).toEqual([REQ_FLAG.SYNC, 0, REQ_FLAG.SYNC]);
  });

  it('all regions are sent before any is waited for', () => {
    f.services.syncVm(f.disks(5).map(whole), WRITE, pattern(16));
    const lastSubmit = Math.max(...f.world.log.map(({ submitted }) => submitted));
    const firstEnd = Math.min(...f.world.log.map(({ ended }) => ended));
    expect(lastSubmit).toBeLessThan(firstEnd);
  });

  it('dmIo leaves the request without it', () => {
    const made = f.request(REQ_OP.WRITE, REQ_FLAG.FUA, pattern(16));
    dmIo(made, f.disks(1).map(whole));
    expect(made.flags).toBe(REQ_FLAG.FUA);
  });
});

describe('R13: no order, no implied flush', () => {
  it('regions and requests are all sent before any has ended, and nothing is flushed', () => {
    const all = f.disks(3);
    for (let i = 0; i < 2; i += 1) {
      f.services.asyncVm(all.map(whole), WRITE, pattern(16), () => undefined, null);
    }
    expect(f.world.underWay).toBe(6);
    f.world.settle();
    expect(f.world.log.every(({ op }) => op === REQ_OP.WRITE)).toBe(true);
  });
});

describe('R14: a region outside its device', () => {
  it('is for the device to refuse: its bit is set, what lies before may be written', () => {
    const [a, b] = [new Disk(f.world, 4, { maxSectors: 2 }), new Disk(f.world, 8)];
    const { errorBits, errnos } = f.services.syncVm(
      [{ device: a, sector: 0, count: 8 }, whole(b)],
      WRITE,
      pattern(8),
    );
    expect([errorBits.toBigInt(), errnos]).toEqual([1n, [ERRNO.EIO, 0]]);
    expect(marks(a.bytes)).toEqual([1, 2, 3, 4]);
  });
});

describe('R15: an operation on data without memory', () => {
  it('is refused and nobody is told', () => {
    const made = f.request(REQ_OP.WRITE, 0);
    made.owner = { dmIoDone: () => expect('told').toBe('not told') };
    expect(() => dmIo(made, f.disks(1).map(whole))).toThrow(/^request\.memory: /);
    f.world.settle();
    expect(f.world.log).toEqual([]);
  });
});

describe('R16: no retry', () => {
  it('sends every bio once', () => {
    const disk = f.disk();
    disk.fail(REQ_OP.READ);
    f.services.syncVm([whole(disk)], READ, new Uint8Array(16 * SECTOR));
    expect(f.sent()).toEqual(['disk0 0 0+16']);
  });
});

describe('R17: one bio is enough', () => {
  it('for many requests of many regions in many bios, in order of arrival', () => {
    const client = new DmIoClient(f.world.loop, 1, 1);
    const all = Array.from({ length: 8 }, () => new Disk(f.world, 8, { maxSectors: 1 }));
    const ended: number[] = [];
    for (let i = 0; i < 5; i += 1) {
      const made = f.request(REQ_OP.WRITE, i === 2 ? REQ_FLAG.PREFLUSH : 0, pattern(8, 10 * i));
      made.client = client;
      made.owner = { dmIoDone: () => ended.push(i) };
      dmIo(made, all.map(whole));
    }
    expect([client.biosInFlight, client.requestsWaiting]).toEqual([1, 5]);
    f.world.settle();
    expect(ended).toEqual([0, 1, 3, 4, 2]);
    expect([client.biosInFlight, client.requestsWaiting]).toEqual([0, 0]);
    // Five writes of 8 sectors to 8 disks, and the flushes.
    expect(f.world.log.length).toBe(5 * 64 + 8);
  });

  it('two clients do not wait for each other', () => {
    const disk = f.disk();
    const starved = f.request(REQ_OP.WRITE, 0, pattern(16));
    starved.client = new DmIoClient(f.world.loop, 1, 1);
    starved.owner = { dmIoDone: () => undefined };
    dmIo(starved, [whole(disk), whole(disk)]);
    const other = f.request(REQ_OP.WRITE, 0, pattern(16));
    other.owner = starved.owner;
    dmIo(other, [whole(disk)]);
    expect(other.client?.requestsWaiting).toBe(0);
    expect(f.world.underWay).toBe(2);
    f.world.settle();
  });
});
