/**
 * `dmiod/core`: the kernel's dm-io as a library that knows no Node. What each name promises stands
 * beside its definition; the rules R1..R28 are in core/dm-io/README.md; examples/ shows all of it at
 * work on real files.
 *
 * A user brings two things. A `Loop`, on which everything ends:
 *
 *     const loop = new Loop({ wake: () => setImmediate(() => loop.run()), block: () => false });
 *
 * and devices: `MemoryDevice`, or anything that fills `BlockDevice`: examples/file-device.js does it for
 * files, those of a thread that blocks included.
 */

// The services of the specification, by the kernel's names.
export {
  dmIoAsync,
  dmIoAsyncBvec,
  dmIoAsyncVm,
  dmIoGet,
  dmIoPut,
  dmIoReserve,
  dmIoSync,
  dmIoSyncBvec,
  dmIoSyncVm,
} from './dm-io/seed.ts';
export { DmIoServices, MAX_PAGES, READ, REQUESTS_PER_PAGE, WRITE } from './dm-io/services.ts';
export type { DmIoRoutine, Rw } from './dm-io/services.ts';
export type { DmIoSyncResult } from './dm-io/wait.ts';

// The new-style request, with clients.
export { dmIo } from './dm-io/io.ts';
export type { DmIoReturn } from './dm-io/io.ts';
export { DmIoClient } from './dm-io/client.ts';
export { DmIoRequest } from './dm-io/request.ts';
export type { DmIoOwner } from './dm-io/request.ts';
export { DmIoMemory, MEMORY_KIND } from './dm-io/memory.ts';
export type { MemoryKind, PageList } from './dm-io/memory.ts';
export { inParts, IoRegion, MAX_REGIONS } from './dm-io/region.ts';
export type { IoRegionSpec } from './dm-io/region.ts';
export { DmIoArgumentError, DmIoWaitError } from './dm-io/errors.ts';

// What a device is, for those who write one.
export { Bio, BioVec } from './block/bio.ts';
export type { BioOwner } from './block/bio.ts';
export { bioError } from './block/device.ts';
export type { BlockDevice } from './block/device.ts';
export { DEFAULT_LIMITS, stackLimits } from './block/limits.ts';
export type { QueueLimits } from './block/limits.ts';
export { Loop } from './block/loop.ts';
export type { Completion, LoopDriver } from './block/loop.ts';
export { MemoryDevice } from './block/memory-device.ts';
export { hasData, isWriteOp, opName, REQ_FLAG, REQ_OP } from './block/op.ts';
export type { ReqOp } from './block/op.ts';

// Numbers and units.
export { AssertionError } from './base/assert.ts';
export { ERRNO, errnoName } from './base/errno.ts';
export { ErrorBits } from './base/error-bits.ts';
export { MAX_SECTORS, PAGE_SIZE, SECTOR_SIZE } from './base/units.ts';
