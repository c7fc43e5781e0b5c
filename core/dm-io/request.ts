import { assert } from '../base/assert.ts';
import { ErrorBits, MAX_REGIONS } from '../base/error-bits.ts';
import type { BlockDevice } from '../block/device.ts';
import type { Loan } from '../block/loan.ts';
import type { Completion } from '../block/loop.ts';
import { REQ_FLAG, REQ_OP, type ReqOp } from '../block/op.ts';
import type { DmIoClient } from './client.ts';
import { DmIoMemory } from './memory.ts';
import { makeRegion, type IoRegion } from './region.ts';

/** Who is told when a request has ended. */
export interface DmIoOwner {
  /**
   * Called once a submit, from the loop, after the last bio of the last region. The request is the
   * owner's again and may be submitted anew from here. `request.errorBits` has bit i set if and
   * only if some part of region i failed; `request.regions[i].error` is the first errno.
   */
  dmIoDone(request: DmIoRequest): void;
}

/** Who wants to know that a request is about to end. */
export interface RequestEnd {
  requestEnds(request: DmIoRequest): void;
}

/** A request that still has this owner is a synchronous one to `dmIo`, as `notify.fn == NULL` is. */
export const NO_OWNER: DmIoOwner = {
  dmIoDone(): void {
    throw new Error('a dm-io request without an owner has ended');
  },
};

/**
 * One request to 0..64 regions (struct dm_io_request). It lives in the record of whoever makes it
 * and is filled again for each use: fill op, flags, memory and regions, then `client.submit`.
 * From then until `dmIoDone` the request, its regions and its memory are dm-io's.
 */
export class DmIoRequest implements Completion {
  op: ReqOp = REQ_OP.READ;
  /** REQ_FLAG, repeated on every bio of every region; PREFLUSH runs first, as a phase of its own. */
  flags: number = REQ_FLAG.NONE;
  readonly memory = new DmIoMemory();
  /** Handed on to every bio of the request. */
  loan: Loan | null = null;
  readonly regions: IoRegion[] = [];
  regionCount = 0;
  owner: DmIoOwner = NO_OWNER;
  /** Whose bios carry the request; read by `dmIo` only, `client.submit` knows itself. */
  client: DmIoClient | null = null;
  readonly errorBits = new ErrorBits();
  /**
   * Some device was given up on, and may still use the memory (`abandon`). Set by dm-io and cleared by
   * the owner, when the request has other memory.
   */
  isLate = false;
  /**
   * Told once, just before the owner hears of the end: set by who watches the client, from inside
   * `bioEnded`, when he wants to know what the owner makes of a part that has failed.
   */
  onEnd: RequestEnd | null = null;

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

  /** `memorySector`: where in the memory the region's part begins, when it is not the start (rule 22). */
  addRegion(device: BlockDevice, sector: number, count: number, memorySector = 0): void {
    assert(!this.inFlight, 'regions of a dm-io request in flight must not change');
    assert(this.regionCount < MAX_REGIONS, 'more than 64 regions');
    let region = this.regions[this.regionCount];
    if (region === undefined) {
      region = makeRegion(device, sector, count);
      this.regions[this.regionCount] = region;
    }
    region.device = device;
    region.sector = sector;
    region.count = count;
    region.memorySector = memorySector;
    region.error = 0;
    this.regionCount += 1;
  }

  /** The end, from the loop or from a completion: only now is the request its owner's again. */
  complete(): void {
    assert(this.inFlight, 'a dm-io request ended twice');
    this.inFlight = false;
    if (this.onEnd !== null) {
      const told = this.onEnd;
      this.onEnd = null;
      told.requestEnds(this);
    }
    this.owner.dmIoDone(this);
  }
}
