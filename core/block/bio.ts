import { REQ_FLAG, REQ_OP, type ReqOp } from './op.ts';
import type { Loan } from './loan.ts';
import type { Completion } from './loop.ts';

/** A piece of memory: `length` bytes of `page` from `offset` on. */
export class BioVec {
  page: Uint8Array;
  offset: number;
  length: number;

  constructor(page: Uint8Array, offset: number, length: number) {
    this.page = page;
    this.offset = offset;
    this.length = length;
  }
}

/** Who is told when a bio has ended. Called once a submit, from the loop, never from inside submit. */
export interface BioOwner {
  /** `bio.error` says how it went: 0, or an errno. */
  endIo(bio: Bio): void;
}

/** Who must know when the bios it was given have ended: a mapped device, to be suspended. */
export interface BioCounter {
  bioEnded(): void;
}

const NO_BYTES = new Uint8Array(0);

const NO_OWNER: BioOwner = {
  endIo(): void {
    throw new Error('a bio without an owner has ended');
  },
};

/**
 * One request to one device. Its owner fills it, hands it to `device.submit`, and leaves it and its
 * memory alone until `endIo`.
 *
 * READ and WRITE move the first `sectors` * 512 bytes of vecs[0 .. vecCount); the table may hold
 * more than that (a shared one is longer than the part a region needs). Other operations have no
 * memory, and `vecCount` is 0.
 */
export class Bio implements Completion {
  op: ReqOp = REQ_OP.READ;
  flags: number = REQ_FLAG.NONE;
  sector = 0;
  sectors = 0;
  vecs: readonly BioVec[];
  vecCount = 0;
  /** 0 while it is well; else the first errno that befell it. */
  error = 0;
  owner: BioOwner = NO_OWNER;
  /** The owner's own number: dm-io keeps the region's index here. */
  tag = 0;
  /** The mapped device the bio is under way in; cleared when it ends. */
  counter: BioCounter | null = null;
  /** Whose request it comes of, and the memory's fate; null: nobody's who asks. */
  loan: Loan | null = null;
  /** A table of its own, for whoever cuts a longer one. Grows once, is kept. */
  readonly ownVecs: BioVec[] = [];

  constructor() {
    this.vecs = this.ownVecs;
  }

  /** The n-th piece of the bio's own table, made when it is asked for the first time. */
  ownVec(index: number): BioVec {
    let vec = this.ownVecs[index];
    if (vec === undefined) {
      // eslint-disable-next-line no-restricted-syntax -- once for each piece a bio ever has
      vec = new BioVec(NO_BYTES, 0, 0);
      this.ownVecs[index] = vec;
    }
    return vec;
  }

  /** Makes the bio's own table one piece long. */
  setBuffer(page: Uint8Array, offset: number, length: number): void {
    const vec = this.ownVec(0);
    vec.page = page;
    vec.offset = offset;
    vec.length = length;
    this.vecs = this.ownVecs;
    this.vecCount = 1;
  }

  /** How a bio ends: called by the loop, or by a target that is itself in completion context. */
  complete(): void {
    this.uncount();
    this.owner.endIo(this);
  }

  /** The first step of every end: whoever overrides `complete` calls it. */
  protected uncount(): void {
    const counter = this.counter;
    if (counter === null) return;
    this.counter = null;
    counter.bioEnded();
  }
}
