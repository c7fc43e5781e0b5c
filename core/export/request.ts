import { assert } from '../base/assert.ts';
import { ERRNO } from '../base/errno.ts';
import { bytesOfSectors, sectorsFloor, SECTOR_SIZE } from '../base/units.ts';
import { NO_SLOT, type Arena } from '../block/arena.ts';
import { Bio, type BioOwner } from '../block/bio.ts';
import { Loan, type Issuer } from '../block/loan.ts';
import { hasData, REQ_FLAG, REQ_OP, type ReqOp } from '../block/op.ts';
import { RangeClaim, type RangeOwner } from '../block/range-lock.ts';
import { REPLY_STYLE } from '../nbd/chunk.ts';
import { COMMAND, COMMAND_FLAG } from '../nbd/proto.ts';
import type { RequestHeader } from '../nbd/wire.ts';
import { STATUS_BYTES } from './block-status.ts';
import type { Dialect } from './dialect.ts';
import type { Export } from './export.ts';
import { Stretches } from './stretches.ts';
import { BlockRange, mergeHead, mergeTail, zeroHead, zeroTail } from './unaligned.ts';
import { FAULT, FAULTS, type Fault } from './faults.ts';

/** Who is told when a request is done: `request.error` says how. From start() or from the loop. */
export interface RequestOwner {
  requestDone(request: Request): void;
  /** What was read into its slot is worth nothing, as somebody may still write there: `moveTo` another. */
  memoryLost(request: Request): void;
}

/**
 * What a request is at. Only a write or a zeroing that is not on block borders has more than DATA:
 * both edges are read before anything is written, so a failed read leaves the device untouched.
 */
const STEP = { READ_HEAD: 0, READ_TAIL: 1, WRITE_HEAD: 2, WRITE_TAIL: 3, DATA: 4 } as const;
type Step = (typeof STEP)[keyof typeof STEP];

/** What zeros are written from when a device cannot zero by itself. Never written to. */
const ZEROES = new Uint8Array(2 ** 18);
const ZEROES_SECTORS = sectorsFloor(ZEROES.length);

/** CACHE reads what it warms into this much memory, again and again. */
const CACHE_BYTES = 2 ** 18;
const CACHE_SECTORS = sectorsFloor(CACHE_BYTES);

/**
 * One NBD request as bios, one after the other: usually exactly one. Pooled by its session; the bio
 * and the range claim live inside.
 */
export class Request implements BioOwner, RangeOwner {
  type = 0;
  flags = 0;
  cookieHigh = 0;
  cookieLow = 0;
  offset = 0;
  /** Extended headers: the offset as it came, for the reply. */
  offsetHigh = 0;
  offsetLow = 0;
  lengthBytes = 0;
  /** An errno; `fault` says why when it was refused. */
  error = 0;
  fault: Fault = FAULT.NONE;
  /** Where on the device it failed; -1: that is not known. */
  failedAt = -1;
  /** BLOCK_STATUS: bytes of the reply in the slot. */
  statusBytes = 0;
  /** Arena slot of the covering blocks (a READ's or WRITE's) or of two edge blocks (a zeroing's). */
  slot = NO_SLOT;
  readonly range = new BlockRange();
  /** A READ's: what of it is worth no bytes on the wire. */
  readonly stretches = new Stretches();
  readonly arenaBytes: Uint8Array;
  /** Of its memory; a new one when the memory had to be left to somebody. */
  loan: Loan;

  private readonly owner: RequestOwner;
  private readonly target: Export;
  private readonly arena: Arena;
  private readonly dialect: Dialect;
  private readonly issuer: Issuer;
  private readonly bio = new Bio();
  private readonly claim = new RangeClaim();
  private step: Step = STEP.DATA;
  // The work of step DATA: one range, cut to what the device takes at once.
  private op: ReqOp = REQ_OP.READ;
  private opFlags: number = REQ_FLAG.NONE;
  private sector = 0;
  private sectors = 0;
  private sectorsDone = 0;
  private startedMs = 0;

