import { assert } from '../base/assert.ts';
import { ERRNO } from '../base/errno.ts';
import { bytesOfSectors, sectorsFloor } from '../base/units.ts';
import type { Completion } from '../block/loop.ts';
import { RangeClaim, type RangeOwner } from '../block/range-lock.ts';
import { isEqual } from './bytes.ts';
import type { RecordWaiter } from './journal.ts';
import { STANDING, type Leg } from './leg.ts';
import { LegReads, type LegReadsOwner } from './leg-reads.ts';
import { Mend, type MendOwner } from './mend.ts';
import type { SettleWaiter } from './recovery.ts';
import type { Scrub } from './scrub.ts';
import type { Mismatch, ScrubFindings, ScrubRepair } from './scrub-report.ts';
import { truthOf } from './scrub-report.ts';
import type { MirrorSet } from './set.ts';

/** `unsettled`: the region is in doubt and cannot be settled, so there is nothing to compare. */
export type CheckOutcome = 'checked' | 'unsettled' | 'left';

interface Run {
  readonly leg: Leg;
  readonly sector: number;
  readonly sectors: number;
}

/**
 * Compares one region on all members.
 *
 *   settled first, if it is in doubt -> claim, shared: no write is under way -> each piece is read from
 *   every member -> all the same: next piece
 *   -> one cannot read it, or they differ and a repair is wanted: the claim is let go and taken again,
 *      exclusive, and the piece is read again; what differs is decided (majority, or one leg's word) and
 *      written with FUA; a leg that cannot read gets what the others agree on
 *
 * Under a claim members are equal, to the byte, or one of them is wrong. Where the others differ and nobody
 * decides, a leg that cannot read is left as it is: copying one of them would make it a majority.
 */
