import { ERRNO } from '../../core/base/errno.ts';
import type { Prng } from '../../core/base/prng.ts';
import { bytesOfSectors, isPowerOfTwo, SECTOR_SIZE } from '../../core/base/units.ts';
import { BioVec } from '../../core/block/bio.ts';
import { opName, REQ_FLAG, REQ_OP } from '../../core/block/op.ts';
import { expectEqual, expectFilled, randomBytes, Violation } from './bench.ts';
import type { Bench, TestBio } from './bench.ts';
import { checkModel } from './model.ts';

/** What a device can be asked for beyond what its limits say. */
export interface Supports {
  /** What was written is read back. Not so: `zero`, `error`. */
  readonly storesData: boolean;
  /** A device nobody has written to reads as zeros. */
  readonly startsZeroed: boolean;
  /** The factory makes read-only devices too. */
  readonly readOnly: boolean;
  /** Bios with REQ_FLAG.SYNC end by loop.poll alone, without the event loop. */
  readonly sync: boolean;
  /** Every bio with a range ends with this errno, instead of well. */
  readonly alwaysErrno?: number;
}

export interface Check {
  readonly name: string;
  readonly needs?: keyof Supports;
  /** The factory is asked for a read-only device. */
  readonly onReadOnly?: true;
  /** Throws a Violation when the device breaks the contract. */
  run(bench: Bench, prng: Prng, supports: Supports): Promise<void>;
}

/** Longest range of a check, in blocks: small beside every device. */
const SPAN_BLOCKS = 16;

async function endsOnce(bench: Bench, prng: Prng, supports: Supports): Promise<void> {
  const sectors = bench.blockSectors * 4;
  const wanted = supports.alwaysErrno ?? ERRNO.OK;
  const memory = { sectors, bytes: randomBytes(prng, sectors) };
  await bench.expect(wanted, 'a WRITE', { op: REQ_OP.WRITE, ...memory });
  await bench.expect(wanted, 'a READ', { op: REQ_OP.READ, ...memory });
  await bench.expect(wanted, 'a WRITE with FUA', {
    op: REQ_OP.WRITE,
    flags: REQ_FLAG.FUA,
    ...memory,
  });
  await bench.expect(ERRNO.OK, 'a FLUSH', { op: REQ_OP.FLUSH });
  const outside = bench.device.sectors;
  await bench.expect(ERRNO.EIO, 'a READ outside', {
    op: REQ_OP.READ,
    sector: outside,
    ...memory,
  });
}

async function endsTogether(bench: Bench, prng: Prng, supports: Supports): Promise<void> {
  const bios: TestBio[] = [];
  const bytes = randomBytes(prng, bench.blockSectors);
  for (let i = 0; i < 500; i += 1) {
    const sector = (i % SPAN_BLOCKS) * bench.blockSectors;
    const op = i % 7 === 0 ? REQ_OP.FLUSH : i % 2 === 0 ? REQ_OP.WRITE : REQ_OP.READ;
    const target = op === REQ_OP.READ ? new Uint8Array(bytes.length) : bytes;
    const fields =
      op === REQ_OP.FLUSH ? { op } : { op, sector, sectors: bench.blockSectors, bytes: target };
    bios.push(bench.submit(bench.bio(fields)));
  }
  await bench.settle();
  for (const bio of bios) {
    const wanted = bio.op === REQ_OP.FLUSH ? ERRNO.OK : (supports.alwaysErrno ?? ERRNO.OK);
    if (bio.error !== wanted) throw new Violation(`a ${opName(bio.op)} ended with ${bio.error}`);
  }
}

/** An owner may submit from endIo, also the very bio that has just ended. */
async function submitsFromEnd(bench: Bench): Promise<void> {
  const bio = bench.bio({
    op: REQ_OP.READ,
    sectors: bench.blockSectors,
    bytes: new Uint8Array(bytesOfSectors(bench.blockSectors)),
  });
  const watch = bio.owner;
  bio.owner = {
    endIo: (ended) => {
      watch.endIo(ended);
      if (bio.submits < 20) bench.submit(bio);
    },
  };
  bench.submit(bio);
  await bench.settle();
  if (bio.ends !== 20) throw new Violation(`a bio submitted 20 times ended ${bio.ends} times`);
}

