// Rules R18..R28 of core/dm-io/README.md, one test or more for each, by number. R21 and R24 are in
// reserve.test.ts, R23 in arguments.test.ts; property.test.ts tries them all at random.
import { ERRNO } from '../../../core/base/errno.ts';
import { BioVec } from '../../../core/block/bio.ts';
import { REQ_FLAG, REQ_OP } from '../../../core/block/op.ts';
import { dmIo } from '../../../core/dm-io/io.ts';
import type { PageList } from '../../../core/dm-io/memory.ts';
import { inParts } from '../../../core/dm-io/region.ts';
import type { DmIoRequest } from '../../../core/dm-io/request.ts';
import { READ, WRITE } from '../../../core/dm-io/services.ts';
import { Disk } from '../../support/dm-io-disk.ts';
import { Fixture, marks, pages, pattern, SECTOR, whole } from '../../support/dm-io-fixture.ts';

let f: Fixture;

beforeEach(() => {
  f = new Fixture();
});

describe('R18: PREFLUSH is a phase of its own', () => {
  it('every region is flushed, and data follows when the last flush has ended', () => {
    const all = f.disks(2, 4);
    dmIo(f.request(REQ_OP.WRITE, REQ_FLAG.PREFLUSH, pattern(4)), all.map(whole));
    expect(f.sent()).toEqual(['disk0 2 0+0', 'disk1 2 0+0', 'disk0 1 0+4', 'disk1 1 0+4']);
    expect(f.world.log[2]?.submitted).toBeGreaterThan(f.world.log[1]?.ended ?? Infinity);
  });

  it('a region whose flush failed gets no data, the others do', () => {
    const [a, b] = f.disks(2, 4) as [Disk, Disk];
    a.fail(REQ_OP.FLUSH, 0, 0, ERRNO.ENOSPC);
    const made = f.request(REQ_OP.WRITE, REQ_FLAG.PREFLUSH, pattern(4));
    expect(dmIo(made, [whole(a), whole(b)])).toBe(-5);
    expect([made.errorBits.toBigInt(), made.regions[0]?.error]).toEqual([1n, ERRNO.ENOSPC]);
    expect(f.sent()).toEqual(['disk0 2 0+0', 'disk1 2 0+0', 'disk1 1 0+4']);
  });

  it('of no region, and of FLUSH itself, flushes once', () => {
    expect(dmIo(f.request(REQ_OP.WRITE, REQ_FLAG.PREFLUSH, pattern(1)), [])).toBe(0);
    expect(f.sent()).toEqual([]);
    dmIo(f.request(REQ_OP.FLUSH, REQ_FLAG.PREFLUSH), f.disks(2, 0).map(whole));
    expect(f.sent()).toEqual(['disk0 2 0+0', 'disk1 2 0+0']);
  });
});

describe('R19: an operation the device does not know', () => {
  it.each([
    ['DISCARD', REQ_OP.DISCARD],
    ['WRITE_ZEROES', REQ_OP.WRITE_ZEROES],
  ])('%s: the bit and EOPNOTSUPP, without I/O, beside regions that do it', (_name, op) => {
    const none = new Disk(f.world, 8, { maxDiscardSectors: 0, maxWriteZeroesSectors: 0 }, 'none');
    const some = new Disk(f.world, 8, { maxDiscardSectors: 3, maxWriteZeroesSectors: 3 }, 'some');
    some.bytes.fill(1);
    const made = f.request(op, 0);
    expect(dmIo(made, [whole(none), whole(some)])).toBe(-5);
    expect([made.errorBits.toBigInt(), made.regions[0]?.error]).toEqual([1n, ERRNO.EOPNOTSUPP]);
    expect(f.sent()).toEqual([`some ${op} 0+3`, `some ${op} 3+3`, `some ${op} 6+2`]);
    expect(some.bytes.every((byte) => byte === 0)).toBe(true);
  });

  it('alone, it ends from the loop like every other', () => {
    const disk = new Disk(f.world, 8, { maxDiscardSectors: 0 });
    const made = f.request(REQ_OP.DISCARD, 0);
    let told = 0;
    made.owner = { dmIoDone: () => (told += 1) };
    dmIo(made, [whole(disk)]);
    expect([told, made.inFlight]).toEqual([0, true]);
    f.world.settle();
    expect([told, made.inFlight]).toEqual([1, false]);
  });
});

