import { assert } from '../base/assert.ts';
import { ERRNO } from '../base/errno.ts';
import { bytesOfSectors, sectorsFloor } from '../base/units.ts';
import type { Completion } from '../block/loop.ts';
import { REQ_FLAG, REQ_OP } from '../block/op.ts';
import { Run, RUN } from '../block/run.ts';
import { RangeClaim, type RangeOwner } from '../block/range-lock.ts';
import { DmIoRequest, type DmIoOwner } from '../dm-io/request.ts';
import { isZero } from './bytes.ts';
import { MAX_LEGS, STANDING, type Leg } from './leg.ts';
import { LegReads, type LegReadsOwner } from './leg-reads.ts';
import { Mend, type MendOwner } from './mend.ts';
import type { Recovery } from './recovery.ts';
import type { MirrorSet } from './set.ts';
import { ZeroMap, type ZeroMapOwner } from './zero-map.ts';

const NO_BYTES = new Uint8Array(0);
/** Zeros between data are not worth a piece of their own below this. */
const SHORTEST_SECTORS = 128;

/** `again`: while the copy went on the region became doubtful anew. */
export type CopyOutcome = 'healed' | 'failed' | 'again';

/**
 * Makes one region equal on all active legs that lack it; on all legs if it is in doubt. The claim is
 * exclusive and covers the whole region to the end, so a bit is cleared only for a copy that no write
 * could race with (D4, I8).
 *
 * It goes piece by piece. Where the source cannot read a piece, another leg is the source of that
 * piece and the first one gets it written; where none can, a shorter piece is tried, down to a block.
 *
 * A region in doubt because of an unclean stop is nearly always the same on all members: it is read
 * from all of them, and only blocks that differ from the first member's are written. After a failed
 * write or flush that would not do: what a leg shows may not be what it will keep. There all is written.
 */
