import { splitCachedFolio } from './syscall.ts';

/** Writes up to this long are many pages' worth of trouble in a large folio. */
export const SMALL_WRITE_BYTES = 16 * 1024;
/** One attempt for this much of the file: a folio may be longer, and is then split by the first. */
const UNIT_BYTES = 256 * 1024;
/** Small writes until all is tried again: what was dirty is clean by then, or was read anew. */
const LEAST_ROUND = 2 ** 18;
/** ... and per unit of the file, so that attempts stay a small part of many writes to a long file. */
const ROUND_PER_UNIT = 64;

/** Splits the folio that holds the page at `offset`, if there is one. */
export type SplitFolio = (fd: number, offset: number) => void;

/**
 * Keeps small writes to the page cache fast on ext4. Since 6.16 it keeps files in folios of up to
 * 2 MiB, and for a write of 4 KiB walks the whole folio's list of buffer heads: 20-70 us instead of
 * 1.5. Nothing in the interface says "small folios here"; but MADV_COLD on one mapped page of a folio
 * makes the kernel split it. So before the first small write to a stretch of the file we do that: a
 * hint about memory, which never changes a byte.
 *
 * A dirty folio is not split, so it must be the first write; and from time to time all is tried again.
 */
export class FolioSplitter {
  private readonly fd: number;
  private readonly split: SplitFolio;
  /** One bit a unit: it was tried in this round. */
  private readonly tried: Uint32Array;
  private readonly round: number;
  private left: number;

  constructor(fd: number, fileBytes: number, split: SplitFolio = splitCachedFolio) {
    this.fd = fd;
    this.split = split;
    const units = Math.ceil(fileBytes / UNIT_BYTES);
    this.tried = new Uint32Array(Math.ceil(units / 32));
    this.round = Math.max(LEAST_ROUND, units * ROUND_PER_UNIT);
    this.left = this.round;
  }

  /** Before a small write in place. */
  beforeWrite(offset: number): void {
    this.left -= 1;
    if (this.left === 0) this.beginRound();
    const unit = Math.floor(offset / UNIT_BYTES);
    const word = unit >>> 5;
    const bit = 1 << (unit & 31);
    const bits = this.tried[word]!;
    if ((bits & bit) !== 0) return;
    this.tried[word] = bits | bit;
    this.split(this.fd, offset);
  }

  private beginRound(): void {
    this.tried.fill(0);
    this.left = this.round;
  }
}
