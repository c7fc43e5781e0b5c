import { assert } from '../base/assert.ts';
import { ERRNO } from '../base/errno.ts';
import { Ring } from '../base/ring.ts';
import type { Bio } from '../block/bio.ts';
import { REQ_OP } from '../block/op.ts';
import { DmIoRequest, type DmIoOwner } from '../dm-io/request.ts';
import type { RecordWaiter } from './journal.ts';
import { STANDING, type Leg } from './leg.ts';
import { lose } from './losses.ts';
import type { MirrorSet } from './set.ts';

/** Told how a flush of the set went: 0, or an errno. */
export type FlushDone = (errno: number) => void;

/**
 * Flushes of the set, one at a time; those that arrive meanwhile share the next. A flush covers the
 * writes that had ended when it was sent, so a shared one covers each of its callers.
 *
 * Law D8: a leg whose flush failed may have lost anything written to it since its last good flush.
 * Those regions are in `set.unflushed` (written since the flush under way was sent) and in
 * `covered` (written before). A flush that went well says nothing while a failed write with FUA, or a
 * failed flush of somebody else, has still to be acted on (failed-syncs.ts).
 */
export class FlushQueue implements DmIoOwner, RecordWaiter {
  needVersion = 0;
  private readonly set: MirrorSet;
  private readonly request = new DmIoRequest();
  private readonly waiting = new Ring<Bio>(64);
  private readonly current = new Ring<Bio>(64);
  private inside: FlushDone[] = [];
  private insideCurrent: FlushDone[] = [];
  private readonly legOfRegion: Leg[] = [];
  private busy = false;
  private error = 0;

  constructor(set: MirrorSet) {
    this.set = set;
    this.request.owner = this;
    this.request.op = REQ_OP.FLUSH;
    set.unsettled.settlesItself(this.request);
  }

  get isIdle(): boolean {
    return !this.busy;
  }

  /** A client's flush; the bio ends like any other. */
  add(bio: Bio): void {
    this.waiting.push(bio);
    if (!this.busy) this.send();
  }

  /** A flush of the set's own; `done` is called from the loop. */
  flush(done: FlushDone): void {
    this.inside.push(done);
    if (!this.busy) this.send();
  }

  private send(): void {
    assert(!this.busy, 'two flushes of a mirror at once');
    this.busy = true;
    this.error = 0;
    for (let bio = this.waiting.shift(); bio !== undefined; bio = this.waiting.shift()) {
      this.current.push(bio);
    }
    this.insideCurrent = this.inside;
    this.inside = [];
    this.set.swapUnflushed();
    this.request.clearRegions();
    for (const leg of this.set.legs) {
      if (!leg.isActive || leg.device === null) continue;
      this.legOfRegion[this.request.regionCount] = leg;
      this.request.addRegion(leg.device, 0, 0);
      leg.enter();
    }
    if (this.request.regionCount === 0) this.error = ERRNO.EIO;
    this.set.client.submit(this.request);
  }

  dmIoDone(): void {
    if (!this.set.failedSyncs.wait(this.settle)) this.settle();
  }

  private readonly settle = (): void => {
    const { request } = this;
    this.set.unsettled.settled(request);
    if (!request.errorBits.isEmpty) this.error = this.settleErrors(request);
    else if (request.regionCount > 0) this.set.noteSuccess();
    if (this.error === 0) this.set.covered.clearAll();
    else this.set.unflushed.addAll(this.set.covered);
    for (let i = 0; i < request.regionCount; i += 1) this.legOfRegion[i]?.leave();
    if (this.set.journal.isBehind) this.set.journal.wait(this);
    else this.end(this.error);
  };

  /** As of a write: legs are failed while a member flushed well; else the client is told. */
  private settleErrors(request: DmIoRequest): number {
    let memberWorked = false;
    let errno: number = ERRNO.EIO;
    for (let i = 0; i < request.regionCount; i += 1) {
      const leg = this.legOfRegion[i];
      if (leg?.standing !== STANDING.MEMBER) continue;
      if (!request.errorBits.test(i)) memberWorked = true;
      else errno = request.regions[i]?.error ?? ERRNO.EIO;
    }
    for (let i = 0; i < request.regionCount; i += 1) {
      const leg = this.legOfRegion[i];
      if (leg === undefined || !request.errorBits.test(i)) continue;
      const legErrno = request.regions[i]?.error ?? ERRNO.EIO;
      if (memberWorked || leg.standing !== STANDING.MEMBER) {
        if (leg.isActive) this.set.failLeg(leg, 'flush', legErrno);
        continue;
      }
      leg.noteError('flush', legErrno);
    }
    if (memberWorked) return 0;
    lose(this.set, errno);
    this.set.noteBroken();
    return errno;
  }

  recorded(errno: number): void {
    this.end(errno === 0 ? this.error : errno);
  }

  /** A client's flush says more than that this one went well (losses.ts). */
  private answerTo(bio: Bio, errno: number): number {
    const { losses } = this.set;
    if (losses.errno === 0) return errno;
    const issuer = bio.loan?.issuer ?? null;
    const found = errno === 0 && this.set.hasLost() ? losses.errno : errno;
    if (found === 0) return losses.owedTo(issuer);
    losses.tell(issuer);
    return found;
  }

  private end(errno: number): void {
    this.busy = false;
    const inside = this.insideCurrent;
    this.insideCurrent = [];
    for (let bio = this.current.shift(); bio !== undefined; bio = this.current.shift()) {
      bio.error = this.answerTo(bio, errno);
      this.set.loop.defer(bio);
    }
    for (const done of inside) done(errno);
    if (!this.busy && (this.waiting.length > 0 || this.inside.length > 0)) this.send();
  }
}
