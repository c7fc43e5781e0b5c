import { ERRNO } from '../base/errno.ts';
import type { Bio } from '../block/bio.ts';
import type { Loop } from '../block/loop.ts';
import { REQ_FLAG, REQ_OP } from '../block/op.ts';
import type { DmIoRequest } from '../dm-io/request.ts';
import type { Leg } from './leg.ts';

/**
 * Law D8 while nobody has settled it: a leg has failed its part of a FLUSH, or of a write with FUA, and
 * the request goes on at the other legs. Only its end says whether the leg is put out, or is the last
 * that is left (`lose`). Until then nothing that the leg says is believed:
 *
 * - a READ that it answers well does not end before the leg is settled: a server that has lost what it
 *   had acknowledged may be back, and answer with what it held long ago. If the leg is out by then, the
 *   READ ends as those of a leg that was given up on do, and its owner asks another leg.
 * - a write with FUA that goes well there has failed: the other flush may have lost it from under its
 *   own. (What a FLUSH says is not believed either: failed-syncs.ts.)
 *
 * Settling waits for no READ, so this ends; but a request may wait for bios, which are the pool's: while
 * one does, no READ is held, and it fails at once.
 */
export class UnsettledLegs {
  private readonly loop: Loop;
  /** One a part that has failed, of a request that has not ended. */
  private failed: { readonly request: DmIoRequest; readonly leg: Leg }[] = [];
  /** The set's own FLUSH, which is settled some time after its end. */
  private settledLater: DmIoRequest | null = null;
  private held: { readonly bio: Bio; readonly leg: Leg }[] = [];
  private readonly release = {
    complete: (): void => this.releaseHeld(),
  };

  constructor(loop: Loop) {
    this.loop = loop;
  }

  get isEmpty(): boolean {
    return this.failed.length === 0;
  }

  /** The end of this one is not yet its settling: `settled` says when. */
  settlesItself(request: DmIoRequest): void {
    this.settledLater = request;
  }

  /** A FLUSH, or a bio with FUA, has failed at the leg. */
  partFailed(request: DmIoRequest, leg: Leg): void {
    this.failed.push({ request, leg });
    leg.unsettled += 1;
  }

  /** The request ends now: whoever sent it settles, before anything else happens, what that means. */
  requestEnds(request: DmIoRequest): void {
    if (request !== this.settledLater) this.settled(request);
  }

  settled(request: DmIoRequest): void {
    if (this.isEmpty) return;
    this.failed = this.failed.filter((part) => {
      if (part.request !== request) return true;
      part.leg.unsettled -= 1;
      return false;
    });
    if (this.held.length > 0) this.loop.defer(this.release);
  }

  /** A bio has ended well at the leg. False: it ends again when the leg is settled. */
  mayEnd(leg: Leg, bio: Bio, mayHold: boolean): boolean {
    if (leg.unsettled === 0) return true;
    if (bio.op === REQ_OP.READ && mayHold) {
      this.held.push({ bio, leg });
      return false;
    }
    if (bio.op === REQ_OP.READ || (bio.flags & REQ_FLAG.FUA) !== 0) bio.error = ERRNO.EIO;
    return true;
  }

  private releaseHeld(): void {
    const { held } = this;
    this.held = [];
    for (const { bio, leg } of held) {
      if (leg.unsettled === 0 && !leg.isActive) bio.error = ERRNO.ETIMEDOUT;
      bio.complete();
    }
  }
}
