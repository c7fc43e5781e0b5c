import { ERRNO } from '../base/errno.ts';
import { Issuer, nextSerial } from '../block/loan.ts';
import { STANDING } from './leg.ts';
import type { MirrorSet } from './set.ts';

/**
 * Law D8 where nobody is left to take over: every member has failed a flush, or a write with FUA whose
 * errno may be that of its flush. What was acknowledged since the last good one may be gone, whoever's
 * flush it was: a client's, the cleaner's, that of a copy or of the log. Then
 *
 * - those regions are `lost` on the legs that failed: shown, but perhaps not kept. Recovery writes
 *   what is shown once more, with FUA, to the source too; until then no FLUSH ends well.
 * - every client that was there is owed the errno once, by its next FLUSH or FUA (as Linux's errseq).
 *   One that came later is owed it only as long as nobody has been told.
 */
export class Losses {
  private last = 0;
  private since = 0;
  private isTold = false;
  private told = new WeakSet<Issuer>();
  /** Whoever sends bios without saying who he is. */
  private readonly nobody = new Issuer();

  /** The errno of the last loss; 0: there was none. */
  get errno(): number {
    return this.last;
  }

  /** Grows with each loss. */
  get serial(): number {
    return this.since;
  }

  note(errno: number): void {
    // Of a write with FUA: a full leg, or a WRITE_ZEROES it does not know, is no answer to a FLUSH.
    const isOfWrite = errno === ERRNO.EOPNOTSUPP || errno === ERRNO.ENOSPC;
    this.last = isOfWrite ? ERRNO.EIO : errno;
    this.since = nextSerial();
    this.isTold = false;
    this.told = new WeakSet();
  }

  /** The client's FLUSH or FUA has failed, whatever the reason: it has been told. */
  tell(issuer: Issuer | null): void {
    this.isTold = true;
    this.told.add(issuer ?? this.nobody);
  }

  /** The client's FLUSH or FUA went well. What it is to be told all the same: an errno, or 0. */
  owedTo(issuer: Issuer | null): number {
    if (this.last === 0 || this.told.has(issuer ?? this.nobody)) return 0;
    const isLater = issuer !== null && issuer.born > this.since;
    if (isLater && this.isTold) return 0;
    this.tell(issuer);
    return this.last;
  }
}

/**
 * Every member has failed to make durable what it was given. A leg that is being filled and has not
 * failed is the better copy of what it lacks nothing of: the last member is written from it.
 */
export function lose(set: MirrorSet, errno: number): void {
  const { legs, unflushed, covered, pending } = set;
  const members = legs.filter((leg) => leg.standing === STANDING.MEMBER);
  for (const { lost } of members) {
    lost.addAll(unflushed);
    lost.addAll(covered);
    for (let region = 0; region < set.regions && pending.dirty > 0; region += 1) {
      if (pending.isDirty(region)) lost.setRange(region, region);
    }
  }
  const [only] = members;
  if (members.length === 1 && only !== undefined) {
    for (const leg of legs.filter(({ standing }) => standing === STANDING.JOINING)) {
      only.outOfSync.addMissing(only.lost, leg.outOfSync);
    }
  } else if (only !== undefined) {
    for (const leg of legs) if (leg.standing === STANDING.JOINING) leg.outOfSync.addAll(only.lost);
    set.doubt.addAll(only.lost);
  }
  set.losses.note(errno);
  set.recovery.spoilAll();
  set.recovery.kick();
}
