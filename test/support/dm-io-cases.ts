// Random requests for dm-io, of every kind a caller can make: the services, `dmIo` and `client.submit`,
// over memory of all three shapes. What they should do is in dm-io-model.ts.
import { ERRNO } from '../../core/base/errno.ts';
import { Prng } from '../../core/base/prng.ts';
import { MAX_SECTORS, SECTOR_SIZE } from '../../core/base/units.ts';
import { BioVec } from '../../core/block/bio.ts';
import { hasData, REQ_FLAG, REQ_OP, type ReqOp } from '../../core/block/op.ts';
import type { PageList } from '../../core/dm-io/memory.ts';
import { inParts } from '../../core/dm-io/region.ts';
import type { DmIoRequest } from '../../core/dm-io/request.ts';
import type { DiskWorld } from './dm-io-disk.ts';
import { Disk, type LogEntry } from './dm-io-disk.ts';

type Api = 'services' | 'dmIo' | 'submit';

/** Memory of one request: all of it lies in `backing`, so that a stray byte anywhere is seen. */
interface Memory {
  readonly shape: 'none' | 'pages' | 'vecs' | 'vm';
  readonly backing: Uint8Array;
  /** What `backing` held at the start. */
  readonly before: Uint8Array;
  /** Byte in `backing` of each sector of the memory. */
  readonly at: readonly number[];
  readonly list: PageList | null;
  readonly vecs: readonly BioVec[];
  readonly data: Uint8Array;
  /** Page list: into the first page. Contiguous, by `dmIo`: into the buffer. */
  readonly offset: number;
}

export interface TestRegion {
  readonly device: Disk;
  readonly sector: number;
  readonly count: number;
  readonly memorySector?: number;
}

export interface Case {
  readonly api: Api;
  readonly isSync: boolean;
  readonly op: ReqOp;
  readonly flags: number;
  readonly regions: readonly TestRegion[];
  readonly memory: Memory;
  // What became of it.
  calls: number;
  insideCall: boolean;
  ret: number;
  errorBits: bigint;
  errnos: readonly number[];
  request: DmIoRequest | null;
  logStart: number;
  entries: LogEntry[];
}

interface MutablePage {
  page: Uint8Array;
  next: MutablePage | null;
}

const DISK_SECTORS = 64;
const NOISE = makeNoise(1 << 20);
const disks: Disk[] = [];

function makeNoise(bytes: number): Uint8Array {
  const prng = new Prng(20240607);
  const words = new Uint32Array(bytes / 4);
  for (let i = 0; i < words.length; i += 1) words[i] = prng.u32();
  return new Uint8Array(words.buffer);
}

function noise(prng: Prng, bytes: number): Uint8Array {
  const start = prng.below(NOISE.length - bytes);
  return NOISE.subarray(start, start + bytes);
}

/** `count` disks with limits, content and faults of their own; the same objects every time. */
export function makeDisks(prng: Prng, world: DiskWorld, count: number): readonly Disk[] {
  const onlyOneBad = prng.ratio(1, 3) ? prng.below(count) : -1;
  for (let i = 0; i < count; i += 1) {
    const disk = (disks[i] ??= new Disk(world, DISK_SECTORS, {}, `disk${i}`));
    const block = prng.ratio(1, 4) ? 8 : 1;
    disk.world = world;
    disk.sectors = prng.below(DISK_SECTORS / 8 + 1) * 8;
    disk.limits = {
      logicalBlockSize: block * SECTOR_SIZE,
      maxSectors: block * prng.pick([1, 2, 3, 8, 64, 8192]),
      maxSegments: prng.pick([block, block + 1, 256]),
      maxDiscardSectors: prng.pick([0, block, 3 * block, 2 * block + 1, MAX_SECTORS]),
      maxWriteZeroesSectors: prng.pick([0, block, 3 * block, 2 * block + 1, MAX_SECTORS]),
      discardZeroes: true,
      readOnly: prng.ratio(1, 24),
    };
    disk.bytes.set(noise(prng, DISK_SECTORS * SECTOR_SIZE));
    disk.faults = [];
    if (onlyOneBad === -1 ? prng.ratio(1, 5) : onlyOneBad === i) addFaults(prng, disk);
  }
  return disks.slice(0, count);
}

