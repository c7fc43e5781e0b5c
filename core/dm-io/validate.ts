import { MAX_SECTORS, SECTOR_SIZE } from '../base/units.ts';
import type { BioVec } from '../block/bio.ts';
import type { BlockDevice } from '../block/device.ts';
import { Loop } from '../block/loop.ts';
import { hasData, REQ_FLAG, REQ_OP, type ReqOp } from '../block/op.ts';
import { DmIoArgumentError } from './errors.ts';
import { MEMORY_KIND, type DmIoMemory, type PageList } from './memory.ts';
import { MAX_REGIONS, type IoRegionSpec } from './region.ts';

// Rule 23, the edge of the services: every mistake of a caller is found here, before any I/O, and
// nothing is allocated for input that is right. The types already forbid some of it; callers in
// JavaScript have none.

const ALL_FLAGS = REQ_FLAG.FUA | REQ_FLAG.PREFLUSH | REQ_FLAG.SYNC | REQ_FLAG.NOUNMAP;

function isCount(value: unknown): value is number {
  return Number.isInteger(value) && (value as number) >= 0;
}

/**
 * Every region, empty ones too (rule 5), and that all are on `loop`; null: on the first one's.
 * @returns sectors of memory the longest reach of them needs
 */
export function checkRegions(regions: readonly IoRegionSpec[], loop: Loop | null): number {
  if (!Array.isArray(regions)) throw new DmIoArgumentError('regions', 'not an array');
  if (regions.length > MAX_REGIONS) {
    throw new DmIoArgumentError('regions', `${regions.length} of them, at most ${MAX_REGIONS}`);
  }
  let common = loop;
  let needed = 0;
  for (let i = 0; i < regions.length; i += 1) {
    const region = regions[i] as IoRegionSpec | null | undefined;
    if (typeof region !== 'object' || region === null) {
      throw new DmIoArgumentError(`regions[${i}]`, 'not a region');
    }
    checkDevice(region.device, i, common);
    checkRange(region, i);
    common = region.device.loop;
    const end = (region.memorySector ?? 0) + region.count;
    if (region.count > 0 && end > needed) needed = end;
  }
  return needed;
}

function checkDevice(
  device: BlockDevice | null | undefined,
  index: number,
  loop: Loop | null,
): void {
  if (typeof device !== 'object' || device === null || typeof device.submit !== 'function') {
    throw new DmIoArgumentError(`regions[${index}].device`, 'not a block device');
  }
  const limits = device.limits as BlockDevice['limits'] | null | undefined;
  if (typeof limits !== 'object' || limits === null || !(device.loop instanceof Loop)) {
    throw new DmIoArgumentError(`regions[${index}].device`, 'a device without limits or loop');
  }
  if (loop !== null && device.loop !== loop) {
    throw new DmIoArgumentError(
      `regions[${index}].device`,
      `${device.name} is on another loop than the rest`,
    );
  }
}

function checkRange(region: IoRegionSpec, index: number): void {
  const { sector, count, memorySector = 0 } = region;
  if (!isCount(sector) || sector > MAX_SECTORS) badSectors(index, 'sector', sector);
  if (!isCount(count) || sector + count > MAX_SECTORS) badSectors(index, 'count', count);
  if (!isCount(memorySector) || memorySector + count > MAX_SECTORS) {
    badSectors(index, 'memorySector', memorySector);
  }
  const blockSize = region.device.limits.logicalBlockSize;
  const blockSectors = blockSize / SECTOR_SIZE;
  if (sector % blockSectors !== 0) misaligned(index, 'sector', sector, blockSize);
  if (count % blockSectors !== 0) misaligned(index, 'count', count, blockSize);
}

function badSectors(index: number, field: string, value: unknown): never {
  throw new DmIoArgumentError(
    `regions[${index}].${field}`,
    `${String(value)} is no whole number of sectors within 0..${MAX_SECTORS}`,
  );
}

function misaligned(index: number, field: string, value: number, blockSize: number): never {
  throw new DmIoArgumentError(
    `regions[${index}].${field}`,
    `${value} sectors are not whole logical blocks of ${blockSize} bytes`,
  );
}

/** The seed's direction (rule 1): a plain READ or WRITE. */
export function checkRw(rw: unknown): void {
  if (rw === REQ_OP.READ || rw === REQ_OP.WRITE) return;
  throw new DmIoArgumentError('rw', `${String(rw)} is neither READ (0) nor WRITE (1)`);
}

export function checkRoutine(fn: unknown): void {
  if (typeof fn !== 'function') throw new DmIoArgumentError('fn', 'not a completion routine');
}

/** What `dmIo` adds to the seed's calls: operation and flags. */
export function checkOp(op: ReqOp, flags: number): void {
  if (!hasData(op) && !isOtherOp(op)) {
    throw new DmIoArgumentError('request.op', `${String(op)} is no operation`);
  }
  if (!isCount(flags) || (flags & ~ALL_FLAGS) !== 0 || flags > ALL_FLAGS) {
    throw new DmIoArgumentError('request.flags', `${String(flags)} are no flags`);
  }
}

function isOtherOp(op: ReqOp): boolean {
  return op === REQ_OP.FLUSH || op === REQ_OP.DISCARD || op === REQ_OP.WRITE_ZEROES;
}

/**
 * `neededSectors` of the list behind `offset`. A list that runs in a circle has bytes without end:
 * good for writing (zeros of any length from one page), never for reading, where the last bytes
 * would overwrite the first (rule 28). The circle is found as Brent does, so no list is walked
 * for ever and nothing is allocated.
 */
