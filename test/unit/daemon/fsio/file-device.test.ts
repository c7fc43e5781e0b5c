import fs from 'node:fs';
import { join } from 'node:path';
import { ERRNO } from '../../../../core/base/errno.ts';
import { Prng } from '../../../../core/base/prng.ts';
import { bytesOfSectors } from '../../../../core/base/units.ts';
import { REQ_FLAG, REQ_OP } from '../../../../core/block/op.ts';
import { openFileDevice } from '../../../../daemon/fsio/engine.ts';
import { FileDevice } from '../../../../daemon/fsio/file-device.ts';
import { MissingModes } from '../../../../daemon/fsio/zero-plan.ts';
import { createNodeLoop } from '../../../../daemon/node-loop.ts';
import { FALLOC, hasSyscalls, loadSyscalls } from '../../../../daemon/sys/syscalls.ts';
import type { Syscalls } from '../../../../daemon/sys/syscalls.ts';
import { Bench } from '../../../conformance/bench.ts';
import { overlaps } from '../../../conformance/checks.ts';
import { checksFor, runCheck, SEED } from '../../../conformance/block-device.ts';
import type { DeviceFactory } from '../../../conformance/block-device.ts';
import { tempDirectory } from '../../../support/temp.ts';

const SECTORS = 1024;
const directory = tempDirectory();
let files = 0;

const PUNCH = FALLOC.PUNCH_HOLE | FALLOC.KEEP_SIZE;
const ZERO_RANGE = FALLOC.ZERO_RANGE | FALLOC.KEEP_SIZE;

async function openNew(syscalls?: Syscalls): Promise<FileDevice> {
  files += 1;
  return openFileDevice(join(directory, `leg-${files}.img`), {
    loop: createNodeLoop(),
    readOnly: false,
    exclusive: true,
    create: { sizeBytes: bytesOfSectors(SECTORS) },
    ...(syscalls === undefined ? {} : { syscalls }),
  });
}

/** The real calls, but fallocate with a mode in `missing` is not supported. */
function syscallsWithout(missing: readonly number[], asked: number[] = []): Syscalls {
  const real = loadSyscalls();
  if (!hasSyscalls(real)) throw new Error(real.reason);
  return {
    ...real,
    fallocate: (fd, mode, offset, length) => {
      asked.push(mode);
      return missing.includes(mode) ? ERRNO.EOPNOTSUPP : real.fallocate(fd, mode, offset, length);
    },
    fallocateAsync: (fd, mode, offset, length, done) => {
      asked.push(mode);
      if (missing.includes(mode)) setImmediate(done, ERRNO.EOPNOTSUPP);
      else real.fallocateAsync(fd, mode, offset, length, done);
    },
  };
}

type AnyCall = (...args: unknown[]) => unknown;

/** The calls of node:fs that a test puts something else in the place of. */
const REPLACED = [
  'read',
  'write',
  'readv',
  'writev',
  'readvSync',
  'writevSync',
  'fdatasync',
] as const;
type Calls = Record<(typeof REPLACED)[number], AnyCall>;
const calls = fs as unknown as Calls;
const real = Object.fromEntries(REPLACED.map((name) => [name, calls[name]])) as Calls;

afterEach(() => {
  Object.assign(fs, real);
});