function addFaults(prng: Prng, disk: Disk): void {
  const ops = [REQ_OP.READ, REQ_OP.WRITE, REQ_OP.WRITE, REQ_OP.FLUSH, REQ_OP.DISCARD] as const;
  for (let faults = prng.between(1, 3); faults > 0; faults -= 1) {
    const start = prng.below(DISK_SECTORS);
    const end = start + prng.pick([1, 1, 4, DISK_SECTORS]);
    const errno = prng.pick([ERRNO.EIO, ERRNO.ENOSPC, ERRNO.ETIMEDOUT]);
    disk.fail(prng.ratio(1, 8) ? REQ_OP.WRITE_ZEROES : prng.pick(ops), start, end, errno);
  }
}

export function makeCase(prng: Prng, among: readonly Disk[]): Case {
  const api = prng.pick<Api>(['services', 'services', 'dmIo', 'submit']);
  const op = api === 'services' || prng.ratio(3, 5) ? prng.pick(DATA_OPS) : prng.pick(OTHER_OPS);
  const regions = makeRegions(prng, among, op, api);
  const needed = regions.reduce((most, { count, memorySector = 0 }) => {
    return count > 0 ? Math.max(most, memorySector + count) : most;
  }, 0);
  return {
    api,
    isSync: api !== 'submit' && prng.ratio(1, 4),
    op,
    flags: api === 'services' ? 0 : makeFlags(prng),
    regions,
    memory: hasData(op) ? makeMemory(prng, op, needed, api) : NO_MEMORY,
    calls: 0,
    insideCall: false,
    ret: NaN,
    errorBits: 0n,
    errnos: [],
    request: null,
    logStart: 0,
    entries: [],
  };
}

const DATA_OPS = [REQ_OP.READ, REQ_OP.WRITE, REQ_OP.WRITE] as const;
const OTHER_OPS = [REQ_OP.FLUSH, REQ_OP.DISCARD, REQ_OP.WRITE_ZEROES] as const;

function makeFlags(prng: Prng): number {
  let flags: number = REQ_FLAG.NONE;
  if (prng.ratio(1, 3)) flags |= REQ_FLAG.PREFLUSH;
  if (prng.ratio(1, 4)) flags |= REQ_FLAG.FUA;
  if (prng.ratio(1, 4)) flags |= REQ_FLAG.SYNC;
  if (prng.ratio(1, 8)) flags |= REQ_FLAG.NOUNMAP;
  return flags;
}

function regionCount(prng: Prng, op: ReqOp, api: Api): number {
  const roll = prng.below(100);
  if (roll < 2) return 0;
  if (op === REQ_OP.READ) return api !== 'submit' && roll < 5 ? prng.between(2, 64) : 1;
  if (roll < 25) return 1;
  if (roll < 75) return prng.between(2, 4);
  if (roll < 90) return prng.between(5, 16);
  return roll < 95 ? prng.between(17, 63) : 64;
}

function makeRegions(
  prng: Prng,
  among: readonly Disk[],
  op: ReqOp,
  api: Api,
): readonly TestRegion[] {
  const count = regionCount(prng, op, api);
  const first = prng.below(among.length);
  const regions: TestRegion[] = [];
  for (let i = 0; i < count; i += 1) {
    const device = among[(first + i) % among.length] as Disk;
    regions.push(makeRegion(prng, device, count > 16 ? 8 : DISK_SECTORS));
  }
  const style = prng.below(8);
  if (style === 0) return inParts(regions, prng.below(3)) as unknown as readonly TestRegion[];
  if (style === 1) return regions.map((r) => ({ ...r, memorySector: prng.below(12) }));
  return regions;
}

