import type { Prng } from '../../core/base/prng.ts';
import { at, wordAt } from './at.ts';
import type { Value } from './content.ts';

/** A block as somebody wrote it, not yet known to be on the platter. */
interface Version {
  readonly values: readonly Value[];
  /** When the write had ended, in the medium's own count; Infinity while it goes on. */
  endedAt: number;
}

/**
 * What a disk remembers: a platter and a volatile cache over it. A block (512 or 4096 bytes) is the
 * unit that a power cut cannot tear. The cache keeps every version since the last flush, and a power
 * cut may leave any one of them, block by block.
 */
export class Medium {
  readonly sectors: number;
  readonly blockSectors: number;
  /** On the platter. */
  readonly durable: Uint32Array;
  /** As read now, through the cache. */
  readonly visible: Uint32Array;
  private readonly versions = new Map<number, Version[]>();
  /** Blocks a failed flush has lost: still shown, never on the platter, gone when evicted. */
  private readonly doomed = new Set<number>();
  private count = 0;
  /** Blocks that were written since somebody has asked for it (`track`). */
  private landed: Set<number> | null = null;
  /** Changes from this sector on are counted: who reads the metadata there looks again only then. */
  watchFrom = Infinity;
  private watched = 0;
  /** Grows with every change of what is shown, on the platter, or may be left by a power cut. */
  touched = 0;

  constructor(sectors: number, blockSectors: number, fill: Value) {
    this.sectors = sectors;
    this.blockSectors = blockSectors;
    this.durable = new Uint32Array(sectors).fill(fill);
    this.visible = new Uint32Array(sectors).fill(fill);
  }

  /** How often something from `watchFrom` on has changed, on the platter or as it is read. */
  get changes(): number {
    return this.watched;
  }

  private noteChange(end: number): void {
    if (end > this.watchFrom) this.watched += 1;
  }

  /** As it came from the factory: nothing but zeros from here on. */
  clearFrom(sector: number): void {
    this.touched += 1;
    this.noteChange(Infinity);
    this.durable.fill(0, sector);
    this.visible.fill(0, sector);
  }

  /** It has been shorter, and is as long as before: from here on it holds zeros. */
  lose(sector: number): void {
    for (const block of [...this.versions.keys(), ...this.doomed]) {
      if ((block + 1) * this.blockSectors <= sector) continue;
      this.versions.delete(block);
      this.doomed.delete(block);
    }
    this.clearFrom(sector);
  }

  /** Bits rot while nobody looks: the sector has this content now. */
  damage(sector: number, value: Value): void {
    this.touched += 1;
    this.noteChange(sector + 1);
    this.durable[sector] = value;
    this.visible[sector] = value;
    this.versions.delete(Math.floor(sector / this.blockSectors));
  }

  /** An image of the platter, for a leg that is put back to an earlier day. */
  snapshot(): Uint32Array {
    return this.visible.slice();
  }

  putBack(image: Uint32Array): void {
    this.touched += 1;
    this.noteChange(Infinity);
    this.versions.clear();
    this.doomed.clear();
    this.durable.set(image);
    this.visible.set(image);
  }

  /** From now on it is known which blocks are written. */
  track(): void {
    this.landed = new Set();
  }

  /** The image, with all that was written since `track` on top. */
  over(image: Uint32Array): Uint32Array {
    const merged = image.slice();
    for (const block of this.landed ?? []) {
      const first = block * this.blockSectors;
      merged.set(this.visible.subarray(first, first + this.blockSectors), first);
    }
    return merged;
  }

  get now(): number {
    return this.count;
  }

  /** `values` of a whole block reach the cache. */
  land(block: number, values: readonly Value[]): void {
    const versions = this.versions.get(block);
    const version: Version = { values, endedAt: Infinity };
    if (versions === undefined) this.versions.set(block, [version]);
    else versions.push(version);
    this.doomed.delete(block);
    this.landed?.add(block);
    this.show(block, values);
  }

  private show(block: number, values: readonly Value[]): void {
    this.touched += 1;
    const first = block * this.blockSectors;
    this.noteChange(first + this.blockSectors);
    for (let i = 0; i < values.length; i += 1) this.visible[first + i] = at(values, i);
  }

  private persist(block: number, values: readonly Value[]): void {
    this.touched += 1;
    const first = block * this.blockSectors;
    this.noteChange(first + this.blockSectors);
    for (let i = 0; i < values.length; i += 1) this.durable[first + i] = at(values, i);
  }

