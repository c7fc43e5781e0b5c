import { assert } from '../base/assert.ts';
import { Pool } from '../base/pool.ts';
import { Ring } from '../base/ring.ts';
import { SECTOR_SIZE } from '../base/units.ts';
import { Bio, type BioCounter } from '../block/bio.ts';
import { bioError } from '../block/device.ts';
import type { BlockDevice } from '../block/device.ts';
import type { QueueLimits } from '../block/limits.ts';
import type { Completion, Loop } from '../block/loop.ts';
import { hasData, REQ_OP } from '../block/op.ts';
import { RUN, type Run } from '../block/run.ts';
import type { Table, TableEntry } from './table.ts';
import type { Target } from './target.ts';

/** Bios cut at target boundaries at once, and the pieces they are cut into; more wait. */
export interface MappedDevicePools {
  readonly splits: number;
  readonly children: number;
}

const DEFAULT_POOLS: MappedDevicePools = { splits: 256, children: 1024 };
const RESERVE = 16;

/**
 * A block device made of targets (the kernel's mapped_device). A bio inside one target is handed on
 * as it is. One that crosses a boundary is cut into children, one a target, and ends with the first
 * errno among them when the last has ended. A FLUSH goes to every target.
 *
 * It can be suspended: `hold` keeps new bios back, `swap` puts another table under them, `release`
 * lets them go. What is held is the memory of who sent it, so a session that may send no more than
 * its share bounds it.
 *
 * Children come from a pool. Bios that must be cut are served in order of arrival; the one at the
 * head goes on, half sent, as children come back. So one child is enough for everything to end.
 */
export class MappedDevice implements BlockDevice, BioCounter {
  readonly name: string;
  readonly loop: Loop;
  /** Bios given to targets, whole or cut, that have not ended. */
  bioCount = 0;
  private live: Table;
  private holding = false;
  /** Bios that came while it was held, in order of arrival. */
  private readonly held = new Ring<Bio>(16);
  private idle: Completion | null = null;
  private readonly splits: Pool<Split>;
  private readonly children: Pool<ChildBio>;
  /** Bios to be cut that have no split yet. */
  private readonly waiting = new Ring<Bio>(16);
  /** The one split whose children are not all sent. */
  private current: Split | null = null;

  constructor(name: string, table: Table, loop: Loop, pools: MappedDevicePools = DEFAULT_POOLS) {
    this.name = name;
    this.loop = loop;
    this.live = table;
    this.splits = new Pool(Math.min(RESERVE, pools.splits), pools.splits, () => new Split());
    this.children = new Pool(
      Math.min(RESERVE, pools.children),
      pools.children,
      () => new ChildBio(this),
    );
  }

  get table(): Table {
    return this.live;
  }

  get sectors(): number {
    return this.live.sectors;
  }

  get limits(): QueueLimits {
    return this.live.limits;
  }

  get isHeld(): boolean {
    return this.holding;
  }

  /** Bios kept back until `release`. */
  get heldCount(): number {
    return this.held.length;
  }

  /** Bios that were cut, or wait for it, and have not ended. Whole bios are not counted. */
  get splitsInFlight(): number {
    return this.splits.inUse + this.waiting.length;
  }

  /** From now on bios are kept back; `idle` completes when none is under way any more. */
  hold(idle: Completion): void {
    assert(!this.holding, 'a mapped device was held twice');
    this.holding = true;
    if (this.bioCount === 0) this.loop.defer(idle);
    else this.idle = idle;
  }

  /** Another table; bios kept back will meet it. */
  swap(table: Table): void {
    assert(this.holding && this.bioCount === 0, 'a table was swapped under bios');
    this.live = table;
  }

  release(): void {
    assert(this.holding && this.idle === null, 'a mapped device was released that was not idle');
    this.holding = false;
    // Not those that come meanwhile: they go straight on.
    for (let left = this.held.length; left > 0; left -= 1) this.accept(this.held.shift()!);
  }

  submit(bio: Bio): void {
    if (this.holding) this.held.push(bio);
    else this.accept(bio);
  }

