import { assert } from '../base/assert.ts';
import { ERRNO } from '../base/errno.ts';
import { SECTOR_SIZE } from '../base/units.ts';
import type { BioVec } from '../block/bio.ts';
import { type Bio } from '../block/bio.ts';
import { REQ_OP } from '../block/op.ts';
import { RangeClaim, type RangeOwner } from '../block/range-lock.ts';
import { DmIoRequest, type DmIoOwner } from '../dm-io/request.ts';
import type { Leg } from './leg.ts';
import type { MirrorSet } from './set.ts';
import { sliceVecs } from './slice-vecs.ts';

/**
 * One read on its way. It goes to one leg that is known good for the whole range. If that leg fails
 * it goes to the next, each leg at most once a piece; where no leg is good for all of the range, it
 * is read in pieces. The shared claim keeps writes to the range out meanwhile, so that a read never
 * sees one leg with a write and a later read another leg without it (I2).
 */
export class MirrorRead implements RangeOwner, DmIoOwner {
  readonly claim = new RangeClaim();
  private readonly request = new DmIoRequest();
  private readonly set: MirrorSet;
  private bio: Bio | null = null;
  private leg: Leg | null = null;
  /** One flag a leg: it failed this piece already. */
  private readonly tried: Uint8Array;
  private readonly pieces: BioVec[] = [];
  private done = 0;
  private length = 0;
  private error = 0;

  constructor(set: MirrorSet) {
    this.set = set;
    this.tried = new Uint8Array(set.legs.length);
    this.claim.owner = this;
    this.claim.exclusive = false;
    this.request.owner = this;
    this.request.op = REQ_OP.READ;
  }

  start(bio: Bio): void {
    assert(this.bio === null, 'a mirror read in use was started');
    this.bio = bio;
    this.done = 0;
    this.error = 0;
    this.tried.fill(0);
    this.claim.start = bio.sector;
    this.claim.end = bio.sector + bio.sectors;
    if (this.set.lock.acquire(this.claim)) this.rangeGranted();
  }

  rangeGranted(): void {
    if (!this.issue()) this.set.loop.defer(this.release());
  }

  /** Sends the next piece. False: no leg can answer, `error` says why. */
  private issue(): boolean {
    const bio = this.bio;
    assert(bio !== null, 'a mirror read without a bio');
    const sector = bio.sector + this.done;
    this.length = bio.sectors - this.done;
    const set = this.set;
    let leg = set.chooseLeg(
      set.regionOf(sector),
      set.regionOf(sector + this.length - 1),
      this.tried,
    );
    if (leg === null) {
      // Nobody is good for all of it: go on region by region.
      this.length = Math.min(this.length, set.sectorsToRegionEnd(sector));
      const region = set.regionOf(sector);
      leg = set.chooseLeg(region, region, this.tried) ?? set.lastResort(this.tried);
    }
    if (leg === null || leg.device === null) {
      if (this.error === 0) this.error = ERRNO.EIO;
      return false;
    }
    this.leg = leg;
    leg.pendingReads += 1;
    this.request.flags = bio.flags;
    this.request.clearRegions();
    this.request.addRegion(leg.device, leg.startSector + sector, this.length);
    if (this.done === 0) this.request.memory.setVecs(bio.vecs, bio.vecCount);
    else this.aimAtRest(bio);
    set.client.submit(this.request);
    return true;
  }

  private aimAtRest(bio: Bio): void {
    const count = sliceVecs(bio.vecs, bio.vecCount, this.done * SECTOR_SIZE, this.pieces);
    this.request.memory.setVecs(this.pieces, count);
  }

  dmIoDone(request: DmIoRequest): void {
    const leg = this.leg;
    assert(leg !== null && this.bio !== null, 'a mirror read ended twice');
    leg.pendingReads -= 1;
    this.leg = null;
    if (request.errorBits.isEmpty) {
      this.done += this.length;
      if (this.done === this.bio.sectors) {
        this.error = 0;
        this.release().complete();
        return;
      }
      this.tried.fill(0);
    } else {
      this.error = request.regions[0]!.error;
      this.tried[leg.index] = 1;
      const sector = this.bio.sector + this.done;
      this.set.noteReadError(leg, sector, this.length, this.error);
    }
    if (!this.issue()) this.release().complete();
  }

  private release(): Bio {
    const bio = this.bio;
    assert(bio !== null, 'a mirror read ended twice');
    this.bio = null;
    bio.error = this.error;
    this.set.lock.release(this.claim);
    this.set.reads.put(this);
    return bio;
  }
}
