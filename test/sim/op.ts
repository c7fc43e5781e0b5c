import { SECTOR_SIZE } from '../../core/base/units.ts';
import { Bio, type BioOwner } from '../../core/block/bio.ts';
import { opName, REQ_OP, type ReqOp } from '../../core/block/op.ts';
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
export class ClientOp implements BioOwner {
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
  /** The model's entries of a write, by sector. */
  entries: Entry[] = [];
  calledMs = 0;
  error = 0;
  ended = false;
  /** What the model says to each sector a read has brought; set before the checkers look. */
  verdicts: Verdict[] = [];
  private readonly bio = new Bio();
  private readonly onEnd: (op: ClientOp) => void;

  constructor(
    shape: { op: ReqOp; flags: number; sector: number; sectors: number },
    id: number,
    value: Value,
    from: number,
    recorderFailures: number,
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
    this.onEnd = onEnd;
  }

  get isWrite(): boolean {
    return this.op !== REQ_OP.READ && this.op !== REQ_OP.FLUSH;
  }

  /** The value each sector holds once a write has taken effect. */
  get effect(): Value {
    return this.op === REQ_OP.WRITE ? this.value : ZEROS;
  }

  /** `pieceSectors`: how the memory is cut up. */
  makeBio(pieceSectors: number, pages: PagePool): Bio {
    const { bio } = this;
    bio.op = this.op;
    bio.flags = this.flags;
    bio.sector = this.sector;
    bio.sectors = this.sectors;
    bio.owner = this;
    bio.vecCount = 0;
    if (this.op === REQ_OP.READ || this.op === REQ_OP.WRITE)
      this.makeMemory(pieceSectors, pages.get());
    return bio;
  }

  endIo(bio: Bio): void {
    if (this.ended) throw new Error('a bio has ended twice');
    this.ended = true;
    this.error = bio.error;
    this.onEnd(this);
  }

  eachRead(visit: (sector: number, value: Value) => void): void {
    eachSector(this.bio, (words, from, index) => {
      visit(this.sector + index, decodeSector(words, from, this.sector + index));
    });
  }

  /** The memory is the client's again, and it writes what it likes into it. */
  poison(): void {
    if (this.bio.vecCount > 0) this.fill(GARBAGE);
  }

  /** False: somebody has written into memory that was no longer his. */
  isStillPoisoned(): boolean {
    if (this.bio.vecCount === 0) return true;
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
    if (this.bio.vecCount > 0) pages.put(this.bio.ownVec(0).page);
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