  constructor(owner: RequestOwner, target: Export, arena: Arena, dialect: Dialect, issuer: Issuer) {
    this.issuer = issuer;
    this.loan = new Loan(issuer);
    this.bio.loan = this.loan;
    this.owner = owner;
    this.target = target;
    this.arena = arena;
    this.arenaBytes = arena.bytes;
    this.dialect = dialect;
    this.bio.owner = this;
    this.claim.owner = this;
  }

  /** Takes over what the client said; without a fault the range is inside the export. */
  set(header: RequestHeader, fault: Fault): void {
    assert(this.slot === NO_SLOT && !this.claim.held, 'a request in use was taken again');
    this.type = header.type;
    this.flags = header.flags;
    this.cookieHigh = header.cookieHigh;
    this.cookieLow = header.cookieLow;
    this.offset = header.offset;
    // What a client says there of a FLUSH is ignored.
    this.lengthBytes = header.type === COMMAND.FLUSH ? 0 : header.lengthBytes;
    this.error = FAULTS[fault].errno;
    this.fault = fault;
    this.failedAt = -1;
    this.statusBytes = 0;
    this.loan.renew();
    if (this.dialect.style !== REPLY_STYLE.SIMPLE) this.setForChunks(header);
    if (fault !== FAULT.NONE || header.type === COMMAND.FLUSH) return;
    if (header.type === COMMAND.BLOCK_STATUS) {
      this.range.set(0, 0, this.target.device.limits.logicalBlockSize);
      return;
    }
    this.range.set(header.offset, header.lengthBytes, this.target.device.limits.logicalBlockSize);
  }

  private setForChunks(header: RequestHeader): void {
    this.offsetHigh = header.offsetHigh;
    this.offsetLow = header.offsetLow;
    if (header.type !== COMMAND.READ || this.error !== 0) return;
    const isOne = (header.flags & COMMAND_FLAG.DF) !== 0;
    this.stretches.look(this.target.device, header.offset, header.lengthBytes, isOne);
  }

  /** A READ that needs no bytes: the device said so when it came. */
  get isAllHole(): boolean {
    const { stretches } = this;
    return (
      this.dialect.style !== REPLY_STYLE.SIMPLE && stretches.count === 1 && stretches.isHole(0)
    );
  }

  refuse(fault: Fault): void {
    this.fault = fault;
    this.error = FAULTS[fault].errno;
  }

  /** Memory the request needs, all of it at once; it never asks for more later. */
  get slotBytesNeeded(): number {
    if (this.lengthBytes === 0) return 0;
    switch (this.type) {
      case COMMAND.READ:
        return this.isAllHole ? 0 : this.range.coverBytes;
      case COMMAND.BLOCK_STATUS:
        return STATUS_BYTES;
      case COMMAND.CACHE:
        return this.range.coverBytes < CACHE_BYTES ? this.range.coverBytes : CACHE_BYTES;
      case COMMAND.WRITE:
        // One block more, for what is read of the edges.
        return this.range.coverBytes + (this.range.isAligned ? 0 : this.range.blockBytes);
      case COMMAND.WRITE_ZEROES:
        return this.range.isAligned ? 0 : 2 * this.range.blockBytes;
      default:
        return 0;
    }
  }

  /** Where in the arena the client's bytes are: placed in the slot as they lie on the disk. */
  get payloadAt(): number {
    return this.slot + this.range.lead;
  }