export class RegionCopy
  implements RangeOwner, DmIoOwner, LegReadsOwner, MendOwner, ZeroMapOwner, Completion
{
  region = 0;
  isBusy = false;
  /** What it has written so far may not be what is wanted any more. */
  isSpoiled = false;
  private readonly set: MirrorSet;
  private readonly recovery: Recovery;
  private readonly claim = new RangeClaim();
  private readonly request = new DmIoRequest();
  private readonly compared: LegReads;
  private readonly mend: Mend;
  private readonly zeroes = new ZeroMap(this);
  private readonly run = new Run();
  private readonly tried: Uint8Array;
  /** Legs whose region will be good: each piece is written to them, but for its source. */
  private targets: Leg[] = [];
  /** The targets of the piece under way. */
  private written: Leg[] = [];
  private buffer: Uint8Array = NO_BYTES;
  /** The bytes of the piece: the buffer, or the first member's in a comparison. */
  private payload: Uint8Array = NO_BYTES;
  private source: Leg | null = null;
  private sector = 0;
  private sectors = 0;
  /** Longest piece to try. */
  private longest = 0;
  private pieceBytes = 0;
  private isDoubtful = false;
  /** Some member may not keep what it shows of the region. */
  private isLost = false;
  /** All that was written so far went to every leg there is, with FUA. */
  private isKeptByAll = false;
  /** The last member, where it could not be written: others have the region now. */
  private unkept: Leg | null = null;
  /** Pieces are compared before they are written. */
  private compares = false;
  private writing = false;
  private asZeroes = false;
  /** Nobody has ever written there, and every member reads zeros: there is nothing to read. */
  private isNever = false;
  private failed = false;
  private outcome: CopyOutcome = 'healed';

  constructor(set: MirrorSet, recovery: Recovery) {
    this.set = set;
    this.recovery = recovery;
    this.compared = new LegReads(set, this);
    this.mend = new Mend(set, this);
    this.tried = new Uint8Array(MAX_LEGS);
    this.claim.owner = this;
    this.claim.exclusive = true;
    this.request.owner = this;
  }

  start(region: number): void {
    assert(!this.isBusy, 'a region copy in use was started');
    this.isBusy = true;
    this.region = region;
    this.claim.start = region * this.set.regionSectors;
    this.claim.end = this.claim.start + this.set.sectorsOfRegion(region);
    if (this.set.lock.acquire(this.claim)) this.rangeGranted();
  }

  /** Lets the memory go. */
  drop(): void {
    assert(!this.isBusy, 'memory of a copy under way');
    this.buffer = NO_BYTES;
    this.payload = NO_BYTES;
    this.compared.drop();
  }

  rangeGranted(): void {
    this.sector = this.claim.start;
    this.tried.fill(0);
    this.isSpoiled = false;
    this.failed = false;
    this.unkept = null;
    this.isDoubtful = this.set.doubt.test(this.region);
    this.isLost = this.recovery.isLost(this.region);
    this.isNever = !this.isDoubtful && this.set.regionLog.readsZeros(this.region);
    this.compares = this.isDoubtful && this.recovery.mayCompare(this.region);
    this.isKeptByAll = (this.isDoubtful || this.isLost) && !this.compares;
    // Fixed for the whole copy: a leg that is marked meanwhile lacks the pieces before.
    this.targets = this.set.legs.filter(
      (leg) => leg.isActive && (this.isDoubtful || this.isLackedBy(leg)),
    );
    this.pieceBytes = this.recovery.pieceBytes(this.compares);
    this.longest = sectorsFloor(this.pieceBytes);
    const { start, end } = this.claim;
    if (!this.zeroes.ask(this.asked(), start, end - start)) this.nextPiece();
  }

  /** Whose zeros are of interest: the likely source's, or all that are to be compared. */
  private asked(): readonly Leg[] {
    const nobody = this.set.legs.every(({ device }) => device?.askZeroes === undefined);
    if (nobody || this.isNever) return [];
    if (this.compares) return this.members();
    const source = this.chooseSource();
    return source === null ? [] : [source];
  }

  private members(): Leg[] {
    return this.set.legs.filter((leg) => leg.standing === STANDING.MEMBER);
  }

  zeroesAnswered(): void {
    this.nextPiece();
  }

  private nextPiece(): void {
    if (this.compares) this.comparePiece();
    else this.readPiece();
  }

  private comparePiece(): void {
    const members = this.members();
    if (this.skipsZeroes(members)) return;
    this.sectors = Math.min(this.longest, this.claim.end - this.sector);
    if (this.mend.takeLate() || this.request.isLate) {
      this.compared.drop();
      this.buffer = NO_BYTES;
      this.request.isLate = false;
    }
    this.compared.start(members, this.sector, this.sectors, this.pieceBytes);
  }

  /** Where all members show zeros they are equal unread. True: so is all the rest of the region. */
  private skipsZeroes(members: readonly Leg[]): boolean {
    if (this.targets.some((leg) => leg.standing === STANDING.JOINING)) return false;
    const { end } = this.claim;
    while (this.sector < end) {
      let alike = end - this.sector;
      for (const leg of members) alike = Math.min(alike, this.zeroSectors(leg, alike));
      if (alike === 0) return false;
      this.sector += alike;
    }
    this.sectors = 0;
    this.pieceDone();
    return true;
  }

  /** Whole blocks from here on that the leg shows as zeros, at most `sectors`. */
  private zeroSectors(leg: Leg, sectors: number): number {
    this.zeroes.runAt(leg, this.sector, sectors, this.run);
    // What an unsettled leg says is not believed: it is read, and the READ waits.
    if (leg.unsettled > 0 || (this.run.flags & RUN.ZERO) === 0) return 0;
    return this.run.sectors - (this.run.sectors % this.set.blockSectors);
  }

  /** All members have been read: the first one's bytes are the truth from now on. */
  legsRead(): void {
    const { legs, errors } = this.compared;
    const [first] = legs;
    assert(first !== undefined, 'a comparison of no legs');
    if (!first.isActive || errors.some((errno, i) => i < legs.length && errno !== ERRNO.OK)) {
      // Somebody cannot be compared here: it is read from one, and written to all others.
      this.readPiece();
      return;
    }
    this.source = first;
    this.payload = this.compared.bytesOf(0);
    this.mend.begin(this.payload, this.sector);
    for (const [i, leg] of legs.entries()) {
      if (i === 0 || !leg.isActive) continue;
      this.mend.addDifferences(leg, this.compared.bytesOf(i), this.sectors);
    }
    if (!this.mend.start()) this.mended();
  }

  mendFailed(leg: Leg, errno: number): void {
    // The last member cannot be healed here; its region stays marked.
    if (leg.isActive && !this.set.failLeg(leg, 'resync', errno)) this.failed = true;
  }

  /** What is left of the piece: legs that join, which get all of it. */
  mended(): void {
    if (this.failed) {
      this.end('failed');
      return;
    }
    this.writeTo(this.targets.filter((leg) => leg.standing === STANDING.JOINING));
  }

  private readPiece(): void {
    this.targets = this.targets.filter((leg) => leg.isActive);
    if (this.targets.length === 0) {
      this.end('healed');
      return;
    }
    if (this.isNever) {
      this.zeroPiece();
      return;
    }
    this.source = this.aim();
    const device = this.source?.device ?? null;
    if (this.source === null || device === null) {
      for (const leg of this.targets) leg.noteError('resync', ERRNO.EIO);
      this.end('failed');
      return;
    }
    if (this.buffer.length < this.pieceBytes || this.request.isLate) {
      this.buffer = this.set.memory(this.pieceBytes);
      this.request.isLate = false;
    }
    this.payload = this.buffer;
    const zeroes = this.zeroSectors(this.source, this.sectors);
    if (zeroes > 0) {
      this.sectors = zeroes;
      this.buffer.fill(0, 0, bytesOfSectors(zeroes));
      this.writeTo(this.inNeedOf(this.source));
      return;
    }
    this.shorten();
    this.writing = false;
    this.request.op = REQ_OP.READ;
    this.request.flags = REQ_FLAG.NONE;
    this.request.memory.setBytes(this.buffer, 0);
    this.request.clearRegions();
    this.request.addRegion(device, this.source.startSector + this.sector, this.sectors);
    this.source.enter();
    this.set.client.submit(this.request);
  }

  /** Zeros begin before the piece ends, as `run` says: they are the next piece. */
  private shorten(): void {
    const { blockSectors } = this.set;
    const data = Math.max(this.run.sectors, SHORTEST_SECTORS);
    const whole = Math.ceil(data / blockSectors) * blockSectors;
    if (whole < this.sectors) this.sectors = whole;
  }

  /** As a hole was read. A leg that was never in sync may hold anything there, so it is told. */
  private zeroPiece(): void {
    this.sectors = Math.min(this.longest, this.claim.end - this.sector);
    if (this.buffer.length < this.pieceBytes) this.buffer = this.set.memory(this.pieceBytes);
    this.buffer.fill(0, 0, bytesOfSectors(this.sectors));
    this.payload = this.buffer;
    this.source = null;
    this.writeTo([...this.targets]);
  }

  /** Chooses the source and the length of the next piece; null: nobody can read even a block. */
  private aim(): Leg | null {
    for (;;) {
      this.sectors = Math.min(this.longest, this.claim.end - this.sector);
      const leg = this.chooseSource();
      if (leg !== null || this.sectors <= this.set.blockSectors) return leg;
      this.longest = this.set.halfOf(this.sectors);
      this.tried.fill(0);
    }
  }

  /** In doubt any member will do; else a good leg, or a member that failed to read some of it. */
  private chooseSource(): Leg | null {
    if (this.isDoubtful) return this.set.lastResort(this.tried);
    const good = this.set.chooseLeg(this.region, this.region, this.tried);
    return good ?? this.set.lastResort(this.tried);
  }

  dmIoDone(request: DmIoRequest): void {
    if (this.writing) {
      for (const leg of this.written) leg.leave();
      this.pieceWritten(request);
    } else {
      this.source?.leave();
      this.pieceRead(request);
    }
  }

  private pieceRead(request: DmIoRequest): void {
    const source = this.source;
    assert(source !== null, 'a region copy without a source');
    if (!request.errorBits.isEmpty) {
      this.tried[source.slot] = 1;
      this.set.noteReadError(source, this.sector, this.sectors, request.regions[0]?.error ?? 0);
      if (!this.targets.includes(source)) this.targets.push(source);
      this.readPiece();
      return;
    }
    if (!source.isActive) {
      this.readPiece();
      return;
    }
    this.writeTo(this.inNeedOf(source));
  }

  /** Who is given a piece of the source: the source too, where it may not keep what it shows. */
  private inNeedOf(source: Leg): Leg[] {
    const isKept = !source.lost.test(this.region);
    return this.targets.filter((leg) => leg.isActive && !(isKept && leg === source));
  }

  private isLackedBy({ outOfSync, lost }: Leg): boolean {
    return outOfSync.test(this.region) || lost.test(this.region);
  }

  private writeTo(legs: Leg[]): void {
    this.written = legs;
    if (this.set.legs.some((leg) => leg.isActive && !legs.includes(leg))) this.isKeptByAll = false;
    if (legs.length === 0) {
      this.pieceDone();
      return;
    }
    this.asZeroes = this.allTakeZeroes() && isZero(this.payload, bytesOfSectors(this.sectors));
    this.writePiece();
  }

  private writePiece(): void {
    this.writing = true;
    // A hole stays a hole: zeros are not written where they can be asked for.
    this.request.op = this.asZeroes ? REQ_OP.WRITE_ZEROES : REQ_OP.WRITE;
    // What is read once must be what a power cut leaves on every member (I6).
    const isForGood = this.isDoubtful || this.isLost;
    this.request.flags = isForGood ? REQ_FLAG.FUA : REQ_FLAG.NONE;
    if (this.asZeroes) this.request.memory.setNone();
    else this.request.memory.setBytes(this.payload, 0);
    this.request.clearRegions();
    for (const leg of this.written) {
      assert(leg.device !== null, 'a leg in the set without a device');
      this.request.addRegion(leg.device, leg.startSector + this.sector, this.sectors);
      leg.enter();
    }
    this.set.client.submit(this.request);
  }

  private pieceWritten(request: DmIoRequest): void {
    if (request.errorBits.isEmpty || this.settleErrors(request)) this.pieceDone();
  }

  private pieceDone(): void {
    this.sector += this.sectors;
    if (this.sector < this.claim.end) {
      this.longest = sectorsFloor(this.pieceBytes);
      this.tried.fill(0);
      this.nextPiece();
      return;
    }
    if (!this.isKeptByAll) this.set.unflushed.setRange(this.region, this.region);
    if (this.isSpoiled) {
      this.end('again');
      return;
    }
    // The next flush that fails loses nothing of it.
    if (this.isKeptByAll) this.set.forgetUnflushed(this.region);
    for (const leg of this.targets) {
      if (!leg.isActive) continue;
      leg.outOfSync.clear(this.region);
      leg.lost.clear(this.region);
    }
    if (this.isDoubtful) this.set.doubt.clear(this.region);
    if (this.unkept === null) {
      this.end('healed');
      return;
    }
    this.unkept.outOfSync.setRange(this.region, this.region);
    // Not at once again: where the others cannot read it, that member is the source, and would fail for ever.
    this.end('failed');
  }

  /** True: go on with the legs that are left. */
  private settleErrors(request: DmIoRequest): boolean {
    const unsupported = request.regions.some(
      (region, i) =>
        i < request.regionCount && request.errorBits.test(i) && region.error === ERRNO.EOPNOTSUPP,
    );
    if (this.asZeroes && unsupported) {
      this.asZeroes = false;
      this.written = this.written.filter((leg) => leg.isActive);
      if (this.written.length === 0) return true;
      this.writePiece();
      return false;
    }
    const wasSpoiled = this.isSpoiled;
    for (const [i, leg] of this.written.entries()) {
      if (!request.errorBits.test(i) || !leg.isActive) continue;
      if (this.set.failLeg(leg, 'resync', request.regions[i]?.error ?? ERRNO.EIO)) continue;
      // The last member cannot be healed here; its region stays marked.
      if (leg !== this.source || this.written.length === 1) {
        this.end('failed');
        return false;
      }
      // It was to be given its own once more. What the others got of it is good all the same.
      this.isSpoiled = wasSpoiled;
      this.targets = this.targets.filter((target) => target !== leg);
      this.unkept = leg;
      this.isKeptByAll = false;
    }
    return true;
  }

  private allTakeZeroes(): boolean {
    return this.written.every((leg) => (leg.device?.limits.maxWriteZeroesSectors ?? 0) > 0);
  }

  private end(outcome: CopyOutcome): void {
    this.outcome = outcome;
    this.source = null;
    this.set.lock.release(this.claim);
    this.set.loop.defer(this);
  }

  /** From the loop, so that regions nobody can read do not pile up on the stack. */
  complete(): void {
    this.isBusy = false;
    this.recovery.copied(this, this.outcome);
  }
}