describe('transfers', () => {
  const file: DeviceFactory = async () => {
    const device = await openNew();
    return { device, close: () => device.close() };
  };
  const supports = { storesData: true, startsZeroed: true, readOnly: false, sync: true };

  /** A kernel that moves a part of what it is asked for, or is interrupted. */
  function moveInParts(prng: Prng): void {
    const interrupted = (): Error =>
      Object.assign(new Error('EINTR'), { errno: -4, code: 'EINTR' });
    for (const name of ['read', 'write'] as const) {
      calls[name] = (...args) => {
        const [fd, page, offset, length, position, done] = args;
        if (prng.ratio(1, 4)) setImmediate(done as AnyCall, interrupted());
        else real[name](fd, page, offset, prng.between(1, length as number), position, done);
      };
    }
    for (const name of ['readv', 'writev', 'readvSync', 'writevSync'] as const) {
      calls[name] = (fd, views, ...rest) => {
        const pieces = views as Uint8Array[];
        const whole = prng.below(pieces.length);
        const parts = pieces.slice(0, whole);
        const last = pieces[whole];
        if (last !== undefined) parts.push(last.subarray(0, prng.between(1, last.length)));
        return real[name](fd, parts, ...rest);
      };
    }
  }

  // A write in two parts may meet another in the middle of a sector: only that check must not run.
  const checks = checksFor(supports).filter(({ run }) => run !== overlaps);
  for (const check of checks) {
    it(`${check.name}, when the kernel moves less than asked for (seed ${SEED})`, async () => {
      moveInParts(new Prng(SEED));
      await runCheck(check, file, supports);
    }, 60_000);
  }

  it('ends a READ behind the end of a file that was cut with ENXIO', async () => {
    const device = await openNew();
    fs.truncateSync(device.name, 4096);
    const bench = new Bench(device);
    const bytes = new Uint8Array(8192);
    await bench.expect(ERRNO.OK, 'a READ before the cut', { op: REQ_OP.READ, sectors: 8, bytes });
    const across = { op: REQ_OP.READ, sector: 4, sectors: 8, bytes };
    await bench.expect(ERRNO.ENXIO, 'a READ across it', across);
    await bench.expect(ERRNO.ENXIO, 'a SYNC READ across it', { ...across, flags: REQ_FLAG.SYNC });
    await device.close();
  });

  it('gives up on a call that is interrupted for ever', async () => {
    const error = Object.assign(new Error('EINTR'), { errno: -4 });
    calls.read = (...args) => setImmediate(args[5] as AnyCall, error);
    const device = await openNew();
    const bytes = new Uint8Array(512);
    await new Bench(device).expect(ERRNO.EINTR, 'a READ', { op: REQ_OP.READ, sectors: 1, bytes });
    await device.close();
  });

  it('hands on ENOSPC as errno 28', async () => {
    const fd = fs.openSync('/dev/full', 'r+');
    const device = deviceOn(fd);
    const bench = new Bench(device);
    const bytes = new Uint8Array(4096);
    const write = { op: REQ_OP.WRITE, sectors: 8, bytes };
    await bench.expect(28, 'a WRITE', write);
    await bench.expect(28, 'a SYNC WRITE', { ...write, flags: REQ_FLAG.SYNC });
    await bench.expect(28, 'a WRITE with FUA', { ...write, flags: REQ_FLAG.FUA });
    fs.closeSync(fd);
  });
});

/** A device on a descriptor that openFileDevice would refuse. */
function deviceOn(fd: number): FileDevice {
  const missingModes = new MissingModes();
  missingModes.addAll();
  return new FileDevice({
    name: 'by hand',
    loop: createNodeLoop(),
    fd,
    flushFd: fd,
    sectors: SECTORS,
    identity: 'by hand',
    readOnly: false,
    currentBytes: async () => SECTORS * 512,
    isBlockDevice: false,
    logicalBlockSize: 512,
    direct: false,
    missingModes,
    syscalls: null,
    release: () => Promise.resolve(),
    undo: () => Promise.resolve(),
  });
}

