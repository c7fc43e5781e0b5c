import { ERRNO } from '../base/errno.ts';
import type { Loop } from '../block/loop.ts';
import { REQ_FLAG, REQ_OP } from '../block/op.ts';
import { DmIoClient } from './client.ts';
import { DmIoArgumentError, type DmIoWaitError } from './errors.ts';
import type { IoRegionSpec } from './region.ts';
import { NO_OWNER, type DmIoOwner, type DmIoRequest } from './request.ts';
import { checkMemory, checkOp, checkRegions } from './validate.ts';
import { blockUntilEnded, mayBlock, type Wait } from './wait.ts';

/** 0, or refused by rule 1, or (synchronous only) some error bit is set. */
export type DmIoReturn = 0 | -5;
export const EIO: DmIoReturn = -ERRNO.EIO as -5;

/**
 * The new-style call (dm_io): checks the request, copies the regions into it and hands it to its
 * client. With an owner it is asynchronous and ends by `owner.dmIoDone`; without one it blocks, and
 * the bits are in `request.errorBits` when it returns. `client.submit` is the same without checks.
 * @throws DmIoArgumentError request, request.client, request.op, request.flags, request.memory,
 *   regions, and the names of the memory's own arguments
 * @throws DmIoWaitError without an owner, where waiting cannot end (rule 26)
 */
export function dmIo(request: DmIoRequest, regions: readonly IoRegionSpec[]): DmIoReturn {
  const client = request.client;
  if (!(client instanceof DmIoClient))
    throw new DmIoArgumentError('request.client', 'not a client');
  if (request.inFlight) throw new DmIoArgumentError('request', 'still under way');
  checkOp(request.op, request.flags);
  const needed = checkRegions(regions, client.loop);
  checkMemory(request.memory, needed, request.op);
  const isSync = request.owner === NO_OWNER;
  if (isSync) mayBlock(client.loop);
  const refused = request.op === REQ_OP.READ && regions.length > 1;
  if (refused && isSync) return EIO;
  setRegions(request, regions);
  if (refused) return refuseRead(request, client.loop);
  if (isSync) return submitAndWait(client, request);
  client.submit(request);
  return 0;
}

export function setRegions(request: DmIoRequest, regions: readonly IoRegionSpec[]): void {
  request.clearRegions();
  for (let i = 0; i < regions.length; i += 1) {
    const region = regions[i] as IoRegionSpec;
    request.addRegion(region.device, region.sector, region.count, region.memorySector ?? 0);
  }
}

/** Rule 1, asynchronous: no I/O; the owner is told bit 0, from the loop as always. */
export function refuseRead(request: DmIoRequest, loop: Loop): DmIoReturn {
  request.inFlight = true;
  request.errorBits.clear();
  request.errorBits.set(0);
  loop.defer(request);
  return EIO;
}

function submitAndWait(client: DmIoClient, request: DmIoRequest): DmIoReturn {
  const wait = new SyncOwner(request.flags);
  request.owner = wait;
  request.flags |= REQ_FLAG.SYNC;
  client.submit(request);
  blockUntilEnded(client.loop, wait);
  return request.errorBits.isEmpty ? 0 : EIO;
}

/** Stands in for the owner a synchronous request does not have, and leaves no trace. */
class SyncOwner implements DmIoOwner, Wait {
  ended = false;
  error: DmIoWaitError | null = null;
  private readonly flags: number;

  constructor(flags: number) {
    this.flags = flags;
  }

  dmIoDone(request: DmIoRequest): void {
    request.owner = NO_OWNER;
    request.flags = this.flags;
    this.ended = true;
    if (this.error !== null) this.error.inFlight = false;
  }
}