  /** Begins; a WRITE's payload is in its slot. Ends by `requestDone`, perhaps from inside. */
  start(): void {
    assert(this.error === 0, 'a refused request was started');
    const { watch } = this.target;
    if (watch !== null) this.startedMs = watch.clock.nowMs();
    this.opFlags = opFlagsOf(this.flags);
    if (this.lengthBytes === 0 && this.type !== COMMAND.FLUSH) {
      this.end();
      return;
    }
    switch (this.type) {
      case COMMAND.READ:
        if (this.isAllHole) {
          this.end();
          return;
        }
        this.setData(REQ_OP.READ, this.range.coverStart, this.range.coverBytes);
        this.enter(STEP.DATA);
        return;
      case COMMAND.CACHE:
        this.setData(REQ_OP.READ, this.range.coverStart, this.range.coverBytes);
        this.enter(STEP.DATA);
        return;
      case COMMAND.BLOCK_STATUS:
        this.dialect.writeStatus(this, this.target);
        this.end();
        return;
      case COMMAND.WRITE:
        this.setData(REQ_OP.WRITE, this.range.coverStart, this.range.coverBytes);
        this.claimCover();
        return;
      case COMMAND.WRITE_ZEROES:
        if (this.isFastZero && !this.canZeroFast()) {
          this.refuse(FAULT.NOT_FAST);
          this.end();
          return;
        }
        this.setData(REQ_OP.WRITE_ZEROES, this.range.innerStart, this.range.innerBytes);
        this.claimCover();
        return;
      case COMMAND.TRIM:
        this.startTrim();
        return;
      default:
        assert(this.type === COMMAND.FLUSH, 'a command that was not refused and is not known');
        this.setData(REQ_OP.FLUSH, 0, 0);
        this.step = STEP.DATA;
        this.submit(REQ_OP.FLUSH, 0, 0);
    }
  }

  private get isFastZero(): boolean {
    return (this.flags & COMMAND_FLAG.FAST_ZERO) !== 0;
  }

  /**
   * "FAST_ZERO": refused at once unless the device zeroes by itself, and without writing edges. That
   * keeping the space is fast too, no device promises. What a device refuses in spite of its limits is
   * written, not refused: of a mirror some legs may have done it, and ENOTSUP says nothing changed.
   */
  private canZeroFast(): boolean {
    if (!this.range.isAligned || (this.flags & COMMAND_FLAG.NO_HOLE) !== 0) return false;
    const { maxWriteZeroesSectors, slowZeroes } = this.target.device.limits;
    return maxWriteZeroesSectors > 0 && slowZeroes !== true;
  }

  /** "NBD_CMD_TRIM" is a hint: rounded inwards, and nothing at all where nothing can be done. */
  private startTrim(): void {
    if (this.range.innerBytes === 0 || this.target.device.limits.maxDiscardSectors === 0) {
      this.end();
      return;
    }
    this.setData(REQ_OP.DISCARD, this.range.innerStart, this.range.innerBytes);
    this.enter(STEP.DATA);
  }

  /**
   * Writes on block borders share their sectors with each other, as the device contract lets them.
   * Read-modify-write excludes every other write: what it writes back of its neighbours' bytes must
   * still be theirs. Reads and trims need no claim: neither could tell a difference.
   */
  private claimCover(): void {
    this.claim.start = sectorsFloor(this.range.coverStart);
    this.claim.end = this.claim.start + sectorsFloor(this.range.coverBytes);
    this.claim.exclusive = !this.range.isAligned;
    if (this.target.writes.acquire(this.claim)) this.enter(STEP.READ_HEAD);
  }

  rangeGranted(): void {
    this.enter(STEP.READ_HEAD);
  }

  /** Submits the step's bio, or goes on to the next step when this one has none. */
  private enter(step: Step): void {
    const range = this.range;
    this.step = step;
    switch (step) {
      case STEP.READ_HEAD:
        if (range.hasHead) this.submitEdge(REQ_OP.READ, range.coverStart, this.headAt());
        else this.enter(STEP.READ_TAIL);
        return;
      case STEP.READ_TAIL:
        if (range.hasTail) this.submitEdge(REQ_OP.READ, range.tailBlockStart, this.tailAt());
        else this.enter(STEP.WRITE_HEAD);
        return;
      case STEP.WRITE_HEAD:
        // A WRITE writes its edges with its middle, in one piece.
        if (this.type === COMMAND.WRITE) this.enter(STEP.DATA);
        else if (range.hasHead) this.submitEdge(REQ_OP.WRITE, range.coverStart, this.headAt());
        else this.enter(STEP.WRITE_TAIL);
        return;
      case STEP.WRITE_TAIL:
        if (range.hasTail) this.submitEdge(REQ_OP.WRITE, range.tailBlockStart, this.tailAt());
        else this.enter(STEP.DATA);
        return;
      case STEP.DATA:
        if (this.sectorsDone < this.sectors) this.submitPiece();
        else this.end();
    }
  }