describe('R20: bios keep to the limits of their device', () => {
  const vecsOf = (lengths: number[]): BioVec[] => {
    let first = 1;
    return lengths.map((sectors) => {
      const vec = new BioVec(pattern(sectors, first), 0, sectors * SECTOR);
      first += sectors;
      return vec;
    });
  };

  it('length', () => {
    const disk = new Disk(f.world, 10, { maxSectors: 4 });
    f.services.syncVm([whole(disk)], WRITE, pattern(10));
    expect(f.sent()).toEqual(['disk 1 0+4', 'disk 1 4+4', 'disk 1 8+2']);
  });

  it('pieces', () => {
    const disk = new Disk(f.world, 10, { maxSegments: 2 });
    f.services.syncBvec([whole(disk)], WRITE, vecsOf([1, 2, 3, 3, 1]));
    expect(f.sent()).toEqual(['disk 1 0+3', 'disk 1 3+6', 'disk 1 9+1']);
    expect(disk.bytes).toEqual(pattern(10));
  });

  it('a cut by pieces lies between logical blocks, the odd sectors go to the next bio', () => {
    const limits = { logicalBlockSize: 4096, maxSegments: 8 };
    const disk = new Disk(f.world, 24, limits);
    f.services.syncBvec([whole(disk)], WRITE, vecsOf([3, 1, 1, 1, 1, 1, 2, 1, 3, 10]));
    expect(f.sent()).toEqual(['disk 1 0+8', 'disk 1 8+16']);
    expect(disk.bytes).toEqual(pattern(24));
  });

  it('a limit for discards off the logical block is rounded down', () => {
    const disk = new Disk(f.world, 24, { logicalBlockSize: 4096, maxDiscardSectors: 17 });
    dmIo(f.request(REQ_OP.DISCARD, 0), [whole(disk)]);
    expect(f.sent()).toEqual(['disk 3 0+16', 'disk 3 16+8']);
  });

  it('a length of no whole blocks, past the checks, is refused by the device and not thrown', () => {
    const disk = new Disk(f.world, 24, { logicalBlockSize: 4096 });
    disk.submit = (bio): void => f.world.take(bio, disk);
    const made = f.request(REQ_OP.WRITE, 0);
    const vecs = vecsOf([3, 8]);
    made.memory.setVecs(vecs, 2);
    made.addRegion(disk, 0, 11);
    let bits = 0n;
    made.owner = { dmIoDone: (r) => (bits = r.errorBits.toBigInt()) };
    made.client?.submit(made);
    f.world.settle();
    expect([bits, made.regions[0]?.error]).toEqual([1n, ERRNO.EINVAL]);
  });

  it('so is a block in more pieces than a bio may have', () => {
    const disk = new Disk(f.world, 24, { logicalBlockSize: 4096, maxSegments: 4 });
    disk.submit = (bio): void => f.world.take(bio, disk);
    const { errnos } = f.services.syncBvec(
      [{ device: disk, sector: 0, count: 8 }],
      WRITE,
      vecsOf([1, 1, 1, 1, 1, 1, 1, 1]),
    );
    expect(errnos).toEqual([ERRNO.EINVAL]);
  });

  it('offsets far behind 2^32 sectors are exact', () => {
    const far = 2 ** 44 - 1 - 8;
    const disk = new Disk(f.world, 0, { maxSectors: 4 });
    disk.sectors = 2 ** 44 - 1;
    disk.perform = (bio): void => {
      bio.error = 0;
    };
    f.services.syncVm([{ device: disk, sector: far, count: 8 }], WRITE, pattern(8));
    expect(f.sent()).toEqual([`disk 1 ${far}+4`, `disk 1 ${far + 4}+4`]);
  });
});