export class ScrubRegion
  implements RangeOwner, LegReadsOwner, MendOwner, SettleWaiter, RecordWaiter, Completion
{
  region = 0;
  isBusy = false;
  needVersion = 0;
  private readonly set: MirrorSet;
  private readonly scrub: Scrub;
  private readonly claim = new RangeClaim();
  private readonly reads: LegReads;
  private readonly mend: Mend;
  /** Of the scrub that has started it: by its end there may be another. */
  private findings: ScrubFindings;
  private repair: ScrubRepair = 'none';
  private pieceBytes = 0;
  /** Longest piece to read: it shrinks around sectors that some leg cannot read. */
  private longest = Infinity;
  private sector = 0;
  private isEntered = false;
  private found: Mismatch[] = [];
  /** The legs by their numbers when it was begun: numbers change when a leg is taken out. */
  private numbered: readonly Leg[] = [];
  /** What is still to be written of the piece, by whose bytes (a place in `reads`) are the truth of it. */
  private readonly plans = new Map<number, Run[]>();
  private failedLegs = 0;
  private outcome: CheckOutcome = 'checked';

  constructor(set: MirrorSet, scrub: Scrub) {
    this.set = set;
    this.scrub = scrub;
    this.findings = scrub.findings;
    this.reads = new LegReads(set, this);
    this.mend = new Mend(set, this);
    this.claim.owner = this;
  }

  get firstRegion(): number {
    return this.region;
  }

  get lastRegion(): number {
    return this.region;
  }

  start(region: number): void {
    assert(!this.isBusy, 'a region is being scrubbed already');
    this.isBusy = true;
    this.region = region;
    this.findings = this.scrub.findings;
    this.repair = this.scrub.repair;
    this.numbered = [...this.set.legs];
    this.sector = region * this.set.regionSectors;
    this.longest = Infinity;
    this.acquire(false);
  }

  drop(): void {
    this.reads.drop();
  }

  private acquire(exclusive: boolean): void {
    this.claim.start = this.region * this.set.regionSectors;
    this.claim.end = this.claim.start + this.set.sectorsOfRegion(this.region);
    this.claim.exclusive = exclusive;
    if (this.set.lock.acquire(this.claim)) this.rangeGranted();
  }

  rangeGranted(): void {
    if (this.set.doubt.test(this.region)) {
      this.letGo();
      this.set.recovery.settle(this);
    } else if (this.claim.exclusive) this.prepareRepair();
    else this.readPiece();
  }

  settled(errno: number): void {
    if (errno === 0) this.acquire(this.claim.exclusive);
    else this.end('unsettled');
  }

  /** A repair is a write: the set is not clean while one is under way. */
  private prepareRepair(): void {
    this.isEntered = true;
    this.set.pending.enter(this.region, this.region);
    if (this.set.isDirtyDurably()) this.readPiece();
    else this.set.journal.wait(this);
  }

  recorded(errno: number): void {
    if (errno === 0) this.readPiece();
    else this.end('left');
  }

  private readPiece(): void {
    const { set, region } = this;
    const legs = set.legs.filter(
      (leg) => leg.standing === STANDING.MEMBER && !leg.outOfSync.test(region),
    );
    if (legs.length < 2 || this.scrub.isQuitting || this.isRenumbered) {
      // One leg is left that can be read: recovery writes it over the others.
      this.findings.checkedSectors += this.claim.end - this.sector;
      this.end('left');
      return;
    }
    this.pieceBytes = set.recovery.pieceBytes(true);
    const rest = this.claim.end - this.sector;
    const sectors = Math.min(sectorsFloor(this.pieceBytes), this.longest, rest);
    if (this.mend.takeLate()) this.reads.drop();
    this.reads.start(legs, this.sector, sectors, this.pieceBytes);
  }

  legsRead(): void {
    const { errors, legs } = this.reads;
    const isWhole = legs.every((_, place) => errors[place] === ERRNO.OK);
    const areEqual = this.reads.areEqual;
    if (isWhole && areEqual) {
      this.pieceDone();
      return;
    }
    if (this.isRenumbered) {
      this.end('left');
      return;
    }
    if (!this.claim.exclusive && (!isWhole || this.repair !== 'none')) {
      // Something may have to be written: alone, and after another look.
      this.letGo();
      this.acquire(true);
      return;
    }
    if (!isWhole && this.reads.sectors > this.set.blockSectors) {
      // Down to the very block: the rest of the piece is compared like any other.
      this.longest = this.set.halfOf(this.reads.sectors);
      this.readPiece();
      return;
    }
    this.noteUnreadable();
    this.found = areEqual ? [] : mismatchesOf(this.reads, this.set.blockSectors);
    this.failedLegs = 0;
    this.plan();
    this.nextPlan();
  }

  private get isRenumbered(): boolean {
    return this.numbered.some((leg, i) => this.set.legs[i] !== leg);
  }

  private noteUnreadable(): void {
    const { legs, errors, sector, sectors } = this.reads;
    for (const [place, leg] of legs.entries()) {
      const errno = errors[place] ?? ERRNO.OK;
      if (errno === ERRNO.OK || !leg.isActive) continue;
      this.findings.addUnreadable({ sector, sectors, leg: leg.index });
      // A leg that has become shorter or is gone leaves; what others cannot read is written anew below.
      if (errno === ERRNO.ENXIO || errno === ERRNO.ENOTCONN)
        this.set.noteReadError(leg, sector, sectors, errno);
      else leg.noteError('read', errno);
    }
  }

  /** What is to be written where, by the leg whose bytes are right; nothing where nobody can say. */
  private plan(): void {
    const { legs, errors, sector, sectors } = this.reads;
    this.plans.clear();
    const first = errors.indexOf(ERRNO.OK);
    if (first < 0 || first >= legs.length) return;
    const unreadable = legs.filter((_, place) => errors[place] !== ERRNO.OK);
    let at = sector;
    for (const [i, part] of this.found.entries()) {
      this.addRun(first, at, part.sector - at, unreadable);
      at = part.sector + part.sectors;
      const truth = truthOf(part, this.repair);
      if (truth === null) continue;
      const wrong = legs.filter(({ index }) =>
        part.groups.some((group) => group.includes(index) && !group.includes(truth)),
      );
      const place = legs.findIndex(({ index }) => index === truth);
      this.addRun(place, part.sector, part.sectors, [...wrong, ...unreadable]);
      this.found[i] = { ...part, repaired: true };
    }
    this.addRun(first, at, sector + sectors - at, unreadable);
  }

  private addRun(place: number, sector: number, sectors: number, legs: readonly Leg[]): void {
    if (sectors === 0 || legs.length === 0) return;
    const runs = this.plans.get(place) ?? [];
    for (const leg of legs) runs.push({ leg, sector, sectors });
    this.plans.set(place, runs);
  }

  private nextPlan(): void {
    const [plan] = this.plans;
    if (plan === undefined) {
      for (const part of this.found) this.scrub.mismatch(part, this.findings);
      this.found = [];
      this.pieceDone();
      return;
    }
    const [place, runs] = plan;
    this.plans.delete(place);
    this.mend.begin(this.reads.bytesOf(place), this.reads.sector);
    for (const { leg, sector, sectors } of runs) {
      if (leg.isActive) this.mend.add(leg, sector - this.reads.sector, sectors);
    }
    if (!this.mend.start()) this.mended();
  }

  mendFailed(leg: Leg, errno: number): void {
    this.failedLegs += 1;
    if (leg.isActive) this.set.failLeg(leg, 'resync', errno);
  }

  mended(): void {
    const { set, region } = this;
    set.unflushed.setRange(region, region);
    for (const leg of set.legs) {
      // It may have been given what was wrong.
      if (leg.standing === STANDING.JOINING) leg.outOfSync.setRange(region, region);
    }
    set.recovery.kick();
    if (this.failedLegs > 0) this.found = this.found.map((part) => ({ ...part, repaired: false }));
    this.nextPlan();
  }

  private pieceDone(): void {
    this.sector += this.reads.sectors;
    this.longest = this.reads.sectors * 2;
    this.findings.checkedSectors += this.reads.sectors;
    if (this.sector < this.claim.end) this.readPiece();
    else this.end('checked');
  }

  private letGo(): void {
    if (this.isEntered) this.set.pending.leave(this.region, this.region);
    this.isEntered = false;
    if (this.claim.held) this.set.lock.release(this.claim);
  }

  private end(outcome: CheckOutcome): void {
    this.outcome = outcome;
    this.letGo();
    this.set.loop.defer(this);
  }

  complete(): void {
    this.isBusy = false;
    this.scrub.regionChecked(this, this.outcome);
  }
}

