import { assert } from '../base/assert.ts';
import { ERRNO } from '../base/errno.ts';
import { MAX_REGIONS } from '../base/error-bits.ts';
import type { Bio } from '../block/bio.ts';
import type { Completion } from '../block/loop.ts';
import { REQ_FLAG, REQ_OP } from '../block/op.ts';
import { RangeClaim, type RangeOwner } from '../block/range-lock.ts';
import { DmIoRequest, type DmIoOwner } from '../dm-io/request.ts';
import type { RecordWaiter } from './journal.ts';
import type { Leg } from './leg.ts';
import type { MarkWaiter } from './region-log.ts';
import type { MirrorSet } from './set.ts';
import { settleWriteErrors } from './write-errors.ts';

/**
 * One write on its way: WRITE, WRITE_ZEROES or DISCARD.
 *
 *   claim the range -> the set and its regions are marked dirty, durably -> classify the legs -> one dm-io request to
 *   all active legs -> error bits: fail legs, set region bits -> their record is durable -> end
 *
 * The claim is held to the end, so no read and no other write sees the legs differ.
 */
export class MirrorWrite implements RangeOwner, DmIoOwner, RecordWaiter, MarkWaiter, Completion {
  needVersion = 0;
  readonly claim = new RangeClaim();
  readonly request = new DmIoRequest();
  /** Leg of each region of the request. */
  readonly legOfRegion: Leg[] = new Array<Leg>(MAX_REGIONS);
  firstRegion = 0;
  lastRegion = 0;
  private readonly set: MirrorSet;
  private bio: Bio | null = null;
  private issued = false;
  /** The last loss of the set when it was issued. */
  private lossSerial = 0;
  private error = 0;

  constructor(set: MirrorSet) {
    this.set = set;
    this.claim.owner = this;
    this.claim.exclusive = true;
    this.request.owner = this;
  }

  start(bio: Bio): void {
    assert(this.bio === null, 'a mirror write in use was started');
    this.bio = bio;
    this.issued = false;
    this.error = 0;
    this.firstRegion = this.set.regionOf(bio.sector);
    this.lastRegion = this.set.regionOf(bio.sector + bio.sectors - 1);
    this.claim.start = bio.sector;
    this.claim.end = bio.sector + bio.sectors;
    this.set.pending.enter(this.firstRegion, this.lastRegion);
    if (this.set.lock.acquire(this.claim)) this.rangeGranted();
  }

  rangeGranted(): void {
    if (!this.set.isDirtyDurably()) this.set.journal.wait(this);
    else if (this.set.regionLog.marks.mayWrite(this.firstRegion, this.lastRegion)) this.issue();
    else this.set.regionLog.mark(this);
  }

  /** From the region log: the regions are dirty in it, or (errno) nobody knows. */
  marked(errno: number): void {
    if (errno !== 0) this.end(errno);
    else this.rangeGranted();
  }

  recorded(errno: number): void {
    if (errno !== 0) this.end(errno);
    else if (this.issued) this.end(this.error);
    else this.rangeGranted();
  }

  private issue(): void {
    const bio = this.bio;
    assert(bio !== null && !this.issued, 'a mirror write was issued twice');
    this.issued = true;
    this.lossSerial = this.set.losses.serial;
    const request = this.request;
    request.op = bio.op;
    request.flags = bio.flags;
    request.loan = bio.loan;
    if (bio.op === REQ_OP.WRITE) request.memory.setVecs(bio.vecs, bio.vecCount);
    else request.memory.setNone();
    request.clearRegions();
    const legs = this.set.legs;
    for (let i = 0; i < legs.length; i += 1) {
      const leg = legs[i]!;
      if (!leg.isActive || leg.device === null) {
        leg.outOfSync.setRange(this.firstRegion, this.lastRegion);
        continue;
      }
      this.legOfRegion[request.regionCount] = leg;
      request.addRegion(leg.device, leg.startSector + bio.sector, bio.sectors);
      leg.enter();
    }
    if (request.regionCount === 0) this.end(ERRNO.EIO);
    else this.set.client.submit(request);
  }

  dmIoDone(request: DmIoRequest): void {
    if (request.errorBits.isEmpty) this.set.noteSuccess();
    else this.error = settleWriteErrors(this.set, this);
    this.markLegsThatLeft();
    this.leaveLegs();
    if ((request.flags & REQ_FLAG.FUA) === 0) {
      this.set.unflushed.setRange(this.firstRegion, this.lastRegion);
    } else if (this.error === 0 && this.set.losses.serial !== this.lossSerial) {
      // The flush that failed meanwhile may have lost it from under its own, which then went well (D8).
      this.error = this.set.losses.errno;
    }
    if (this.set.journal.isBehind) this.set.journal.wait(this);
    else this.complete();
  }

  /**
   * Of a write with FUA: it is durable itself; what its client wrote before may not be. Asked when the
   * client hears of it, and no sooner: a FLUSH that ends before is the one to say so.
   */
  private withDebt(bio: Bio, errno: number): number {
    const { losses } = this.set;
    const issuer = bio.loan?.issuer ?? null;
    if (errno === 0) return losses.owedTo(issuer);
    // "Not supported" tells of nothing: the client writes zeros himself, and asks with his next FLUSH.
    if (errno !== ERRNO.EOPNOTSUPP) losses.tell(issuer);
    return errno;
  }

  /** A leg that left the set while we wrote may have the data, but nobody will flush it. */
  private markLegsThatLeft(): void {
    for (let i = 0; i < this.request.regionCount; i += 1) {
      const leg = this.legOfRegion[i]!;
      if (!leg.isActive) leg.outOfSync.setRange(this.firstRegion, this.lastRegion);
    }
  }

  private leaveLegs(): void {
    for (let i = 0; i < this.request.regionCount; i += 1) this.legOfRegion[i]!.leave();
  }

  /** From any context; dmIoDone, which the loop calls, completes the bio itself. */
  private end(errno: number): void {
    this.error = errno;
    this.set.loop.defer(this);
  }

  complete(): void {
    this.release(this.error).complete();
  }

  private release(errno: number): Bio {
    const bio = this.bio;
    assert(bio !== null, 'a mirror write ended twice');
    this.bio = null;
    this.set.pending.leave(this.firstRegion, this.lastRegion);
    this.set.lock.release(this.claim);
    this.set.writes.put(this);
    const isOwed = (bio.flags & REQ_FLAG.FUA) !== 0 && this.set.losses.errno !== 0;
    bio.error = isOwed ? this.withDebt(bio, errno) : errno;
    return bio;
  }
}
