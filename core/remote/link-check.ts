import { ERRNO } from '../base/errno.ts';
import { SECTOR_SIZE } from '../base/units.ts';
import { Bio } from '../block/bio.ts';
import { REQ_OP } from '../block/op.ts';
import { Digest } from './digest.ts';
import type { RemoteLink } from './link.ts';
import type { Witness } from './witness.ts';

/** What one answer of a server comes to. */
export const VERDICT = { GO_ON: 0, OTHER: 1 } as const;
export type Verdict = (typeof VERDICT)[keyof typeof VERDICT];

/**
 * A new connection, before it is used: READs of the witness's places, one after the other. The first of a
 * device also takes the samples, when nothing of ours can be on its way.
 */
export class LinkCheck {
  readonly link: RemoteLink;
  /** What is to be read next. */
  readonly bio = new Bio();
  private readonly witness: Witness;
  private readonly sectors: number;
  private readonly blockSectors: number;
  private readonly digest = new Digest();
  private step = -1;
  private index = 0;
  private hasProof = false;
  private isSample = false;
  private serial = 0;

  constructor(link: RemoteLink, witness: Witness, sectors: number, blockSectors: number) {
    this.link = link;
    this.witness = witness;
    this.sectors = sectors;
    this.blockSectors = blockSectors;
    const page = new Uint8Array(witness.sampleSectors * SECTOR_SIZE);
    this.bio.op = REQ_OP.READ;
    this.bio.setBuffer(page, 0, page.length);
  }

  /** Sets `bio` to the next READ; false: there is none. */
  next(flushed: number): boolean {
    const { count } = this.witness;
    for (this.step += 1; this.step < 2 * count; this.step += 1) {
      const isSecondRound = this.step >= count;
      if (isSecondRound && this.hasProof) return false;
      this.index = isSecondRound ? this.step - count : this.step;
      if (this.witness.isSlow(this.index) === isSecondRound && this.setBio(flushed)) return true;
    }
    return false;
  }

  private setBio(flushed: number): boolean {
    const { witness, bio, index } = this;
    this.isSample = !witness.isWhole && witness.isSampleFree(index);
    if (this.isSample) {
      if (this.sectors < witness.sampleSectors) return false;
      bio.sector = witness.sampleSector(index, this.sectors, this.blockSectors);
      bio.sectors = witness.sampleSectors;
      return true;
    }
    if (!witness.isKnown(index, flushed)) return false;
    bio.sector = witness.sectorOf(index);
    bio.sectors = Math.max(witness.sectorsOf(index), this.blockSectors);
    this.serial = witness.serialOf(index);
    return true;
  }

  /** The READ has not ended in time: the next connection is asked for other places first. */
  late(): void {
    this.witness.wasLate(this.index);
  }

  /** The READ has ended. */
  judge(errno: number, acknowledged: number): Verdict {
    const { witness, index, bio, digest } = this;
    if (this.isSample) {
      // Another connection is in use already: a write of ours may have come between.
      if (errno !== ERRNO.OK || witness.isWhole) return VERDICT.GO_ON;
      digest.take(bio.vecs, witness.sampleSectors * SECTOR_SIZE);
      if (witness.isSampleFree(index)) {
        witness.sample(index, bio.sector, digest, acknowledged);
        this.hasProof = true;
        return VERDICT.GO_ON;
      }
    } else if (this.serial !== witness.serialOf(index)) return VERDICT.GO_ON;
    // A sector that cannot be read proves nothing: the leg is as bad as before, and no worse.
    if (errno !== ERRNO.OK) return VERDICT.GO_ON;
    digest.take(bio.vecs, witness.sectorsOf(index) * SECTOR_SIZE);
    if (!witness.matches(index, digest)) return VERDICT.OTHER;
    this.hasProof = true;
    return VERDICT.GO_ON;
  }
}