describe('R22: one memory directed in parts', () => {
  it("a bio's vectors go to three devices, cut inside a vector", () => {
    const [a, b, c] = f.disks(3) as [Disk, Disk, Disk];
    const vecs = [pattern(4, 1), pattern(4, 5)].map((page) => new BioVec(page, 0, 2048));
    const parts = inParts([
      { device: a, sector: 10, count: 1 },
      { device: b, sector: 0, count: 5 },
      { device: c, sector: 4, count: 2 },
    ]);
    b.fail(REQ_OP.WRITE, 4, 5);
    const { errorBits } = f.services.syncBvec(parts, WRITE, vecs);
    expect(errorBits.toBigInt()).toBe(0b010n);
    expect(marks(a.bytes).slice(9, 12)).toEqual([0, 1, 0]);
    expect(marks(b.bytes).slice(0, 6)).toEqual([2, 3, 4, 5, 0, 0]);
    expect(marks(c.bytes).slice(3, 7)).toEqual([0, 7, 8, 0]);
  });

  it('reads in parts, one call a device', () => {
    const all = f.disks(3, 2).map((disk, i) => {
      disk.bytes.set(pattern(2, 10 * i));
      return disk;
    });
    const vecs = [1, 2, 3].map(() => new BioVec(new Uint8Array(1024), 0, 1024));
    let told = 0;
    for (const part of inParts(all.map(whole))) {
      f.services.asyncBvec([part], READ, vecs, () => (told += 1), null);
    }
    f.world.settle();
    expect(told).toBe(3);
    expect(vecs.flatMap(({ page }) => marks(page))).toEqual([0, 1, 10, 11, 20, 21]);
  });

  it('works for page lists and contiguous memory, and may begin anywhere', () => {
    const [a, b] = f.disks(2, 2) as [Disk, Disk];
    const parts = inParts([whole(a), whole(b)], 3);
    expect(parts.map(({ memorySector }) => memorySector)).toEqual([3, 5]);
    f.services.syncVm(parts, WRITE, pattern(7));
    expect([marks(a.bytes), marks(b.bytes)]).toEqual([
      [4, 5],
      [6, 7],
    ]);
    f.services.sync(parts, WRITE, pages([pattern(4, 21), pattern(4, 25)]), 512);
    expect([marks(a.bytes), marks(b.bytes)]).toEqual([
      [25, 26],
      [27, 28],
    ]);
  });
});

describe('R25: the errno of each region, beside the bits', () => {
  it('is the first that befell it', () => {
    const disk = new Disk(f.world, 4, { maxSectors: 1 });
    disk.fail(REQ_OP.WRITE, 1, 2, ERRNO.ENOSPC).fail(REQ_OP.WRITE, 3, 4, ERRNO.ETIMEDOUT);
    const readOnly = new Disk(f.world, 4, { readOnly: true });
    const { errnos } = f.services.syncVm([whole(disk), whole(readOnly)], WRITE, pattern(4));
    expect(errnos).toEqual([ERRNO.ENOSPC, ERRNO.EROFS]);
  });

  it('is given to a completion routine too', () => {
    const [a, b] = f.disks(2) as [Disk, Disk];
    b.fail(REQ_OP.WRITE, 0, 1, ERRNO.ENOSPC);
    const errnos: unknown[] = [];
    const routine = (_bits: unknown, _context: unknown, ended: DmIoRequest): void => {
      errnos.push(ended.regions[0]?.error, ended.regions[1]?.error);
    };
    f.services.asyncVm([whole(a), whole(b)], WRITE, pattern(16), routine, null);
    f.world.settle();
    expect(errnos).toEqual([0, ERRNO.ENOSPC]);
  });
});

