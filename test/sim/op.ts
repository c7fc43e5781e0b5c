import { SECTOR_SIZE } from '../../core/base/units.ts';
import { Bio, type BioOwner } from '../../core/block/bio.ts';
import { opName, REQ_OP, type ReqOp } from '../../core/block/op.ts';
import { Loan, type Issuer } from '../../core/block/loan.ts';
import {
  decodeSector,
  eachSector,
  encodeSector,
  GARBAGE,
  wordsOf,
  ZEROS,
  type Value,
} from './content.ts';
import type { Entry, Verdict } from './model.ts';
import type { EndedOp } from './tell-model.ts';

/** Memory for requests, used again: allocation is what a simulation spends most of its time on. */
export class PagePool {
  private readonly free: Uint8Array[] = [];
  private readonly bytes: number;

  constructor(bytes: number) {
    this.bytes = bytes;
  }

  get(): Uint8Array {
    return this.free.pop() ?? new Uint8Array(this.bytes);
  }

  put(page: Uint8Array): void {
    this.free.push(page);
  }
}

/** A request of a client, from its call to its end. */
export class ClientOp implements BioOwner, EndedOp {
  readonly id: number;
  readonly op: ReqOp;
  readonly flags: number;
  readonly sector: number;
  readonly sectors: number;
  /** What a WRITE writes. */
  readonly value: Value;
  /** The world's step of the call. */
  readonly from: number;
  /** Failed attempts of the recorder at the call: one more excuses an error. */
  readonly recorderFailures: number;
  /** The client it is of; over connections: the one it was sent on. */
  issuer: Issuer;
  /** The model's entries of a write, by sector. */
  entries: Entry[] = [];
  calledMs = 0;
  /** Losses of this life at the call. */
  lossesBefore = 0;
  error = 0;
  ended = false;
  /** What the model says to each sector a read has brought; set before the checkers look. */
  verdicts: Verdict[] = [];
  /** How the memory is cut up. */
  pieceSectors = 1;
  /** It is to be sent once more, with other memory. */
  onRetry: () => void = () => undefined;
  private loan: Loan;
  /** At its end somebody could still use its memory: nobody has poisoned it. */
  private isLent = false;
  private pages: PagePool | null = null;
  private readonly bio = new Bio();
  private readonly onEnd: (op: ClientOp) => void;

  constructor(
    shape: { op: ReqOp; flags: number; sector: number; sectors: number },
    id: number,
    value: Value,
    from: number,
    recorderFailures: number,
    issuer: Issuer,
    onEnd: (op: ClientOp) => void,
  ) {
    this.op = shape.op;
    this.flags = shape.flags;
    this.sector = shape.sector;
    this.sectors = shape.sectors;
    this.id = id;
    this.value = value;
    this.from = from;
    this.recorderFailures = recorderFailures;
    this.issuer = issuer;
    this.loan = new Loan(issuer);
    this.onEnd = onEnd;
  }

  get isWrite(): boolean {
    return this.op !== REQ_OP.READ && this.op !== REQ_OP.FLUSH;
  }

  /** The value each sector holds once a write has taken effect. */
  get effect(): Value {
    return this.op === REQ_OP.WRITE ? this.value : ZEROS;
  }

  makeBio(pages: PagePool): Bio {
    const { bio, pieceSectors } = this;
    this.pages = pages;
    bio.error = 0;
    bio.op = this.op;
    bio.flags = this.flags;
    bio.sector = this.sector;
    bio.sectors = this.sectors;
    bio.owner = this;
    bio.loan = this.loan;
    bio.vecCount = 0;
    if (this.op === REQ_OP.READ || this.op === REQ_OP.WRITE)
      this.makeMemory(pieceSectors, pages.get());
    return bio;
  }

  endIo(bio: Bio): void {
    if (this.ended) throw new Error('a bio has ended twice');
    if (bio.error !== 0 && this.op === REQ_OP.READ && this.loan.wasOut) {
      // As a session does: the memory is somebody else's until he says so; he may have by now.
      if (this.loan.isOut) this.leaveMemory();
      else this.pages?.put(this.bio.ownVec(0).page);
      this.loan.renew();
      this.onRetry();
      return;
    }
    this.ended = true;
    this.error = bio.error;
    this.onEnd(this);
  }

  eachRead(visit: (sector: number, value: Value) => void): void {
    eachSector(this.bio, (words, from, index) => {
      visit(this.sector + index, decodeSector(words, from, this.sector + index));
    });
  }

  /** Somebody was given up on who may still use its memory. */
  get isMemoryOut(): boolean {
    return this.loan.isOut;
  }

  private leaveMemory(): void {
    const { page } = this.bio.ownVec(0);
    const { pages } = this;
    this.loan.leave(() => pages?.put(page));
    this.loan = new Loan(this.issuer);
  }

  /** The memory is the client's again, and it writes what it likes into it; but for what is lent. */
  poison(): void {
    this.isLent = this.loan.isOut;
    if (this.isLent) return;
    if (this.bio.vecCount > 0) this.fill(GARBAGE);
  }

  /** False: somebody has written into memory that was no longer his. */
  isStillPoisoned(): boolean {
    if (this.bio.vecCount === 0 || this.isLent) return true;
    const { page } = this.bio.ownVec(0);
    const words = wordsOf(page);
    const end = (page.byteOffset + this.sectors * SECTOR_SIZE) / 4;
    for (let from = page.byteOffset / 4; from < end; from += 128) {
      if (words[from] !== GARBAGE || words[from + 127] !== GARBAGE) return false;
    }
    return true;
  }

  toString(): string {
    const fua = this.flags === 0 ? '' : ' FUA';
    const range = this.op === REQ_OP.FLUSH ? '' : ` ${this.sector}+${this.sectors}`;
    const value = this.op === REQ_OP.WRITE ? ` =${this.value}` : '';
    return `#${this.id} ${opName(this.op)}${fua}${range}${value}`;
  }

  /** Gives the memory back: nobody looks at it any more. */
  retire(pages: PagePool): void {
    if (this.bio.vecCount === 0) return;
    if (this.loan.isOut) this.leaveMemory();
    else pages.put(this.bio.ownVec(0).page);
  }

  private makeMemory(pieceSectors: number, page: Uint8Array): void {
    let index = 0;
    let offset = 0;
    for (let rest = this.sectors; rest > 0; rest -= pieceSectors) {
      const length = Math.min(rest, pieceSectors) * SECTOR_SIZE;
      const vec = this.bio.ownVec(index);
      vec.page = page;
      vec.offset = offset;
      vec.length = length;
      offset += length;
      index += 1;
    }
    this.bio.vecs = this.bio.ownVecs;
    this.bio.vecCount = index;
    this.fill(this.op === REQ_OP.WRITE ? this.value : GARBAGE);
  }

  private fill(value: Value): void {
    eachSector(this.bio, (words, from, index) => {
      encodeSector(words, from, value, this.sector + index);
    });
  }
}
