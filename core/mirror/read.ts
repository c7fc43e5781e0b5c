import { assert } from '../base/assert.ts';
import { ERRNO } from '../base/errno.ts';
import { SECTOR_SIZE } from '../base/units.ts';
import type { BioVec } from '../block/bio.ts';
import { type Bio } from '../block/bio.ts';
import { REQ_OP } from '../block/op.ts';
import { RangeClaim, type RangeOwner } from '../block/range-lock.ts';
import { DmIoRequest, type DmIoOwner } from '../dm-io/request.ts';
import type { RecordWaiter } from './journal.ts';
import { MAX_LEGS, type Leg } from './leg.ts';
import type { MirrorSet } from './set.ts';
import { sliceVecs } from './slice-vecs.ts';

/**
 * One read on its way.
 *
 *   claim the range, shared -> regions in doubt are settled first -> one leg that is good for the
 *   range -> error: the next leg; none left: a shorter piece, down to a block -> the record of who
 *   is in sync is durable -> end
 *
 * The claim keeps writes to the range out meanwhile, so that a read never sees one leg with a write
 * and a later read another leg without it (I2).
 */
export class MirrorRead implements RangeOwner, DmIoOwner, RecordWaiter {
  needVersion = 0;
  firstRegion = 0;
  lastRegion = 0;
  readonly claim = new RangeClaim();
  private readonly request = new DmIoRequest();
  private readonly set: MirrorSet;
  private bio: Bio | null = null;
  private leg: Leg | null = null;
  /** One flag a slot: that leg failed this piece already. */
  private readonly tried: Uint8Array;
  private readonly pieces: BioVec[] = [];
  private done = 0;
  /** Sectors of the piece under way. */
  private length = 0;
  /** Longest piece to try: it shrinks where no leg can read a longer one. */
  private longest = 0;
  private error = 0;

  constructor(set: MirrorSet) {
    this.set = set;
    this.tried = new Uint8Array(MAX_LEGS);
    this.claim.owner = this;
    this.claim.exclusive = false;
    this.request.owner = this;
    this.request.op = REQ_OP.READ;
  }

  start(bio: Bio): void {
    assert(this.bio === null, 'a mirror read in use was started');
    this.bio = bio;
    this.done = 0;
    this.longest = bio.sectors;
    this.error = 0;
    this.request.isLate = false;
    this.tried.fill(0);
    this.firstRegion = this.set.regionOf(bio.sector);
    this.lastRegion = this.set.regionOf(bio.sector + bio.sectors - 1);
    this.claim.start = bio.sector;
    this.claim.end = bio.sector + bio.sectors;
    if (this.set.lock.acquire(this.claim)) this.rangeGranted();
  }

  rangeGranted(): void {
    if (this.set.doubt.anyIn(this.firstRegion, this.lastRegion)) {
      // A settling copy needs the range for itself; `settled` comes back here.
      this.set.lock.release(this.claim);
      this.set.recovery.settle(this);
    } else if (!this.issue()) {
      this.end();
    }
  }

  /** From Recovery: no region of the range is in doubt any more, or (errno) one cannot be settled. */
  settled(errno: number): void {
    this.error = errno;
    if (errno !== 0) this.end();
    else if (this.set.lock.acquire(this.claim)) this.rangeGranted();
  }

  /** Sends the next piece. False: no leg can answer, `error` says why. */
  private issue(): boolean {
    const bio = this.bio;
    assert(bio !== null, 'a mirror read without a bio');
    const sector = bio.sector + this.done;
    const leg = this.aim(sector, bio.sectors - this.done);
    if (leg === null || leg.device === null) {
      if (this.error === 0) this.error = ERRNO.EIO;
      return false;
    }
    this.leg = leg;
    leg.pendingReads += 1;
    leg.enter();
    this.request.flags = bio.flags;
    this.request.loan = bio.loan;
    this.request.clearRegions();
    this.request.addRegion(leg.device, leg.startSector + sector, this.length);
    if (this.done === 0) this.request.memory.setVecs(bio.vecs, bio.vecCount);
    else this.aimAtRest(bio);
    this.set.client.submit(this.request);
    return true;
  }

  /** Chooses the leg and the length of the next piece; null: not even a block can be read. */
  private aim(sector: number, rest: number): Leg | null {
    const set = this.set;
    for (;;) {
      this.length = rest < this.longest ? rest : this.longest;
      const first = set.regionOf(sector);
      const last = set.regionOf(sector + this.length - 1);
      // A member whose bit is set holds the truth too, but failed to read some of the region.
      const leg =
        set.chooseLeg(first, last, this.tried) ??
        (first === last ? set.lastResort(this.tried) : null);
      if (leg !== null) return leg;
      if (this.length <= set.blockSectors) return null;
      this.tried.fill(0);
      if (first !== last) this.longest = set.sectorsToRegionEnd(sector);
      else this.longest = set.halfOf(this.length);
    }
  }

  private aimAtRest(bio: Bio): void {
    const count = sliceVecs(bio.vecs, bio.vecCount, this.done * SECTOR_SIZE, this.pieces);
    this.request.memory.setVecs(this.pieces, count);
  }

  dmIoDone(request: DmIoRequest): void {
    const leg = this.leg;
    const bio = this.bio;
    assert(leg !== null && bio !== null, 'a mirror read ended twice');
    leg.pendingReads -= 1;
    leg.leave();
    this.leg = null;
    if (request.isLate) {
      // The client's memory may be written any time: who owns it asks again with other memory.
      this.error = ERRNO.ETIMEDOUT;
      this.answer();
      return;
    }
    if (request.errorBits.isEmpty) {
      this.done += this.length;
      this.error = 0;
      this.longest = bio.sectors;
      this.tried.fill(0);
    } else {
      this.error = request.regions[0]!.error;
      this.tried[leg.slot] = 1;
      this.set.noteReadError(leg, bio.sector + this.done, this.length, this.error);
    }
    if (this.done < bio.sectors && this.issue()) return;
    this.answer();
  }

  private answer(): void {
    if (this.set.journal.isGuardBehind) this.set.journal.wait(this);
    else this.release().complete();
  }

  /**
   * From any context; dmIoDone, which the loop calls, completes the bio itself. What was read depends
   * on who is in sync, so that must be durable: a crash must find the same answer (I6).
   */
  private end(): void {
    if (this.set.journal.isGuardBehind) this.set.journal.wait(this);
    else this.set.loop.defer(this.release());
  }

  recorded(errno: number): void {
    if (errno !== 0) this.error = errno;
    this.set.loop.defer(this.release());
  }

  private release(): Bio {
    const bio = this.bio;
    assert(bio !== null, 'a mirror read ended twice');
    this.bio = null;
    bio.error = this.error;
    if (this.claim.held) this.set.lock.release(this.claim);
    this.set.reads.put(this);
    return bio;
  }
}