export function checkPageList(
  list: PageList,
  offset: number,
  neededSectors: number,
  op: ReqOp,
): void {
  const first = list as PageList | null | undefined;
  if (typeof first !== 'object' || first === null) {
    throw new DmIoArgumentError('pageList', 'not a page list');
  }
  checkPage(first);
  if (!isCount(offset) || offset % SECTOR_SIZE !== 0 || offset >= first.page.length) {
    throw new DmIoArgumentError(
      'offset',
      `${String(offset)} is no multiple of 512 within the first page of ${first.page.length} bytes`,
    );
  }
  const needed = neededSectors * SECTOR_SIZE;
  let bytes = first.page.length - offset;
  let mark: PageList = first;
  let steps = 0;
  let limit = 2;
  for (let node = first.next; node !== null; node = node.next) {
    if (bytes >= needed && op !== REQ_OP.READ) return;
    if (node === mark) {
      if (op !== REQ_OP.READ) return;
      throw new DmIoArgumentError('pageList', 'runs in a circle, which is for writing only');
    }
    checkPage(node);
    bytes += node.page.length;
    steps += 1;
    if (steps === limit) {
      mark = node;
      steps = 0;
      limit *= 2;
    }
  }
  if (bytes < needed) short('pageList', bytes, neededSectors);
}

function checkPage(node: PageList): void {
  const page: unknown = node.page;
  if (!(page instanceof Uint8Array)) {
    throw new DmIoArgumentError('pageList', 'a page is not a Uint8Array');
  }
  if (page.length === 0 || page.length % SECTOR_SIZE !== 0) {
    throw new DmIoArgumentError('pageList', `a page of ${page.length} bytes is not whole sectors`);
  }
  // `undefined` would end a walk as null does; only null is the end of a list.
  if (node.next === undefined)
    throw new DmIoArgumentError('pageList', 'next is neither null nor a page');
}

/** @returns how many of the vectors carry `neededSectors`; what lies behind them is not looked at */
export function checkVecs(vecs: readonly BioVec[], neededSectors: number): number {
  if (!Array.isArray(vecs)) throw new DmIoArgumentError('vecs', 'not an array');
  const needed = neededSectors * SECTOR_SIZE;
  let bytes = 0;
  let used = 0;
  while (bytes < needed) {
    if (used === vecs.length) short('vecs', bytes, neededSectors);
    const vec = vecs[used] as BioVec | null | undefined;
    if (typeof vec !== 'object' || vec === null) {
      throw new DmIoArgumentError(`vecs[${used}]`, 'not a bio vector');
    }
    checkVec(vec, used);
    bytes += vec.length;
    used += 1;
  }
  return used;
}

function checkVec({ page, offset, length }: BioVec, index: number): void {
  if (!((page as unknown) instanceof Uint8Array)) {
    throw new DmIoArgumentError(`vecs[${index}].page`, 'not a Uint8Array');
  }
  if (!isCount(length) || length === 0 || length % SECTOR_SIZE !== 0) {
    throw new DmIoArgumentError(
      `vecs[${index}].length`,
      `${String(length)} is no multiple of 512 above 0`,
    );
  }
  if (!isCount(offset) || offset + length > page.length) {
    throw new DmIoArgumentError(
      `vecs[${index}].offset`,
      `${String(offset)} + ${length} bytes leave the page of ${page.length}`,
    );
  }
}

export function checkBytes(data: Uint8Array, neededSectors: number): void {
  if (!((data as unknown) instanceof Uint8Array)) {
    throw new DmIoArgumentError('data', 'not a Uint8Array');
  }
  if (data.length < neededSectors * SECTOR_SIZE) short('data', data.length, neededSectors);
}

function short(argument: string, bytes: number, neededSectors: number): never {
  throw new DmIoArgumentError(
    argument,
    `${bytes} bytes, the regions need ${neededSectors * SECTOR_SIZE}`,
  );
}

/** The memory of a request to `dmIo`, as its own argument would be checked (rule 15). */
export function checkMemory(memory: DmIoMemory, neededSectors: number, op: ReqOp): void {
  switch (memory.kind) {
    case MEMORY_KIND.NONE:
      if (neededSectors === 0 || !hasData(op)) return;
      throw new DmIoArgumentError('request.memory', 'a READ or WRITE needs memory');
    case MEMORY_KIND.PAGE_LIST:
      if (memory.list === null) throw new DmIoArgumentError('pageList', 'not a page list');
      checkPageList(memory.list, memory.listOffset, neededSectors, op);
      return;
    case MEMORY_KIND.BVEC:
      if (checkVecs(memory.vecs, neededSectors) <= memory.vecCount) return;
      throw new DmIoArgumentError('vecs', 'the first vecCount of them are too short');
    case MEMORY_KIND.VM:
      if (!isCount(memory.bytesOffset) || memory.bytesOffset > memory.bytes.length) {
        throw new DmIoArgumentError('offset', 'outside the buffer');
      }
      if (memory.bytes.length - memory.bytesOffset < neededSectors * SECTOR_SIZE) {
        short('data', memory.bytes.length - memory.bytesOffset, neededSectors);
      }
  }
}

export function checkLoop(loop: unknown): void {
  if (!(loop instanceof Loop)) throw new DmIoArgumentError('loop', 'not a loop');
}

/** Pages of a reserve, for get and put (rule 21). */
export function checkPages(pages: number, most: number, excuse: string): void {
  if (Number.isInteger(pages) && pages >= 1 && pages <= most) return;
  throw new DmIoArgumentError(
    'pages',
    `${String(pages)} is no whole number within 1..${most}${excuse}`,
  );
}
