import { assert } from '../base/assert.ts';
import { ErrorBits, MAX_REGIONS } from '../base/error-bits.ts';
import type { BlockDevice } from '../block/device.ts';
import type { Completion } from '../block/loop.ts';
import { REQ_FLAG, REQ_OP, type ReqOp } from '../block/op.ts';
import { DmIoMemory } from './memory.ts';
import { IoRegion } from './region.ts';

/** Who is told when a request has ended. */
export interface DmIoOwner {
  /**
   * Called once a submit, from the loop, after the last bio of the last region. The request is the
   * owner's again and may be submitted anew from here. `request.errorBits` has bit i set if and
   * only if some part of region i failed; `request.regions[i].error` is the first errno.
   */
  dmIoDone(request: DmIoRequest): void;
}

const NO_OWNER: DmIoOwner = {
  dmIoDone(): void {
    throw new Error('a dm-io request without an owner has ended');
  },
};

/**
 * One request to 1..64 regions (struct dm_io_request). It lives in the record of whoever makes it
 * and is filled again for each use: fill op, flags, memory and regions, then `client.submit`.
 * From then until `dmIoDone` the request, its regions and its memory are dm-io's.
 */
export class DmIoRequest implements Completion {
  op: ReqOp = REQ_OP.READ;
  /** REQ_FLAG, repeated on every bio of every region; PREFLUSH runs first, as a phase of its own. */
  flags: number = REQ_FLAG.NONE;
  readonly memory = new DmIoMemory();
  readonly regions: IoRegion[] = [];
  regionCount = 0;
  owner: DmIoOwner = NO_OWNER;
  readonly errorBits = new ErrorBits();

  // Below: dm-io's own, while the request is under way.
  inFlight = false;
  /** Bios under way, plus one while dispatch goes on: nothing ends before the last is sent. */
  references = 0;
  /** True in the first phase of a request with PREFLUSH. */
  flushing = false;
  dispatchIndex = 0;
  dispatchDone = 0;

  /** Empties the region list, for the next use. */
  clearRegions(): void {
    assert(!this.inFlight, 'regions of a dm-io request in flight must not change');
    this.regionCount = 0;
  }

  addRegion(device: BlockDevice, sector: number, count: number): void {
    assert(!this.inFlight, 'regions of a dm-io request in flight must not change');
    assert(this.regionCount < MAX_REGIONS, 'more than 64 regions');
    const region = this.regions[this.regionCount];
    if (region === undefined) {
      this.regions[this.regionCount] = makeRegion(device, sector, count);
    } else {
      region.device = device;
      region.sector = sector;
      region.count = count;
      region.error = 0;
    }
    this.regionCount += 1;
  }

  complete(): void {
    this.owner.dmIoDone(this);
  }
}

function makeRegion(device: BlockDevice, sector: number, count: number): IoRegion {
  // eslint-disable-next-line no-restricted-syntax -- once for each region a request ever has
  return new IoRegion(device, sector, count);
}
