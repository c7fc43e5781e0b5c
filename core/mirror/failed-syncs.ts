import { assert } from '../base/assert.ts';
import type { Completion, Loop } from '../block/loop.ts';
import type { DmIoRequest, RequestEnd } from '../dm-io/request.ts';
import type { UnsettledLegs } from './unsettled.ts';

/**
 * Law D8 between the moment a leg has failed to make something durable and the moment the set acts on
 * it. The request hears of the error when its last part has ended, on whatever leg, and that may be a
 * time-out later. Meanwhile the leg may have lost what it was given since its last good flush, and its
 * next flush goes well: so no flush of the set is answered before every such request has ended.
 */
export class FailedSyncs implements RequestEnd, Completion {
  private readonly loop: Loop;
  private readonly unsettled: UnsettledLegs;
  /** Requests under way of which a FLUSH, or a part with FUA, has failed. */
  private open = 0;
  private whenNone: (() => void) | null = null;

  constructor(loop: Loop, unsettled: UnsettledLegs) {
    this.loop = loop;
    this.unsettled = unsettled;
  }

  /** A part of the request has failed; once for each request, however many do. */
  note(request: DmIoRequest): void {
    if (request.onEnd !== null) return;
    request.onEnd = this;
    this.open += 1;
  }

  requestEnds(request: DmIoRequest): void {
    this.unsettled.requestEnds(request);
    assert(this.open > 0, 'a failed request ended twice');
    this.open -= 1;
    // The owner has yet to say what it makes of it.
    if (this.open === 0 && this.whenNone !== null) this.loop.defer(this);
  }

  /** False: there is none. Else `done` is called from the loop, when the set has acted on all. */
  wait(done: () => void): boolean {
    if (this.open === 0) return false;
    assert(this.whenNone === null, 'two wait for failed requests');
    this.whenNone = done;
    return true;
  }

  complete(): void {
    const { whenNone } = this;
    if (this.open > 0 || whenNone === null) return;
    this.whenNone = null;
    whenNone();
  }
}