/** Block by block which legs agree; neighbours with the same answer are one range. */
function mismatchesOf(reads: LegReads, blockSectors: number): Mismatch[] {
  const found: Mismatch[] = [];
  let last = '';
  for (let at = 0; at < reads.sectors; at += blockSectors) {
    const groups = groupsOf(reads, bytesOfSectors(at), bytesOfSectors(at + blockSectors));
    if (groups.length < 2) {
      last = '';
      continue;
    }
    const key = JSON.stringify(groups);
    const before = found.at(-1);
    if (key === last && before !== undefined) {
      found[found.length - 1] = { ...before, sectors: before.sectors + blockSectors };
    } else {
      found.push({ sector: reads.sector + at, sectors: blockSectors, groups, repaired: false });
    }
    last = key;
  }
  return found;
}

function groupsOf(reads: LegReads, from: number, end: number): number[][] {
  const groups: { readonly place: number; readonly legs: number[] }[] = [];
  for (const [place, leg] of reads.legs.entries()) {
    if (reads.errors[place] !== ERRNO.OK) continue;
    const bytes = reads.bytesOf(place);
    const same = groups.find((group) => isEqual(reads.bytesOf(group.place), bytes, from, end));
    if (same === undefined) groups.push({ place, legs: [leg.index] });
    else same.legs.push(leg.index);
  }
  return groups.map(({ legs }) => legs).sort((a, b) => b.length - a.length);
}