describe('syncs', () => {
  type SyncDone = (error: NodeJS.ErrnoException | null) => void;

  /** Catches the calls of fdatasync; a test ends them when it likes. */
  function catchSyncs(): SyncDone[] {
    const syncs: SyncDone[] = [];
    calls.fdatasync = (_fd, done) => syncs.push(done as SyncDone);
    return syncs;
  }

  it('are shared by all that wait when one begins, and by none that comes later', async () => {
    const device = await openNew();
    const bench = new Bench(device);
    const syncs = catchSyncs();
    const first = bench.submit(bench.bio({ op: REQ_OP.FLUSH }));
    const later = Array.from({ length: 50 }, () => bench.submit(bench.bio({ op: REQ_OP.FLUSH })));
    expect(syncs).toHaveLength(1);
    syncs[0]?.(null);
    await bench.turn();
    expect([first.ends, ...later.map(({ ends }) => ends)]).toEqual([1, ...later.map(() => 0)]);
    expect(syncs).toHaveLength(2);
    syncs[1]?.(null);
    await bench.settle();
    expect(syncs).toHaveLength(2);
    await device.close();
  });

  it('count for a FUA write only when they began after it was written', async () => {
    const device = await openNew();
    const bench = new Bench(device);
    const syncs = catchSyncs();
    bench.submit(bench.bio({ op: REQ_OP.FLUSH }));
    const fields = { op: REQ_OP.WRITE, sectors: 1, bytes: new Uint8Array(512).fill(1) };
    const write = bench.submit(bench.bio({ ...fields, flags: REQ_FLAG.FUA }));
    while (fs.readFileSync(device.name)[0] !== 1) await bench.turn();
    for (let i = 0; i < 10; i += 1) await bench.turn();
    expect(syncs).toHaveLength(1);
    syncs[0]?.(null);
    for (let i = 0; i < 10; i += 1) await bench.turn();
    expect([write.ends, syncs.length]).toEqual([0, 2]);
    syncs[1]?.(null);
    await bench.settle();
    expect(write.error).toBe(0);
    await device.close();
  });

  it('that fail are the last ones believed', async () => {
    const device = await openNew();
    const bench = new Bench(device);
    const syncs = catchSyncs();
    const bios = [1, 2, 3].map(() => bench.submit(bench.bio({ op: REQ_OP.FLUSH })));
    syncs[0]?.(Object.assign(new Error('ENOSPC'), { errno: -ERRNO.ENOSPC }));
    await bench.settle();
    expect(bios.map(({ error }) => error)).toEqual([ERRNO.ENOSPC, ERRNO.EIO, ERRNO.EIO]);
    await bench.expect(ERRNO.EIO, 'a FLUSH', { op: REQ_OP.FLUSH });
    await bench.expect(ERRNO.EIO, 'a SYNC FLUSH', { op: REQ_OP.FLUSH, flags: REQ_FLAG.SYNC });
    const bytes = new Uint8Array(512);
    const write = { op: REQ_OP.WRITE, sectors: 1, bytes };
    await bench.expect(ERRNO.OK, 'a WRITE', write);
    await bench.expect(ERRNO.EIO, 'a WRITE with FUA', { ...write, flags: REQ_FLAG.FUA });
    expect(syncs).toHaveLength(1);
    await device.close();
  });

  it('refuse to be interrupted by close', async () => {
    const device = await openNew();
    const bench = new Bench(device);
    const syncs = catchSyncs();
    bench.submit(bench.bio({ op: REQ_OP.FLUSH }));
    await expect(device.close()).rejects.toThrow('a file closed with I/O in flight');
    syncs[0]?.(null);
    await bench.settle();
    await device.close();
  });
});

