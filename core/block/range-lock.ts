import { assert } from '../base/assert.ts';

/** Who waits for a claim. */
export interface RangeOwner {
  /** The claim is granted now. Called from inside another claim's release. */
  rangeGranted(claim: RangeClaim): void;
}

const NO_OWNER: RangeOwner = {
  rangeGranted(): void {
    throw new Error('a range claim without an owner was granted');
  },
};

/** A claim on sectors [start, end), inside the record of the request that makes it. */
export class RangeClaim {
  start = 0;
  end = 0;
  exclusive = false;
  owner: RangeOwner = NO_OWNER;
  /** Earlier claims still held or waiting that stand in the way; granted at 0. */
  blockers = 0;
  held = false;
  previous: RangeClaim | null = null;
  next: RangeClaim | null = null;
  /** Chains the claims that one release has freed. */
  grantNext: RangeClaim | null = null;
}

const BUCKET_SECTORS = 2048; // 1 MiB
const BUCKETS = 1024;
const WIDE = 16; // a claim over more buckets than this is not counted in them
const CLAIMS_MAX = 65535; // what one bucket's counter can hold

/**
 * Keeps requests that overlap apart: shared claims (reads) go together, an exclusive one (a write,
 * a copy) goes alone, and who came first goes first. This is rule D7: overlapping writes reach all
 * legs in one order, because they reach them one after the other. Reads take part so that no read
 * sees one leg before and a later read another leg after the same write (I2).
 *
 * All claims stand in one list in order of arrival. A claim counts the earlier ones in its way and
 * waits until they are gone. The buckets only answer "certainly nobody" fast: without neighbours a
 * claim costs a few counter steps, whatever the length of the list.
 */
export class RangeLock {
  private first: RangeClaim | null = null;
  private last: RangeClaim | null = null;
  private readonly exclusiveIn = new Uint32Array(BUCKETS);
  private readonly anyIn = new Uint32Array(BUCKETS);
  private wideClaims = 0;
  private waiting = 0;
  private claims = 0;

  /** Claims held or waiting. */
  get length(): number {
    return this.claims;
  }

  /** True: granted. False: `claim.owner.rangeGranted` will be called. */
  acquire(claim: RangeClaim): boolean {
    assert(!claim.held, 'a range claim is in use');
    assert(claim.start < claim.end, 'a range claim is empty');
    assert(this.claims < CLAIMS_MAX, 'more range claims than a bucket can count');
    claim.held = true;
    claim.blockers = this.mayConflict(claim) ? this.countBlockers(claim) : 0;
    claim.previous = this.last;
    claim.next = null;
    if (this.last === null) this.first = claim;
    else this.last.next = claim;
    this.last = claim;
    this.claims += 1;
    this.count(claim, 1);
    if (claim.blockers === 0) return true;
    this.waiting += 1;
    return false;
  }

  /** Ends a granted claim, and grants those that waited for it alone. */
  release(claim: RangeClaim): void {
    assert(claim.held && claim.blockers === 0, 'release of a range claim that was not granted');
    const after = claim.next;
    if (claim.previous === null) this.first = claim.next;
    else claim.previous.next = claim.next;
    if (claim.next === null) this.last = claim.previous;
    else claim.next.previous = claim.previous;
    claim.previous = null;
    claim.next = null;
    claim.held = false;
    this.claims -= 1;
    this.count(claim, -1);
    if (this.waiting > 0) this.wakeAfter(claim, after);
  }

  /**
   * The released claim's fields may be reused by an owner while this runs, and granted claims may
   * be released again: so first every count is lowered, then the free ones are granted.
   */
  private wakeAfter(released: RangeClaim, after: RangeClaim | null): void {
    let granted: RangeClaim | null = null;
    let tail: RangeClaim | null = null;
    for (let claim = after; claim !== null; claim = claim.next) {
      if (claim.blockers === 0 || !conflicts(claim, released)) continue;
      claim.blockers -= 1;
      if (claim.blockers > 0) continue;
      claim.grantNext = null;
      if (tail === null) granted = claim;
      else tail.grantNext = claim;
      tail = claim;
      this.waiting -= 1;
    }
    while (granted !== null) {
      const next: RangeClaim | null = granted.grantNext;
      granted.grantNext = null;
      granted.owner.rangeGranted(granted);
      granted = next;
    }
  }

  private countBlockers(claim: RangeClaim): number {
    let blockers = 0;
    for (let other = this.first; other !== null; other = other.next) {
      if (conflicts(claim, other)) blockers += 1;
    }
    return blockers;
  }

  private mayConflict(claim: RangeClaim): boolean {
    if (this.claims === 0) return false;
    const from = Math.floor(claim.start / BUCKET_SECTORS);
    const to = Math.floor((claim.end - 1) / BUCKET_SECTORS);
    if (this.wideClaims > 0 || to - from >= WIDE) return true;
    const counts = claim.exclusive ? this.anyIn : this.exclusiveIn;
    for (let bucket = from; bucket <= to; bucket += 1) {
      if (counts[bucket % BUCKETS] !== 0) return true;
    }
    return false;
  }

  private count(claim: RangeClaim, step: number): void {
    const from = Math.floor(claim.start / BUCKET_SECTORS);
    const to = Math.floor((claim.end - 1) / BUCKET_SECTORS);
    if (to - from >= WIDE) {
      this.wideClaims += step;
      return;
    }
    for (let bucket = from; bucket <= to; bucket += 1) {
      const slot = bucket % BUCKETS;
      this.anyIn[slot]! += step;
      if (claim.exclusive) this.exclusiveIn[slot]! += step;
    }
  }
}

function conflicts(a: RangeClaim, b: RangeClaim): boolean {
  return (a.exclusive || b.exclusive) && a.start < b.end && b.start < a.end;
}