function makeRegion(prng: Prng, device: Disk, longest: number): TestRegion {
  const block = device.limits.logicalBlockSize / SECTOR_SIZE;
  const blocks = device.sectors / block;
  const sector = prng.below(blocks + 1) * block;
  // Some end behind the device (R14), some are empty (R5).
  const room = Math.min(device.sectors - sector + (prng.ratio(1, 20) ? block : 0), longest);
  const count = prng.ratio(1, 12) ? 0 : prng.below(Math.floor(room / block) + 1) * block;
  return { device, sector, count };
}

const NO_BYTES = new Uint8Array(0);
const NO_MEMORY: Memory = {
  shape: 'none',
  backing: NO_BYTES,
  before: NO_BYTES,
  at: [],
  list: null,
  vecs: [],
  data: NO_BYTES,
  offset: 0,
};

function makeMemory(prng: Prng, op: ReqOp, needed: number, api: Api): Memory {
  const shape = prng.pick(['pages', 'vecs', 'vm'] as const);
  if (shape === 'pages') return makePages(prng, op, needed);
  if (shape === 'vecs') return makeVecs(prng, needed);
  const offset = api === 'services' ? 0 : prng.below(64);
  const length = offset + needed * SECTOR_SIZE + prng.below(600);
  const guard = prng.below(64);
  const backing = noise(prng, guard + length + 64).slice();
  const data = backing.subarray(guard, guard + length);
  const at: number[] = [];
  for (let i = 0; i < needed; i += 1) at.push(guard + offset + i * SECTOR_SIZE);
  return { ...NO_MEMORY, shape, backing, before: backing.slice(), at, data, offset };
}

/** Cuts `needed` sectors or more into pieces of 1..8, each with a guard before it. */
function makeBacking(prng: Prng, sectors: number): { backing: Uint8Array; pieces: number[][] } {
  const pieces: number[][] = [];
  let used = 0;
  for (let left = sectors; left > 0 || pieces.length === 0;) {
    const guard = prng.below(32);
    const length = (prng.ratio(1, 2) ? 8 : prng.between(1, 8)) * SECTOR_SIZE;
    pieces.push([used + guard, length]);
    used += guard + length;
    left -= length / SECTOR_SIZE;
  }
  return { backing: noise(prng, used + 32).slice(), pieces };
}

function makePages(prng: Prng, op: ReqOp, needed: number): Memory {
  const isCyclic = op === REQ_OP.WRITE && prng.ratio(1, 6);
  const spare = prng.between(0, 8);
  const { backing, pieces } = makeBacking(prng, isCyclic ? prng.between(1, 16) : needed + spare);
  const nodes = pieces.map(([start = 0, length = 0]): MutablePage => {
    return { page: backing.subarray(start, start + length), next: null };
  });
  const loopTo = prng.below(nodes.length);
  nodes.forEach((node, i) => (node.next = nodes[i + 1] ?? null));
  if (isCyclic) (nodes.at(-1) as MutablePage).next = nodes[loopTo] as MutablePage;
  const firstSectors = (nodes[0]?.page.length ?? 0) / SECTOR_SIZE;
  const skip = isCyclic ? prng.below(firstSectors) : Math.min(spare, firstSectors - 1);
  const at: number[] = [];
  let done = skip * SECTOR_SIZE;
  for (let node = nodes[0] ?? null; node !== null && at.length < needed; node = node.next) {
    for (; done < node.page.length && at.length < needed; done += SECTOR_SIZE) {
      at.push(node.page.byteOffset + done);
    }
    done = 0;
  }
  const list = nodes[0] ?? null;
  const offset = skip * SECTOR_SIZE;
  return { ...NO_MEMORY, shape: 'pages', backing, before: backing.slice(), at, list, offset };
}

function makeVecs(prng: Prng, needed: number): Memory {
  const { backing, pieces } = makeBacking(prng, needed);
  const at: number[] = [];
  const vecs = pieces.map(([start = 0, length = 0]) => {
    for (let i = 0; i < length && at.length < needed; i += SECTOR_SIZE) at.push(start + i);
    const before = prng.below(start + 1);
    return new BioVec(backing.subarray(start - before), before, length);
  });
  return { ...NO_MEMORY, shape: 'vecs', backing, before: backing.slice(), at, vecs };
}