  endIo(bio: Bio): void {
    assert(bio === this.bio, 'the end of a bio of someone else');
    if (bio.error !== 0) {
      if (bio.op !== REQ_OP.READ || !this.loan.wasOut) this.failed(bio.error);
      else if (this.loan.isOut) this.owner.memoryLost(this);
      else this.readAgain();
      return;
    }
    switch (this.step) {
      case STEP.READ_HEAD:
        if (this.type === COMMAND.WRITE) {
          mergeHead(this.arena.bytes, this.slot, this.headAt(), this.range);
        } else zeroHead(this.arena.bytes, this.headAt(), this.range);
        this.enter(STEP.READ_TAIL);
        return;
      case STEP.READ_TAIL:
        if (this.type === COMMAND.WRITE) {
          mergeTail(this.arena.bytes, this.slot, this.tailAt(), this.range);
        } else zeroTail(this.arena.bytes, this.tailAt(), this.range);
        this.enter(STEP.WRITE_HEAD);
        return;
      case STEP.WRITE_HEAD:
        this.enter(STEP.WRITE_TAIL);
        return;
      case STEP.WRITE_TAIL:
        this.enter(STEP.DATA);
        return;
      case STEP.DATA:
        this.sectorsDone += bio.sectors;
        this.enter(STEP.DATA);
    }
  }

  /** Its memory is left to others: it has none now. */
  leaveMemory(): void {
    // eslint-disable-next-line no-restricted-syntax -- once for each request whose device did not answer
    this.loan = new Loan(this.issuer);
    this.bio.loan = this.loan;
    this.slot = NO_SLOT;
  }

  /** What its slot has that is not to be read again: a WRITE's payload, an edge that was read; null: nothing. */
  copyOfKept(): Uint8Array | null {
    if (this.type === COMMAND.READ || this.type === COMMAND.CACHE) return null;
    // eslint-disable-next-line no-restricted-syntax -- once for each read that its device did not answer
    return this.arenaBytes.slice(this.slot, this.slot + this.slotBytesNeeded);
  }

  /** Goes on in another slot, with what was kept of the lost one; begins a READ anew. */
  moveTo(slot: number, kept: Uint8Array | null): void {
    this.slot = slot;
    if (kept !== null) this.arenaBytes.set(kept, slot);
    this.readAgain();
  }

  /** A device was given up on; by now it has ended, or the memory is another. */
  private readAgain(): void {
    this.loan.renew();
    this.sectorsDone = 0;
    this.enter(this.step);
  }

  private failed(errno: number): void {
    if (this.step === STEP.DATA && errno === ERRNO.EOPNOTSUPP) {
      if (this.op === REQ_OP.WRITE_ZEROES) {
        this.op = REQ_OP.WRITE;
        this.enter(STEP.DATA);
        return;
      }
      // A hint that was not taken is no error.
      if (this.op === REQ_OP.DISCARD) errno = 0;
    }
    this.error = errno;
    if (errno !== 0 && this.type !== COMMAND.FLUSH) this.failedAt = this.placeOfFailure();
    this.end();
  }

  /** The first byte of the client's in what failed. */
  private placeOfFailure(): number {
    let at = bytesOfSectors(this.sector + this.sectorsDone);
    if (this.step === STEP.READ_HEAD || this.step === STEP.WRITE_HEAD) at = this.offset;
    else if (this.step !== STEP.DATA) at = this.range.tailBlockStart;
    return at < this.offset ? this.offset : at;
  }

  private end(): void {
    if (this.claim.held) this.target.writes.release(this.claim);
    const { watch } = this.target;
    // BLOCK_STATUS asks about bytes; it moves none.
    if (watch !== null && this.type !== COMMAND.BLOCK_STATUS) {
      const took = watch.clock.nowMs() - this.startedMs;
      watch.stats.note(opOfType(this.type), sectorsFloor(this.lengthBytes), took, this.error);
    }
    this.owner.requestDone(this);
  }