  /** The block changes behind everybody's back, on the platter and as it is read. */
  rot(block: number, values: readonly Value[]): void {
    this.versions.delete(block);
    this.doomed.delete(block);
    this.persist(block, values);
    this.show(block, values);
  }

  /** The write of these blocks has ended: a flush sent from now on covers it. */
  ended(first: number, last: number): void {
    this.count += 1;
    for (let block = first; block <= last; block += 1) {
      for (const version of this.versions.get(block) ?? []) {
        if (version.endedAt === Infinity) version.endedAt = this.count;
      }
    }
  }

  /** Puts what had ended at `sentAt` on the platter; what came later stays in the cache. */
  flush(sentAt: number): void {
    for (const block of this.versions.keys()) this.flushBlock(block, sentAt);
  }

  /** FUA: whatever these blocks hold goes to the platter. */
  force(first: number, last: number): void {
    for (let block = first; block <= last; block += 1) this.flushBlock(block, Infinity);
  }

  /**
   * A failed flush loses what it could not write. As with Linux's page cache nobody sees that at
   * once: the block is shown as before until it is evicted, and no later flush writes it.
   */
  dropSome(prng: Prng): void {
    for (const block of [...this.versions.keys()]) {
      if (prng.ratio(1, 2)) continue;
      this.versions.delete(block);
      this.doomed.add(block);
      this.touched += 1;
    }
  }

  /** A failed flush has lost something that is shown all the same. */
  get isDoomed(): boolean {
    return this.doomed.size > 0;
  }

  /** What a failed flush has lost is shown as lost now. */
  evict(): void {
    this.touched += this.doomed.size;
    for (const block of this.doomed) {
      const first = block * this.blockSectors;
      this.noteChange(first + this.blockSectors);
      this.visible.set(this.durable.subarray(first, first + this.blockSectors), first);
    }
    this.doomed.clear();
  }

  /** Somebody else has had the disk, up to this sector. */
  overwrite(value: Value, end = this.sectors): void {
    this.touched += 1;
    this.versions.clear();
    this.doomed.clear();
    this.noteChange(end);
    this.durable.fill(value, 0, end);
    this.visible.fill(value, 0, end);
  }

  /**
   * The daemon died before it could record that this leg's flush had failed, and will believe the leg
   * again. No daemon can know better, so the medium is merciful: the blocks are in the cache again.
   */
  forgive(): void {
    this.touched += this.doomed.size;
    for (const block of this.doomed) {
      const first = block * this.blockSectors;
      const values = [...this.visible.subarray(first, first + this.blockSectors)];
      const versions = this.versions.get(block) ?? [];
      this.versions.set(block, [{ values, endedAt: this.count }, ...versions]);
    }
    this.doomed.clear();
  }

  /** The cache is gone; of each block one version, or none, had made it. */
  powerCut(prng: Prng): void {
    this.touched += 1;
    for (const [block, versions] of this.versions) {
      const made = prng.below(versions.length + 1);
      if (made > 0) this.persist(block, at(versions, made - 1).values);
    }
    this.noteChange(Infinity);
    this.versions.clear();
    this.doomed.clear();
    this.visible.set(this.durable);
  }

  /** A power cut can leave nothing else there. */
  isCertain(sector: number, value: Value): boolean {
    if (this.durable[sector] !== value) return false;
    const versions = this.versions.get(Math.floor(sector / this.blockSectors));
    if (versions === undefined) return true;
    const inside = sector % this.blockSectors;
    return versions.every((version) => version.values[inside] === value);
  }

  /** Every value that a power cut might leave in this sector. */
  eachPossible(sector: number, visit: (value: Value) => void): void {
    visit(wordAt(this.durable, sector));
    if (this.versions.size === 0) return;
    const versions = this.versions.get(Math.floor(sector / this.blockSectors));
    if (versions === undefined) return;
    const inside = sector % this.blockSectors;
    for (const version of versions) visit(at(version.values, inside));
  }

  private flushBlock(block: number, sentAt: number): void {
    const versions = this.versions.get(block);
    if (versions === undefined) return;
    let covered = versions.length;
    while (covered > 0 && at(versions, covered - 1).endedAt > sentAt) covered -= 1;
    if (covered === 0) return;
    this.persist(block, at(versions, covered - 1).values);
    if (covered === versions.length) this.versions.delete(block);
    else this.versions.set(block, versions.slice(covered));
  }
}
