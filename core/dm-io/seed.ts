import type { BioVec } from '../block/bio.ts';
import type { Loop } from '../block/loop.ts';
import type { DmIoReturn } from './io.ts';
import type { PageList } from './memory.ts';
import type { IoRegionSpec } from './region.ts';
import { DmIoServices, type DmIoRoutine, type Rw } from './services.ts';
import type { DmIoSyncResult } from './wait.ts';

// The seed's eight calls by the kernel's names, on one reserve shared by the thread, as the kernel's
// pool is one. Common to the six services:
//
//   regions  0..64 of {device, sector, count, memorySector = 0}: 512-byte sectors within 0..2^44 - 1,
//            whole logical blocks of the device. Read during the call, not kept (R2). A READ takes at
//            most one (R1); a count of 0 is skipped (R5).
//   rw       READ or WRITE.
//   memory   borrowed until the end; every region uses it from its start (R2), or from `memorySector`
//            sectors in (R22). At least as long as the longest region needs (R23, R28).
//   fn       called once, from the loop, with the error bits (R6, R7, R24).
//
//   returns  synchronous: {ret, errorBits, errnos} (R9, R25). Asynchronous: 0 started; -EIO a read of
//            several regions, of which fn is told bit 0 (R1).
//   throws   DmIoArgumentError naming the argument, before any I/O (R23); the synchronous three also
//            DmIoWaitError where they would wait for ever (R26). Never for an I/O error.

const shared = new DmIoServices();

/**
 * Adds `pages` to the reserve: 4 requests under way for each; 1 is enough for everything to end
 * (R17, R21). May be called any number of times, by any number of users. `loop`: where the requests
 * end; left out, the loop of the first region ever given. Does not block.
 * @throws DmIoArgumentError pages: not a whole number >= 1, or more than 16384 in all; loop: another
 *   than that of the other users
 */
export function dmIoGet(pages: number, loop?: Loop): void {
  shared.get(pages, loop);
}

/**
 * Gives `pages` back. Waits for nothing: what was accepted ends all the same. With the last page the
 * services refuse new calls, and the pools go with the last request (R21).
 * @throws DmIoArgumentError pages: more than is held; nothing changes
 */
export function dmIoPut(pages: number): void {
  shared.put(pages);
}

/** Blocks. Memory: a list of pages, from `offset` bytes (a multiple of 512) into the first one. */
export function dmIoSync(
  regions: readonly IoRegionSpec[],
  rw: Rw,
  pageList: PageList,
  offset: number,
): DmIoSyncResult {
  return shared.sync(regions, rw, pageList, offset);
}

/** Memory: a list of pages, from `offset` bytes (a multiple of 512) into the first one. */
export function dmIoAsync<C>(
  regions: readonly IoRegionSpec[],
  rw: Rw,
  pageList: PageList,
  offset: number,
  fn: DmIoRoutine<C>,
  context: C,
): DmIoReturn {
  return shared.async(regions, rw, pageList, offset, fn, context);
}

/** Blocks. Memory: an array of {page, offset, length}, lengths multiples of 512 above 0. */
export function dmIoSyncBvec(
  regions: readonly IoRegionSpec[],
  rw: Rw,
  vecs: readonly BioVec[],
): DmIoSyncResult {
  return shared.syncBvec(regions, rw, vecs);
}

/** Memory: an array of {page, offset, length}, lengths multiples of 512 above 0. */
export function dmIoAsyncBvec<C>(
  regions: readonly IoRegionSpec[],
  rw: Rw,
  vecs: readonly BioVec[],
  fn: DmIoRoutine<C>,
  context: C,
): DmIoReturn {
  return shared.asyncBvec(regions, rw, vecs, fn, context);
}

/** Blocks. Memory: one contiguous buffer, from its start. */
export function dmIoSyncVm(
  regions: readonly IoRegionSpec[],
  rw: Rw,
  data: Uint8Array,
): DmIoSyncResult {
  return shared.syncVm(regions, rw, data);
}

/** Memory: one contiguous buffer, from its start. */
export function dmIoAsyncVm<C>(
  regions: readonly IoRegionSpec[],
  rw: Rw,
  data: Uint8Array,
  fn: DmIoRoutine<C>,
  context: C,
): DmIoReturn {
  return shared.asyncVm(regions, rw, data, fn, context);
}

/** How the shared reserve stands: for monitoring, and for tests that nothing is left behind. */
export function dmIoReserve(): {
  readonly reserve: number;
  readonly underWay: number;
  readonly waiting: number;
} {
  return {
    reserve: shared.reserve,
    underWay: shared.underWay,
    waiting: shared.waitingCount,
  };
}