async function keepsManyWrites(bench: Bench, prng: Prng): Promise<void> {
  const sectors = bench.blockSectors;
  const count = Math.floor(bench.device.sectors / sectors);
  const contents = Array.from({ length: Math.min(count, 300) }, () => randomBytes(prng, sectors));
  contents.forEach((bytes, i) => {
    bench.submit(bench.bio({ op: REQ_OP.WRITE, sector: i * sectors, sectors, bytes }));
  });
  await bench.settle();
  const read = contents.map(() => new Uint8Array(bytesOfSectors(sectors)));
  read.forEach((bytes, i) => {
    bench.submit(bench.bio({ op: REQ_OP.READ, sector: i * sectors, sectors, bytes }));
  });
  await bench.settle();
  read.forEach((bytes, i) =>
    expectEqual(bytes, contents[i] ?? new Uint8Array(0), `block ${i} of many in flight`),
  );
}

/** Overlapping writes may land in any order, but each sector is one of theirs. */
export async function overlaps(bench: Bench, prng: Prng): Promise<void> {
  const block = bench.blockSectors;
  const span = SPAN_BLOCKS * block;
  const background = new Uint8Array(bytesOfSectors(span)).fill(0xee);
  await bench.expect(0, 'a WRITE', { op: REQ_OP.WRITE, sectors: span, bytes: background });
  const covered = new Map<number, Set<number>>();
  for (let mark = 1; mark <= 60; mark += 1) {
    const first = prng.below(SPAN_BLOCKS);
    const blocks = prng.between(1, SPAN_BLOCKS - first);
    const bytes = new Uint8Array(bytesOfSectors(blocks * block)).fill(mark);
    for (let i = first; i < first + blocks; i += 1) {
      covered.set(i, (covered.get(i) ?? new Set()).add(mark));
    }
    bench.submit(
      bench.bio({ op: REQ_OP.WRITE, sector: first * block, sectors: blocks * block, bytes }),
    );
  }
  await bench.settle();
  const read = new Uint8Array(background.length);
  await bench.expect(0, 'a READ', { op: REQ_OP.READ, sectors: span, bytes: read });
  for (let sector = 0; sector < span; sector += 1) {
    const bytes = read.subarray(bytesOfSectors(sector), bytesOfSectors(sector + 1));
    const mark = bytes[0] ?? 0;
    expectFilled(bytes, mark, `sector ${sector} under overlapping writes`);
    const marks = covered.get(Math.floor(sector / block)) ?? new Set([0xee]);
    if (!marks.has(mark))
      throw new Violation(`sector ${sector} holds ${mark}, which is not its own`);
  }
}

/** Cuts `bytes` into pieces of random whole sectors, each inside a page with margins. */
function randomVecs(prng: Prng, bench: Bench, bytes: Uint8Array): BioVec[] {
  const vecs: BioVec[] = [];
  let at = 0;
  while (at < bytes.length) {
    const leftBlocks = (bytes.length - at) / SECTOR_SIZE / bench.blockSectors;
    const length = bytesOfSectors(prng.between(1, leftBlocks) * bench.blockSectors);
    const margin = prng.below(3) * SECTOR_SIZE;
    const page = new Uint8Array(margin + length + SECTOR_SIZE).fill(0xa5);
    page.set(bytes.subarray(at, at + length), margin);
    vecs.push(new BioVec(page, margin, length));
    at += length;
  }
  return vecs;
}

function bytesOfVecs(vecs: readonly BioVec[]): Uint8Array {
  const length = vecs.reduce((sum, vec) => sum + vec.length, 0);
  const bytes = new Uint8Array(length);
  let at = 0;
  for (const { page, offset, length: pieceLength } of vecs) {
    bytes.set(page.subarray(offset, offset + pieceLength), at);
    at += pieceLength;
  }
  return bytes;
}

async function takesAnyPieces(bench: Bench, prng: Prng): Promise<void> {
  for (let round = 0; round < 20; round += 1) {
    const sectors = prng.between(1, SPAN_BLOCKS) * bench.blockSectors;
    const sector = prng.below(SPAN_BLOCKS) * bench.blockSectors;
    const bytes = randomBytes(prng, sectors);
    const written = randomVecs(prng, bench, bytes);
    await bench.expect(0, 'a WRITE', { op: REQ_OP.WRITE, sector, sectors, vecs: written });
    expectEqual(bytesOfVecs(written), bytes, 'the memory of a WRITE');
    const read = randomVecs(prng, bench, new Uint8Array(bytes.length));
    await bench.expect(0, 'a READ', { op: REQ_OP.READ, sector, sectors, vecs: read });
    expectEqual(bytesOfVecs(read), bytes, `pieces of round ${round}`);
    for (const { page, offset, length } of read) {
      expectFilled(page.subarray(0, offset), 0xa5, 'memory before a piece');
      expectFilled(page.subarray(offset + length), 0xa5, 'memory behind a piece');
    }
  }
}

