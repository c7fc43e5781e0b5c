import { assert } from '../base/assert.ts';
import { SECTOR_SIZE } from '../base/units.ts';
import type { Bio, BioVec } from '../block/bio.ts';

/**
 * A page of a page list: any multiple of 512 bytes, as a rule 4096. The offset of the request
 * applies to the first only. A list may end in a node that points to itself: zeros of any length for
 * a WRITE (rule 28).
 */
export interface PageList {
  readonly page: Uint8Array;
  readonly next: PageList | null;
}

export const MEMORY_KIND = { NONE: 0, PAGE_LIST: 1, BVEC: 2, VM: 3 } as const;
export type MemoryKind = (typeof MEMORY_KIND)[keyof typeof MEMORY_KIND];

const NO_BYTES = new Uint8Array(0);
const NO_VECS: readonly BioVec[] = [];

/**
 * The memory of a request, of any kind, and a cursor over it. Every region consumes the same bytes
 * from the start (rule 2), or from its own part's start (rule 22), so the cursor is rewound for each.
 * Pieces are given to bios, never bytes copied.
 */
export class DmIoMemory {
  kind: MemoryKind = MEMORY_KIND.NONE;
  list: PageList | null = null;
  listOffset = 0;
  vecs: readonly BioVec[] = NO_VECS;
  vecCount = 0;
  bytes: Uint8Array = NO_BYTES;
  bytesOffset = 0;
  // The cursor: the current piece and how much of it is used.
  private page: PageList | null = null;
  private vecIndex = 0;
  private pieceDone = 0;

  /** No memory: FLUSH, DISCARD, WRITE_ZEROES. */
  setNone(): void {
    this.kind = MEMORY_KIND.NONE;
    this.list = null;
    this.page = null;
    this.vecs = NO_VECS;
    this.vecCount = 0;
    this.bytes = NO_BYTES;
  }

  /** `offset`: bytes, below the length of the first page, a multiple of 512. */
  setPageList(list: PageList, offset: number): void {
    this.setNone();
    this.kind = MEMORY_KIND.PAGE_LIST;
    this.list = list;
    this.listOffset = offset;
  }

  /** The first `count` pieces of `vecs`; each length a multiple of 512. */
  setVecs(vecs: readonly BioVec[], count: number): void {
    this.setNone();
    this.kind = MEMORY_KIND.BVEC;
    this.vecs = vecs;
    this.vecCount = count;
  }

  /** One contiguous buffer from `offset` on. */
  setBytes(bytes: Uint8Array, offset: number): void {
    this.setNone();
    this.kind = MEMORY_KIND.VM;
    this.bytes = bytes;
    this.bytesOffset = offset;
  }

  /** Puts the cursor `startBytes` into the memory. */
  rewind(startBytes: number): void {
    this.page = this.list;
    this.vecIndex = 0;
    this.pieceDone = this.kind === MEMORY_KIND.PAGE_LIST ? this.listOffset : 0;
    if (startBytes > 0) this.advance(startBytes);
  }

  /**
   * Gives the bio the next pieces: at most `maxSectors` sectors in at most `maxSegments` pieces.
   * Returns the sectors given; the next call goes on behind them. When the segments run out inside
   * a logical block the odd sectors are left for the next bio (rule 20).
   */
  fill(bio: Bio, maxSectors: number, maxSegments: number, blockSectors: number): number {
    switch (this.kind) {
      case MEMORY_KIND.VM:
        bio.setBuffer(this.bytes, this.bytesOffset + this.pieceDone, maxSectors * SECTOR_SIZE);
        this.pieceDone += maxSectors * SECTOR_SIZE;
        return maxSectors;
      case MEMORY_KIND.BVEC:
        if (this.vecIndex === 0 && this.pieceDone === 0 && this.vecCount <= maxSegments) {
          const whole = this.wholeTable(maxSectors);
          if (whole) return this.share(bio, maxSectors);
        }
        return this.gather(bio, maxSectors, maxSegments, blockSectors);
      case MEMORY_KIND.PAGE_LIST:
        return this.gather(bio, maxSectors, maxSegments, blockSectors);
      case MEMORY_KIND.NONE:
        assert(false, 'a request that moves data has no memory');
    }
  }

