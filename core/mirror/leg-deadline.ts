import { ERRNO } from '../base/errno.ts';
import type { Timer } from '../base/ports.ts';
import type { SentBio } from '../dm-io/client.ts';
import type { DmIoRequest } from '../dm-io/request.ts';
import { isLastCopyOfSome } from './last-copy.ts';
import { STANDING, type Leg } from './leg.ts';
import type { MirrorSet } from './set.ts';

/** A late bio is seen so many times within its leg's time-out, so it is late by less than one of these. */
const LOOKS = 8;

/** What the bios under way tell about the legs. */
interface Look {
  /** The oldest overdue bio of each leg, by when it was sent. */
  readonly oldest: Map<Leg, number>;
  readonly overdue: { readonly leg: Leg; readonly bio: SentBio }[];
  /** Regions of requests that have not ended. */
  readonly pending: Map<DmIoRequest, Set<number>>;
}

/**
 * Law D5 and I14: a leg that does not answer in time is taken out, and its requests go on without it.
 * They may still land. So their memory is nobody else's, and the leg does not come back, until the
 * device has ended each of them (`Leg.inFlight`).
 *
 * One timer looks at all that is under way; there is none for each request, and none without any.
 *
 * | the overdue bio is of        | the leg is taken out if                                             |
 * |------------------------------|---------------------------------------------------------------------|
 * | a leg that is out already    | its bios are given up at once                                       |
 * | a request to a member too    | that has done its part: the others only wait for this leg           |
 * | a request to no other member | another member has nothing overdue                                  |
 *
 * Never the last member, never the only copy of some region; of two that are late the one that is late
 * for longer goes first, and then the other is the last. A request that all legs are late with waits:
 * nobody could answer it.
 */
export class LegDeadline {
  private readonly set: MirrorSet;
  private timer: Timer | null = null;
  private isStopped = false;
  /** Of a look: its time, and whether somebody was found who is late and may go. */
  private nowMs = 0;
  private isLate = false;
  private asked: Leg | null = null;

  constructor(set: MirrorSet) {
    this.set = set;
  }

  get isArmed(): boolean {
    return this.timer !== null || this.isStopped;
  }

  arm(): void {
    const periodMs = this.periodMs();
    if (periodMs === 0) return;
    this.timer = this.set.clock.after(periodMs, this.look);
  }

  stop(): void {
    this.isStopped = true;
    this.timer?.cancel();
    this.timer = null;
  }

  private readonly look = (): void => {
    this.timer = null;
    this.takeOut();
    // What was given up on may have been sent again, to another leg: then the timer is armed already.
    if (this.set.client.biosInFlight > 0 && !this.isArmed) this.arm();
  };

  /** 0: no leg has a time-out. */
  private periodMs(): number {
    let shortest = Infinity;
    for (const { timeoutMs } of this.set.legs) {
      if (timeoutMs > 0 && timeoutMs < shortest) shortest = timeoutMs;
    }
    return shortest === Infinity ? 0 : shortest / LOOKS;
  }

  private takeOut(): void {
    if (!this.isAnyLate()) return;
    const look = this.lookAt();
    const late = [...look.oldest].sort(([, a], [, b]) => a - b);
    for (const [leg] of late) {
      if (leg.isActive && !this.mayGo(leg, look)) continue;
      if (leg.isActive && !this.set.timeOut(leg)) continue;
      if (leg.device === null) continue;
      // Each keeps the leg busy until it has ended.
      this.set.client.eachInFlight((bio) => {
        if (deviceOf(bio) === leg.device) leg.enter();
      });
      this.set.client.abandon(leg.device, ERRNO.ETIMEDOUT);
    }
  }

  /** Nearly always nobody is, or nobody who may go: that costs no memory. */
  private isAnyLate(): boolean {
    this.isLate = false;
    this.asked = null;
    this.nowMs = this.set.clock.nowMs();
    this.set.client.eachInFlight(this.noteLate);
    return this.isLate;
  }

  private readonly noteLate = (bio: SentBio): void => {
    if (this.isLate) return;
    const device = deviceOf(bio);
    const leg = device === null ? null : this.set.legOf(device);
    if (leg === null || leg.timeoutMs === 0 || this.nowMs - bio.sentMs < leg.timeoutMs) return;
    if (leg === this.asked) return;
    this.asked = leg;
    this.isLate = !leg.isActive || !isLastCopyOfSome(this.set.legs, leg);
  };

  private lookAt(): Look {
    const { set } = this;
    const look: Look = { oldest: new Map(), overdue: [], pending: new Map() };
    const nowMs = set.clock.nowMs();
    set.client.eachInFlight((bio) => {
      const device = deviceOf(bio);
      const leg = device === null ? null : set.legOf(device);
      if (bio.request === null || leg === null) return;
      let tags = look.pending.get(bio.request);
      if (tags === undefined) {
        tags = new Set();
        look.pending.set(bio.request, tags);
      }
      tags.add(bio.tag);
      if (leg.timeoutMs === 0 || nowMs - bio.sentMs < leg.timeoutMs) return;
      look.overdue.push({ leg, bio });
      look.oldest.set(leg, Math.min(look.oldest.get(leg) ?? Infinity, bio.sentMs));
    });
    return look;
  }

  private mayGo(leg: Leg, look: Look): boolean {
    if (isLastCopyOfSome(this.set.legs, leg)) return false;
    return look.overdue.some((late) => late.leg === leg && this.isDueTo(leg, late.bio, look));
  }

  /** It is the leg that the request waits for, and not all that could answer it. */
  private isDueTo(leg: Leg, { request }: SentBio, look: Look): boolean {
    if (request === null) return false;
    const others = this.set.legs.filter(
      (other) => other !== leg && other.standing === STANDING.MEMBER,
    );
    const pending = look.pending.get(request) ?? new Set();
    return others.some((other) => {
      const part = partOf(other, request, pending);
      return part === 'none' ? !look.oldest.has(other) : part === 'done';
    });
  }
}

/** Of what the request asks of the leg. */
function partOf(
  leg: Leg,
  request: DmIoRequest,
  pending: ReadonlySet<number>,
): 'none' | 'done' | 'open' {
  let isIn = false;
  for (let i = 0; i < request.regionCount; i += 1) {
    if (request.regions[i]?.device !== leg.device) continue;
    if (i >= request.dispatchIndex || pending.has(i) || request.errorBits.test(i)) return 'open';
    isIn = true;
  }
  return isIn ? 'done' : 'none';
}

function deviceOf({ request, tag }: SentBio): Leg['device'] {
  return request?.regions[tag]?.device ?? null;
}