/** The table may hold more than the bio moves: a shared one is longer than a region's part. */
async function stopsAtItsLength(bench: Bench, prng: Prng): Promise<void> {
  const sectors = bench.blockSectors * 3;
  const bytes = randomBytes(prng, sectors * 2);
  const vecs = randomVecs(prng, bench, bytes);
  const before = new Uint8Array(bytesOfSectors(sectors * 2)).fill(0x11);
  await bench.expect(0, 'a WRITE', { op: REQ_OP.WRITE, sectors: sectors * 2, bytes: before });
  await bench.expect(0, 'a WRITE', { op: REQ_OP.WRITE, sectors, vecs });
  const read = new Uint8Array(before.length);
  await bench.expect(0, 'a READ', { op: REQ_OP.READ, sectors: sectors * 2, bytes: read });
  const half = before.length / 2;
  expectEqual(read.subarray(0, half), bytes.subarray(0, half), 'the written part');
  expectFilled(read.subarray(half), 0x11, 'the part behind the WRITE');
  const long = new Uint8Array(before.length).fill(0x22);
  await bench.expect(0, 'a READ', { op: REQ_OP.READ, sectors, bytes: long });
  expectFilled(long.subarray(half), 0x22, 'memory behind the length of a READ');
}

async function keepsBounds(bench: Bench, prng: Prng, supports: Supports): Promise<void> {
  const { device, blockSectors: block } = bench;
  const last = device.sectors - (device.sectors % block) - block;
  const bytes = randomBytes(prng, block);
  const wanted = supports.alwaysErrno ?? ERRNO.OK;
  await bench.expect(wanted, 'a WRITE of the last block', {
    op: REQ_OP.WRITE,
    sector: last,
    sectors: block,
    bytes,
  });
  const twoBlocks = randomBytes(prng, block * 2);
  for (const op of [REQ_OP.READ, REQ_OP.WRITE]) {
    for (const sector of [last, device.sectors, device.sectors * 2, 2 ** 44]) {
      const bio = { op, sector, sectors: block * 2, bytes: twoBlocks };
      await bench.expect(ERRNO.EIO, `a ${opName(op)} past the end at ${sector}`, bio);
    }
  }
  for (const op of [REQ_OP.DISCARD, REQ_OP.WRITE_ZEROES]) {
    const bio = { op, sector: last, sectors: block * 2 };
    await bench.expect(ERRNO.EIO, `a ${opName(op)} past the end`, bio);
  }
  if (!supports.storesData) return;
  const read = new Uint8Array(bytes.length);
  await bench.expect(0, 'a READ', { op: REQ_OP.READ, sector: last, sectors: block, bytes: read });
  expectEqual(read, bytes, 'the last block after bios past the end');
}

/** Only where the logical block is larger than a sector is there anything to refuse. */
async function keepsAlignment(bench: Bench): Promise<void> {
  const block = bench.blockSectors;
  if (block === 1) return;
  const bytes = new Uint8Array(bytesOfSectors(block));
  for (const [sector, sectors] of [
    [1, block],
    [block, block - 1],
    [0, 1],
  ] as const) {
    await bench.expect(ERRNO.EINVAL, `a READ of ${sectors} sectors at ${sector}`, {
      op: REQ_OP.READ,
      sector,
      sectors,
      bytes,
    });
  }
}

async function isReadOnly(bench: Bench, prng: Prng, supports: Supports): Promise<void> {
  const sectors = bench.blockSectors;
  const before = new Uint8Array(bytesOfSectors(sectors));
  const wanted = supports.alwaysErrno ?? ERRNO.OK;
  if (!bench.device.limits.readOnly) throw new Violation('the limits do not say read-only');
  await bench.expect(wanted, 'a READ', { op: REQ_OP.READ, sectors, bytes: before });
  await bench.expect(ERRNO.EROFS, 'a WRITE', {
    op: REQ_OP.WRITE,
    sectors,
    bytes: randomBytes(prng, sectors),
  });
  await bench.expect(ERRNO.EROFS, 'a DISCARD', { op: REQ_OP.DISCARD, sectors });
  await bench.expect(ERRNO.EROFS, 'a WRITE_ZEROES', { op: REQ_OP.WRITE_ZEROES, sectors });
  await bench.expect(ERRNO.OK, 'a FLUSH', { op: REQ_OP.FLUSH });
  const after = new Uint8Array(before.length);
  await bench.expect(wanted, 'a READ', { op: REQ_OP.READ, sectors, bytes: after });
  expectEqual(after, before, 'a read-only device after writes');
}