  /** For who has the device held and wants a bio done all the same. */
  submitHeld(bio: Bio): void {
    assert(this.holding, 'a bio past a hold that is none');
    this.accept(bio);
  }

  bioEnded(): void {
    assert(this.bioCount > 0, 'more bios ended than were given');
    this.bioCount -= 1;
    const idle = this.idle;
    if (this.bioCount > 0 || idle === null) return;
    this.idle = null;
    this.loop.defer(idle);
  }

  private accept(bio: Bio): void {
    const error = bioError(this, bio);
    if (error !== 0 || (bio.sectors === 0 && bio.op !== REQ_OP.FLUSH)) {
      bio.error = error;
      this.loop.defer(bio);
      return;
    }
    assert(bio.counter === null, 'a bio was given to two mapped devices');
    bio.counter = this;
    this.bioCount += 1;
    const target = this.onlyTargetOf(bio);
    if (target !== null) {
      target.map(bio);
      return;
    }
    this.waiting.push(bio);
    this.dispatch();
  }

  allocationAt(sector: number, sectors: number, run: Run): void {
    const entry = this.table.find(sector);
    const inside = Math.min(sectors, entry.endSector - sector);
    if (entry.target.allocationAt === undefined) run.set(inside, RUN.DATA);
    else entry.target.allocationAt(sector, inside, run);
  }

  mirrorStateAt(sector: number, sectors: number, run: Run): void {
    const entry = this.table.find(sector);
    const inside = Math.min(sectors, entry.endSector - sector);
    if (entry.target.mirrorStateAt === undefined) run.set(inside, 0);
    else entry.target.mirrorStateAt(sector, inside, run);
  }

  /** True: some part of it is a mirror. */
  get hasMirrorState(): boolean {
    const { entries } = this.table;
    for (let i = 0; i < entries.length; i += 1) {
      if (entries[i]!.target.mirrorStateAt !== undefined) return true;
    }
    return false;
  }

  /** A child has ended; called in completion context. */
  childEnded(child: ChildBio): void {
    const split = child.split;
    assert(split !== null, 'a child bio ended twice');
    if (child.error !== 0 && split.error === 0) split.error = child.error;
    child.split = null;
    this.children.put(child);
    this.dropReference(split);
    this.dispatch();
  }

  /** Null when the bio concerns several targets. */
  private onlyTargetOf(bio: Bio): Target | null {
    const isFlush = bio.op === REQ_OP.FLUSH;
    if (isFlush && this.table.entries.length > 1) return null;
    const entry = this.table.find(isFlush ? 0 : bio.sector);
    return isFlush || bio.sector + bio.sectors <= cutOf(entry, bio) ? entry.target : null;
  }

  /** Sends what can be sent. What cannot waits for a child or a split to come back. */
  private dispatch(): void {
    for (;;) {
      const split = this.current ?? this.beginNext();
      if (split === null) return;
      this.current = split;
      if (!this.sendRest(split)) return;
      this.current = null;
      // A child just sent cannot have ended: endings wait for the loop.
      assert(split.references > 1, 'a child bio ended inside map');
      this.dropReference(split);
    }
  }

  /** Null: nobody waits, or no split is free. */
  private beginNext(): Split | null {
    const bio = this.waiting.peek();
    if (bio === undefined) return null;
    const split = this.splits.get();
    if (split === undefined) return null;
    this.waiting.shift();
    split.begin(bio);
    return split;
  }

  /** False: the pool of children ran out. */
  private sendRest(split: Split): boolean {
    const bio = split.parent();
    return bio.op === REQ_OP.FLUSH ? this.sendFlushes(split, bio) : this.sendPieces(split, bio);
  }

  private sendFlushes(split: Split, bio: Bio): boolean {
    const entries = this.table.entries;
    for (
      let entry = entries[split.entriesDone];
      entry !== undefined;
      entry = entries[split.entriesDone]
    ) {
      const child = this.children.get();
      if (child === undefined) return false;
      child.begin(split, bio, 0, 0);
      split.entriesDone += 1;
      entry.target.map(child);
    }
    return true;
  }