  /** True when the table, as it is, carries at least `sectors`. */
  private wholeTable(sectors: number): boolean {
    let bytes = 0;
    const wanted = sectors * SECTOR_SIZE;
    for (let i = 0; i < this.vecCount && bytes < wanted; i += 1) bytes += this.vecs[i]!.length;
    return bytes >= wanted;
  }

  /** The common case costs nothing: the bio borrows the caller's table. */
  private share(bio: Bio, sectors: number): number {
    bio.vecs = this.vecs;
    bio.vecCount = this.vecCount;
    this.advance(sectors * SECTOR_SIZE);
    return sectors;
  }

  /** Copies pieces (not bytes) into the bio's own table. */
  private gather(bio: Bio, maxSectors: number, maxSegments: number, blockSectors: number): number {
    const startPage = this.page;
    const startIndex = this.vecIndex;
    const startDone = this.pieceDone;
    let wanted = maxSectors * SECTOR_SIZE;
    let taken = 0;
    let count = 0;
    while (wanted > 0 && count < maxSegments) {
      const vec = bio.ownVec(count);
      this.currentPiece(vec);
      assert(vec.length > 0, 'an empty piece of memory');
      if (vec.length > wanted) vec.length = wanted;
      wanted -= vec.length;
      taken += vec.length;
      count += 1;
      this.advance(vec.length);
    }
    // A cut lies between logical blocks: the odd sectors go to the next bio, whose pieces begin there;
    // that this bio's table holds them too does no harm (it moves `sectors`, no more).
    // What ends where the region ends is handed on as it is, and so is a block in more pieces than a
    // bio may have: the device answers both with EINVAL, and the region's bit says so.
    const surplus = wanted > 0 ? taken % (blockSectors * SECTOR_SIZE) : 0;
    if (surplus > 0 && taken > surplus) {
      taken -= surplus;
      this.page = startPage;
      this.vecIndex = startIndex;
      this.pieceDone = startDone;
      this.advance(taken);
    }
    bio.vecs = bio.ownVecs;
    bio.vecCount = count;
    return taken / SECTOR_SIZE;
  }

  private currentPiece(vec: BioVec): void {
    if (this.kind === MEMORY_KIND.BVEC) {
      assert(this.vecIndex < this.vecCount, 'bio vectors are shorter than the region');
      const source = this.vecs[this.vecIndex]!;
      vec.page = source.page;
      vec.offset = source.offset + this.pieceDone;
      vec.length = source.length - this.pieceDone;
      return;
    }
    assert(this.page !== null, 'the page list is shorter than the region');
    vec.page = this.page.page;
    vec.offset = this.pieceDone;
    vec.length = this.page.page.length - this.pieceDone;
  }

  /** Moves the cursor on, over any number of pieces. */
  private advance(bytes: number): void {
    if (this.kind === MEMORY_KIND.VM) {
      this.pieceDone += bytes;
      return;
    }
    let rest = bytes;
    while (rest > 0) {
      const left = this.pieceLength() - this.pieceDone;
      if (rest < left) {
        this.pieceDone += rest;
        return;
      }
      rest -= left;
      this.pieceDone = 0;
      if (this.kind === MEMORY_KIND.BVEC) this.vecIndex += 1;
      else this.page = this.page!.next;
    }
  }

  private pieceLength(): number {
    if (this.kind === MEMORY_KIND.BVEC) {
      assert(this.vecIndex < this.vecCount, 'bio vectors are shorter than the region');
      return this.vecs[this.vecIndex]!.length;
    }
    assert(this.page !== null, 'the page list is shorter than the region');
    return this.page.page.length;
  }
}
