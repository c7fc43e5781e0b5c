import type { Prng } from '../../core/base/prng.ts';
import { bytesOfSectors } from '../../core/base/units.ts';
import type { Bio } from '../../core/block/bio.ts';
import { bioError, type BlockDevice } from '../../core/block/device.ts';
import { DEFAULT_LIMITS, type QueueLimits } from '../../core/block/limits.ts';
import type { Completion, Loop } from '../../core/block/loop.ts';
import { REQ_OP, type ReqOp } from '../../core/block/op.ts';

export interface MemoryDeviceOptions {
  readonly loop: Loop;
  readonly sectors: number;
  readonly name?: string;
  readonly limits?: Partial<QueueLimits>;
  /**
   * With both, each bio takes effect and ends after its own 0..maxDelayTurns further runs of the
   * loop: out of order, as a real device may. Without, it takes effect in submit and ends in the
   * next run.
   */
  readonly prng?: Prng;
  readonly maxDelayTurns?: number;
}

/** A bio as a test sees it later: the fields of the record, copied. */
export interface SeenBio {
  readonly op: ReqOp;
  readonly flags: number;
  readonly sector: number;
  readonly sectors: number;
}

interface Pending {
  readonly bio: Bio;
  turns: number;
}

/**
 * A disk of plain memory that keeps the contract of core/block/device.ts, and can be slow, out of
 * order or broken. A failed bio changes nothing.
 */
export class MemoryDevice implements BlockDevice {
  readonly name: string;
  readonly sectors: number;
  readonly limits: QueueLimits;
  readonly loop: Loop;
  /** The content. Tests may look and poke. */
  readonly bytes: Uint8Array;
  /** Bios submitted and not yet ended. */
  inFlight = 0;
  /** Every bio submitted, when a test sets it to an array first. */
  seen: SeenBio[] | undefined;
  /** Decides how a bio ends: 0 is well, else an errno. Asked in submit. */
  fault: (bio: Bio) => number = () => 0;

  private readonly prng: Prng | undefined;
  private readonly maxDelayTurns: number;
  private pending: Pending[] = [];
  private held: Bio[] | undefined;
  private ticking = false;
  private readonly tick: Completion = { complete: () => this.runTurn() };

  constructor(options: MemoryDeviceOptions) {
    this.name = options.name ?? 'memory';
    this.sectors = options.sectors;
    this.limits = { ...DEFAULT_LIMITS, ...options.limits };
    this.loop = options.loop;
    this.bytes = new Uint8Array(bytesOfSectors(options.sectors));
    this.prng = options.prng;
    this.maxDelayTurns = options.maxDelayTurns ?? 0;
  }

  submit(bio: Bio): void {
    this.inFlight += 1;
    this.seen?.push({ op: bio.op, flags: bio.flags, sector: bio.sector, sectors: bio.sectors });
    bio.error = bioError(this, bio);
    if (bio.error === 0) bio.error = this.fault(bio);
    if (this.held !== undefined) {
      this.held.push(bio);
    } else if (this.prng !== undefined && this.maxDelayTurns > 0) {
      this.pending.push({ bio, turns: this.prng.between(0, this.maxDelayTurns) });
      this.startTicking();
    } else {
      this.finish(bio);
    }
  }

  /** From now on bios neither take effect nor end, until `release`. */
  hold(): void {
    this.held ??= [];
  }

  get heldCount(): number {
    return this.held?.length ?? 0;
  }

  /** Lets `count` of the held bios go, the oldest first; all of them end the holding. */
  release(count = Infinity): void {
    const held = this.held ?? [];
    for (const bio of held.splice(0, Math.min(count, held.length))) this.finish(bio);
    if (count === Infinity) this.held = undefined;
  }

  private finish(bio: Bio): void {
    if (bio.error === 0) this.transfer(bio);
    this.inFlight -= 1;
    this.loop.defer(bio);
  }

  private transfer(bio: Bio): void {
    const start = bytesOfSectors(bio.sector);
    const end = start + bytesOfSectors(bio.sectors);
    if (bio.op === REQ_OP.FLUSH) return;
    if (bio.op === REQ_OP.WRITE_ZEROES || bio.op === REQ_OP.DISCARD) {
      if (bio.op === REQ_OP.WRITE_ZEROES || this.limits.discardZeroes)
        this.bytes.fill(0, start, end);
      return;
    }
    let at = start;
    for (let i = 0; i < bio.vecCount && at < end; i += 1) {
      const vec = bio.vecs[i];
      if (vec === undefined) throw new Error('a bio has fewer pieces than it says');
      const length = Math.min(vec.length, end - at);
      const memory = vec.page.subarray(vec.offset, vec.offset + length);
      if (memory.length !== length) throw new Error('a piece of a bio ends outside its page');
      if (bio.op === REQ_OP.READ) memory.set(this.bytes.subarray(at, at + length));
      else this.bytes.set(memory, at);
      at += length;
    }
    if (at !== end) throw new Error('a bio has less memory than sectors');
  }

  private startTicking(): void {
    if (this.ticking) return;
    this.ticking = true;
    this.loop.defer(this.tick);
  }

  private runTurn(): void {
    this.ticking = false;
    const due = this.pending.filter(({ turns }) => turns === 0);
    this.pending = this.pending.filter(({ turns }) => turns > 0);
    for (const pending of this.pending) pending.turns -= 1;
    this.prng?.shuffle(due);
    for (const { bio } of due) this.finish(bio);
    if (this.pending.length > 0) this.startTicking();
  }
}