describe('R26: a synchronous call that would wait for ever', () => {
  it('in a completion, is refused before any I/O', () => {
    const regions = [whole(f.disk())];
    const made = f.request(REQ_OP.WRITE, 0, pattern(16));
    const calls = [
      () => f.services.sync(regions, WRITE, pages([pattern(16)]), 0),
      () => f.services.syncBvec(regions, WRITE, [new BioVec(pattern(16), 0, 8192)]),
      () => f.services.syncVm(regions, WRITE, pattern(16)),
      () => dmIo(made, regions),
    ];
    const errors: unknown[] = [];
    const tryAll = (): void => {
      for (const call of calls) {
        try {
          call();
        } catch (caught) {
          errors.push(caught);
        }
      }
    };
    f.services.asyncVm([], WRITE, pattern(1), tryAll, null);
    f.world.settle();
    const refused = { name: 'DmIoWaitError', errno: ERRNO.EDEADLK, inFlight: false };
    expect(errors).toMatchObject([refused, refused, refused, refused]);
    expect([f.world.log.length, made.inFlight, f.services.underWay]).toEqual([0, false, 0]);
  });

  it('on a loop that cannot end anything while blocked, says that the request is still under way', () => {
    const disk = f.disk();
    const held: (() => void)[] = [];
    disk.submit = (bio): void => void held.push(() => f.world.loop.defer(bio));
    let error = { inFlight: false };
    try {
      f.services.syncVm([whole(disk)], WRITE, pattern(16));
    } catch (caught) {
      error = caught as typeof error;
    }
    expect(error).toMatchObject({ name: 'DmIoWaitError', inFlight: true });
    held.forEach((end) => end());
    f.world.loop.run();
    expect([error.inFlight, f.services.underWay]).toEqual([false, 0]);
  });
});

describe('R27: flush, FUA, discard and write-zeroes', () => {
  it('flags reach every bio of every region', () => {
    const all = Array.from({ length: 2 }, () => new Disk(f.world, 4, { maxSectors: 2 }));
    const flags = REQ_FLAG.FUA | REQ_FLAG.NOUNMAP;
    dmIo(f.request(REQ_OP.WRITE, flags, pattern(4)), all.map(whole));
    expect(f.world.log.map((entry) => entry.flags)).toEqual(Array(4).fill(flags | REQ_FLAG.SYNC));
  });

  it('FLUSH goes to every region and carries no range', () => {
    dmIo(f.request(REQ_OP.FLUSH, 0), f.disks(3).map(whole));
    expect(f.sent()).toEqual(['disk0 2 0+0', 'disk1 2 0+0', 'disk2 2 0+0']);
  });

  it('DISCARD and WRITE_ZEROES take no memory', () => {
    const disk = f.disk(4);
    disk.bytes.fill(1);
    dmIo(f.request(REQ_OP.WRITE_ZEROES, 0), [{ device: disk, sector: 1, count: 2 }]);
    expect(marks(disk.bytes)).toEqual([1, 0, 0, 1]);
  });
});

describe('R28: the three memories', () => {
  it.each([0, 512, 3584])('a page list from %d bytes into its first page', (offset) => {
    const disk = f.disk(12);
    f.services.sync(
      [whole(disk)],
      WRITE,
      pages([pattern(8, 0), pattern(8, 8), pattern(8, 16)]),
      offset,
    );
    expect(disk.bytes).toEqual(pattern(12, offset / 512));
  });

  it('a cyclic list writes zeros of any length from one page', () => {
    const disk = f.disk(100);
    disk.bytes.fill(1);
    const zeros: { page: Uint8Array; next: PageList | null } = {
      page: new Uint8Array(4096),
      next: null,
    };
    zeros.next = zeros;
    f.services.sync([whole(disk)], WRITE, zeros, 0);
    expect(disk.bytes).toEqual(new Uint8Array(100 * SECTOR));
  });

  it('bio vectors at any byte offset, and longer tables than needed', () => {
    const disk = f.disk(3);
    const page = new Uint8Array(5000);
    page.set(pattern(3), 777);
    const vecs = [new BioVec(page, 777, 512), new BioVec(page, 1289, 1024), new BioVec(page, 0, 3)];
    f.services.syncBvec([whole(disk)], WRITE, vecs);
    expect(disk.bytes).toEqual(pattern(3));
  });
});