describe('zeros', () => {
  const zeroes = { op: REQ_OP.WRITE_ZEROES, sectors: 16 };
  const keep = { ...zeroes, flags: REQ_FLAG.NOUNMAP };

  async function filled(syscalls: Syscalls): Promise<{ device: FileDevice; bench: Bench }> {
    const device = await openNew(syscalls);
    const bench = new Bench(device);
    const bytes = new Uint8Array(bytesOfSectors(32)).fill(5);
    await bench.expect(0, 'a WRITE', { op: REQ_OP.WRITE, sectors: 32, bytes });
    return { device, bench };
  }

  /** 16 sectors of zeros, then what was there. */
  function expectZeroed(device: FileDevice): void {
    const bytes = fs.readFileSync(device.name).subarray(0, bytesOfSectors(32));
    expect(bytes.findIndex((byte) => byte !== 0)).toBe(bytesOfSectors(16));
    expect(bytes.subarray(bytesOfSectors(16)).every((byte) => byte === 5)).toBe(true);
  }

  it.each([
    ['a hole', zeroes, [], [PUNCH]],
    ['a hole, blocking', { ...zeroes, flags: REQ_FLAG.SYNC }, [], [PUNCH]],
    ['zeros where no hole can be', zeroes, [PUNCH], [ZERO_RANGE]],
    ['zeros that stay allocated', keep, [], [ZERO_RANGE]],
    ['a hole that is filled again', keep, [ZERO_RANGE], [ZERO_RANGE, PUNCH, FALLOC.ALLOCATE]],
  ])('are %s', async (_what, fields, missing, wanted) => {
    const asked: number[] = [];
    const { device, bench } = await filled(syscallsWithout(missing, asked));
    expect(asked.splice(0)).toEqual([PUNCH]);
    await bench.expect(0, 'the bio', fields);
    expect(asked).toEqual(wanted);
    expectZeroed(device);
    await device.close();
  });

  it('keep their space with NOUNMAP, and give it back without', async () => {
    const { device, bench } = await filled(syscallsWithout([]));
    await bench.expect(0, 'WRITE_ZEROES with NOUNMAP', keep);
    expect(fs.statSync(device.name).blocks).toBe(32);
    await bench.expect(0, 'WRITE_ZEROES', zeroes);
    expect(fs.statSync(device.name).blocks).toBe(16);
    await device.close();
  });

  it('are refused before any call where opening found no way, and the limits say so', async () => {
    const { device, bench } = await filled(syscallsWithout([PUNCH]));
    expect(device.limits).toMatchObject({ maxDiscardSectors: 0, discardZeroes: false });
    expect(device.limits.maxWriteZeroesSectors).toBeGreaterThan(0);
    await bench.expect(ERRNO.EOPNOTSUPP, 'a DISCARD', { op: REQ_OP.DISCARD, sectors: 16 });
    await device.close();
  });

  it('that nothing can make are answered EOPNOTSUPP, and remembered in the limits', async () => {
    const asked: number[] = [];
    const { device, bench } = await filled(syscallsWithout([PUNCH, ZERO_RANGE], asked));
    asked.length = 0;
    await bench.expect(ERRNO.EOPNOTSUPP, 'a WRITE_ZEROES', zeroes);
    expect(device.limits.maxWriteZeroesSectors).toBe(0);
    await bench.expect(ERRNO.EOPNOTSUPP, 'a WRITE_ZEROES', zeroes);
    expect(asked).toEqual([ZERO_RANGE]);
    await device.close();
  });

  it('need koffi: without it the limits say 0, and everything else works', async () => {
    const path = join(directory, 'no-koffi.img');
    const device = await openFileDevice(path, {
      loop: createNodeLoop(),
      readOnly: false,
      exclusive: false,
      create: { sizeBytes: 4096 },
      syscalls: { reason: 'koffi is not there' },
    });
    expect(device.limits).toMatchObject({ maxDiscardSectors: 0, maxWriteZeroesSectors: 0 });
    const bytes = new Uint8Array(4096).fill(1);
    const fields = { op: REQ_OP.WRITE, flags: REQ_FLAG.FUA, sectors: 8, bytes };
    await new Bench(device).expect(0, 'a WRITE', fields);
    await device.close();
  });

  it('pass other errors on', async () => {
    const real = syscallsWithout([]);
    const broken = { ...real, fallocateAsync: syscallFails(ERRNO.ENOSPC) };
    const { device, bench } = await filled(broken);
    await bench.expect(ERRNO.ENOSPC, 'a WRITE_ZEROES', zeroes);
    expect(device.limits.maxWriteZeroesSectors).toBeGreaterThan(0);
    await device.close();
  });

  function syscallFails(errno: number): Syscalls['fallocateAsync'] {
    return (_fd, _mode, _offset, _length, done) => {
      setImmediate(done, errno);
    };
  }
});