async function flushesAndForces(bench: Bench, prng: Prng, supports: Supports): Promise<void> {
  const sectors = bench.blockSectors * 2;
  const wanted = supports.alwaysErrno ?? ERRNO.OK;
  const contents = Array.from({ length: 8 }, () => randomBytes(prng, sectors));
  // Many at once, so that syncs which are shared are shared rightly.
  const bios = contents.flatMap((bytes, i) => {
    const sector = i * sectors;
    const write = bench.bio({ op: REQ_OP.WRITE, flags: REQ_FLAG.FUA, sector, sectors, bytes });
    return [bench.submit(write), bench.submit(bench.bio({ op: REQ_OP.FLUSH }))];
  });
  await bench.settle();
  for (const bio of bios) {
    const errno = bio.op === REQ_OP.FLUSH ? ERRNO.OK : wanted;
    if (bio.error !== errno) throw new Violation(`a ${opName(bio.op)} ended with ${bio.error}`);
  }
  if (!supports.storesData) return;
  const read = new Uint8Array(bytesOfSectors(sectors));
  for (const [i, bytes] of contents.entries()) {
    await bench.expect(0, 'a READ', { op: REQ_OP.READ, sector: i * sectors, sectors, bytes: read });
    expectEqual(read, bytes, `FUA write ${i}`);
  }
}

/** DISCARD, WRITE_ZEROES with and without a hole; FUA makes no difference to what is read. */
async function makesZeros(bench: Bench, prng: Prng): Promise<void> {
  const { limits } = bench.device;
  const block = bench.blockSectors;
  const sectors = block * 12;
  for (const op of [REQ_OP.DISCARD, REQ_OP.WRITE_ZEROES]) {
    for (const flags of [REQ_FLAG.NONE, REQ_FLAG.NOUNMAP, REQ_FLAG.FUA]) {
      const what = `a ${opName(op)} with flags ${flags}`;
      const bytes = randomBytes(prng, sectors);
      await bench.expect(0, 'a WRITE', { op: REQ_OP.WRITE, sectors, bytes });
      const max = op === REQ_OP.DISCARD ? limits.maxDiscardSectors : limits.maxWriteZeroesSectors;
      const fields = { op, flags, sector: block * 3, sectors: block * 5 };
      await bench.expect(max === 0 ? ERRNO.EOPNOTSUPP : ERRNO.OK, what, fields);
      const zeros = max > 0 && (op === REQ_OP.WRITE_ZEROES || limits.discardZeroes);
      const unknown = op === REQ_OP.DISCARD && max > 0 && !limits.discardZeroes;
      const read = new Uint8Array(bytes.length);
      await bench.expect(0, 'a READ', { op: REQ_OP.READ, sectors, bytes: read });
      const [from, to] = [bytesOfSectors(block * 3), bytesOfSectors(block * 8)];
      if (zeros) bytes.fill(0, from, to);
      if (unknown) bytes.set(read.subarray(from, to), from);
      expectEqual(read, bytes, `the device after ${what}`);
    }
  }
}

async function limitsAreTrue(bench: Bench, prng: Prng, supports: Supports): Promise<void> {
  const { limits, sectors: deviceSectors } = bench.device;
  const block = bench.blockSectors;
  if (!isPowerOfTwo(limits.logicalBlockSize) || limits.logicalBlockSize < SECTOR_SIZE) {
    throw new Violation(`logical block of ${limits.logicalBlockSize} bytes`);
  }
  if (limits.maxSectors < block || limits.maxSectors % block !== 0) {
    throw new Violation(`longest bio of ${limits.maxSectors} sectors, blocks of ${block}`);
  }
  if (limits.maxSegments < 1) throw new Violation('no pieces of memory at all');
  const wanted = supports.alwaysErrno ?? ERRNO.OK;
  const sectors = Math.min(limits.maxSectors, deviceSectors - (deviceSectors % block));
  await bench.expect(wanted, 'the longest WRITE', {
    op: REQ_OP.WRITE,
    sectors,
    bytes: randomBytes(prng, sectors),
  });
  const pieces = Math.min(limits.maxSegments, Math.floor(deviceSectors / block));
  const bytes = randomBytes(prng, pieces * block);
  const vecs = Array.from({ length: pieces }, (_, i) => {
    return new BioVec(bytes, bytesOfSectors(i * block), bytesOfSectors(block));
  });
  const range = { sectors: pieces * block };
  await bench.expect(wanted, 'the WRITE of most pieces', { op: REQ_OP.WRITE, ...range, vecs });
  if (!supports.storesData) return;
  const read = new Uint8Array(bytes.length);
  await bench.expect(0, 'a READ', { op: REQ_OP.READ, ...range, bytes: read });
  expectEqual(read, bytes, 'most pieces');
}