  private sendPieces(split: Split, bio: Bio): boolean {
    while (split.sectorsDone < bio.sectors) {
      const child = this.children.get();
      if (child === undefined) return false;
      const sector = bio.sector + split.sectorsDone;
      const entry = this.table.find(sector);
      const leftOfBio = bio.sectors - split.sectorsDone;
      child.op = bio.op;
      child.sector = sector;
      const leftOfTarget = cutOf(entry, child) - sector;
      const sectors = leftOfBio < leftOfTarget ? leftOfBio : leftOfTarget;
      child.begin(split, bio, sector, sectors);
      if (hasData(bio.op)) split.cutVecs(child, sectors * SECTOR_SIZE);
      split.sectorsDone += sectors;
      entry.target.map(child);
    }
    return true;
  }

  private dropReference(split: Split): void {
    assert(split.references > 0, 'a split ended twice');
    split.references -= 1;
    if (split.references > 0) return;
    const bio = split.parent();
    bio.error = split.error;
    split.bio = null;
    this.splits.put(split);
    bio.complete();
  }
}

/** The sector before which a bio must end that begins at `bio.sector`. */
function cutOf(entry: TableEntry, bio: Bio): number {
  const cut = entry.target.cutSectors;
  if (cut === undefined || !hasData(bio.op)) return entry.endSector;
  const start = bio.sector - entry.startSector;
  const end = bio.sector + cut - (start % cut);
  return end < entry.endSector ? end : entry.endSector;
}

/** A bio that is being cut, and how far that has come. */
class Split {
  bio: Bio | null = null;
  /** The first errno among the children. */
  error = 0;
  /** Children under way, plus one until the last is sent. */
  references = 0;
  /** Data: sectors given to children. FLUSH: targets that were told. */
  sectorsDone = 0;
  entriesDone = 0;
  /** Where the next child's memory begins. */
  private vecIndex = 0;
  private vecDoneBytes = 0;

  begin(bio: Bio): void {
    assert(this.bio === null, 'a split is in use');
    this.bio = bio;
    this.error = 0;
    this.references = 1;
    this.sectorsDone = 0;
    this.entriesDone = 0;
    this.vecIndex = 0;
    this.vecDoneBytes = 0;
  }

  parent(): Bio {
    assert(this.bio !== null, 'a split without its bio');
    return this.bio;
  }

  /** Gives the child the next `bytes` of the memory: pieces are copied into its table, not bytes. */
  cutVecs(child: ChildBio, bytes: number): void {
    const bio = this.parent();
    let restBytes = bytes;
    let count = 0;
    while (restBytes > 0) {
      const source = bio.vecs[this.vecIndex];
      assert(source !== undefined, 'the memory of a bio is shorter than its range');
      assert(this.vecIndex < bio.vecCount, 'a bio moves more bytes than its pieces hold');
      const leftBytes = source.length - this.vecDoneBytes;
      const takenBytes = restBytes < leftBytes ? restBytes : leftBytes;
      const vec = child.ownVec(count);
      vec.page = source.page;
      vec.offset = source.offset + this.vecDoneBytes;
      vec.length = takenBytes;
      count += 1;
      restBytes -= takenBytes;
      this.vecDoneBytes += takenBytes;
      if (takenBytes < leftBytes) continue;
      this.vecIndex += 1;
      this.vecDoneBytes = 0;
    }
    child.vecs = child.ownVecs;
    child.vecCount = count;
  }
}

class ChildBio extends Bio {
  split: Split | null = null;
  private readonly device: MappedDevice;

  constructor(device: MappedDevice) {
    super();
    this.device = device;
  }

  /** Flags are the parent's: FUA asks the same of every piece. */
  begin(split: Split, parent: Bio, sector: number, sectors: number): void {
    assert(this.split === null, 'a child bio is in use');
    this.split = split;
    this.op = parent.op;
    this.flags = parent.flags;
    this.loan = parent.loan;
    this.sector = sector;
    this.sectors = sectors;
    this.vecCount = 0;
    this.error = 0;
    split.references += 1;
  }

  override complete(): void {
    this.device.childEnded(this);
  }
}