  private setData(op: ReqOp, startBytes: number, lengthBytes: number): void {
    this.op = op;
    this.sector = sectorsFloor(startBytes);
    this.sectors = sectorsFloor(lengthBytes);
    this.sectorsDone = 0;
    // "NBD_CMD_WRITE_ZEROES" must work whatever the device can: else zeros are written.
    const limits = this.target.device.limits;
    if (op === REQ_OP.WRITE_ZEROES && limits.maxWriteZeroesSectors === 0) this.op = REQ_OP.WRITE;
  }

  private submitPiece(): void {
    const sectors = this.pieceSectors();
    if (hasData(this.op)) {
      const isZeroing = this.type === COMMAND.WRITE_ZEROES;
      const page = isZeroing ? ZEROES : this.arena.bytes;
      const isKept = !isZeroing && this.type !== COMMAND.CACHE;
      const at = isZeroing ? 0 : this.slot + (isKept ? this.sectorsDone * SECTOR_SIZE : 0);
      this.bio.setBuffer(page, at, sectors * SECTOR_SIZE);
    }
    this.submit(this.op, this.sector + this.sectorsDone, sectors);
  }

  /** What is left, or the most the device takes at once, in whole blocks. */
  private pieceSectors(): number {
    const limits = this.target.device.limits;
    const left = this.sectors - this.sectorsDone;
    let most = limits.maxSectors;
    if (this.op === REQ_OP.DISCARD) most = limits.maxDiscardSectors;
    else if (this.op === REQ_OP.WRITE_ZEROES) most = limits.maxWriteZeroesSectors;
    else if (this.type === COMMAND.WRITE_ZEROES && most > ZEROES_SECTORS) most = ZEROES_SECTORS;
    else if (this.type === COMMAND.CACHE && most > CACHE_SECTORS) most = CACHE_SECTORS;
    if (left <= most) return left;
    const blockSectors = sectorsFloor(limits.logicalBlockSize);
    return most < blockSectors ? blockSectors : most - (most % blockSectors);
  }

  private submitEdge(op: ReqOp, startBytes: number, at: number): void {
    assert(this.slot !== NO_SLOT, 'an edge block without memory');
    this.bio.setBuffer(this.arena.bytes, at, this.range.blockBytes);
    this.submit(op, sectorsFloor(startBytes), sectorsFloor(this.range.blockBytes));
  }

  private submit(op: ReqOp, sector: number, sectors: number): void {
    const bio = this.bio;
    bio.op = op;
    bio.flags = op === REQ_OP.READ || op === REQ_OP.FLUSH ? REQ_FLAG.NONE : this.opFlags;
    if (op !== REQ_OP.WRITE_ZEROES) bio.flags &= ~REQ_FLAG.NOUNMAP;
    bio.sector = sector;
    bio.sectors = sectors;
    if (!hasData(op)) bio.vecCount = 0;
    bio.error = 0;
    this.target.device.submit(bio);
  }

  /** A WRITE's edges are both read behind its cover, one after the other; a zeroing has a place each. */
  private headAt(): number {
    return this.type === COMMAND.WRITE ? this.slot + this.range.coverBytes : this.slot;
  }

  private tailAt(): number {
    const offset = this.type === COMMAND.WRITE ? this.range.coverBytes : this.range.blockBytes;
    return this.slot + offset;
  }
}

/** What the client asked for, whatever it takes. */
function opOfType(type: number): ReqOp {
  switch (type) {
    case COMMAND.READ:
    case COMMAND.CACHE:
      return REQ_OP.READ;
    case COMMAND.WRITE:
      return REQ_OP.WRITE;
    case COMMAND.TRIM:
      return REQ_OP.DISCARD;
    case COMMAND.WRITE_ZEROES:
      return REQ_OP.WRITE_ZEROES;
    default:
      return REQ_OP.FLUSH;
  }
}

function opFlagsOf(commandFlags: number): number {
  let flags: number = REQ_FLAG.NONE;
  if ((commandFlags & COMMAND_FLAG.FUA) !== 0) flags |= REQ_FLAG.FUA;
  if ((commandFlags & COMMAND_FLAG.NO_HOLE) !== 0) flags |= REQ_FLAG.NOUNMAP;
  return flags;
}