/** No turn of the event loop here: whoever waits has the thread. */
async function endsByPoll(bench: Bench, prng: Prng, supports: Supports): Promise<void> {
  const sectors = bench.blockSectors * 3;
  const written = randomBytes(prng, sectors);
  const read = new Uint8Array(written.length);
  const flags = REQ_FLAG.SYNC;
  const plan = [
    bench.bio({ op: REQ_OP.WRITE, flags, sectors, bytes: written }),
    bench.bio({ op: REQ_OP.FLUSH, flags }),
    bench.bio({ op: REQ_OP.READ, flags, sectors, bytes: read }),
    bench.bio({ op: REQ_OP.WRITE, flags: flags | REQ_FLAG.FUA, sectors, bytes: written }),
    bench.bio({ op: REQ_OP.READ, flags, sector: bench.device.sectors, sectors, bytes: read }),
  ];
  for (const bio of plan) {
    bench.submit(bio);
    while (bio.ends < bio.submits) {
      if (!bench.device.loop.poll()) throw new Violation(`a SYNC ${opName(bio.op)} needs turns`);
    }
    const inside = supports.alwaysErrno ?? ERRNO.OK;
    const wanted = bio.op === REQ_OP.FLUSH ? ERRNO.OK : bio.sector > 0 ? ERRNO.EIO : inside;
    if (bio.error !== wanted) {
      throw new Violation(`a SYNC ${opName(bio.op)} ended with ${bio.error}`);
    }
  }
  await bench.settle();
  if (supports.storesData) expectEqual(read, written, 'what a SYNC write left');
}

/** Sectors nobody wrote are zeros, and a READ fills all of its memory. */
async function startsAsZeros(bench: Bench): Promise<void> {
  const sectors = SPAN_BLOCKS * bench.blockSectors;
  const last = bench.device.sectors - (bench.device.sectors % bench.blockSectors) - sectors;
  for (const sector of [0, last]) {
    const bytes = new Uint8Array(bytesOfSectors(sectors)).fill(0xff);
    await bench.expect(0, 'a READ', { op: REQ_OP.READ, sector, sectors, bytes });
    expectFilled(bytes, 0, `${sectors} sectors at ${sector} before any write`);
  }
}

/** The contract of core/block/device.ts, promise by promise. */
export const CHECKS: readonly Check[] = [
  { name: 'reads zeros before any write', needs: 'startsZeroed', run: startsAsZeros },
  { name: 'ends each bio once, from the loop', run: endsOnce },
  { name: 'ends all of 500 bios in flight', run: endsTogether },
  { name: 'takes a bio again from its own end', run: submitsFromEnd },
  { name: 'keeps many writes in flight apart', needs: 'storesData', run: keepsManyWrites },
  { name: 'leaves one of the writes that overlap', needs: 'storesData', run: overlaps },
  { name: 'moves memory in pieces of any shape', needs: 'storesData', run: takesAnyPieces },
  { name: 'moves no more than its sectors', needs: 'storesData', run: stopsAtItsLength },
  { name: 'refuses what lies outside', run: keepsBounds },
  { name: 'refuses what is off the logical block', run: keepsAlignment },
  { name: 'refuses writes when read-only', needs: 'readOnly', onReadOnly: true, run: isReadOnly },
  { name: 'flushes, and forces writes', run: flushesAndForces },
  { name: 'makes zeros where its limits say so', needs: 'storesData', run: makesZeros },
  { name: 'has limits that are true', run: limitsAreTrue },
  { name: 'ends SYNC bios by poll alone', needs: 'sync', run: endsByPoll },
  { name: 'agrees with a model under random work', needs: 'storesData', run: checkModel },
];
