import { ERRNO } from '../../core/base/errno.ts';
import { Prng } from '../../core/base/prng.ts';
import { SECTOR_SIZE } from '../../core/base/units.ts';
import type { Bio } from '../../core/block/bio.ts';
import { bioError, type BlockDevice } from '../../core/block/device.ts';
import type { QueueLimits } from '../../core/block/limits.ts';
import type { Loop } from '../../core/block/loop.ts';
import { isWriteOp, REQ_FLAG, REQ_OP } from '../../core/block/op.ts';
import { RUN, type Run, type ZeroQuery } from '../../core/block/run.ts';
import type { SimClock } from './clock.ts';
import { wordAt } from './at.ts';
import {
  decodeSector,
  eachSector,
  encodeSector,
  GARBAGE,
  RawSectors,
  ZEROS,
  type Value,
} from './content.ts';
import { checkGhost } from './checkers/i12-fencing.ts';
import { DiskFaults, type Lie } from './faults.ts';
import { SimFailure } from './failure.ts';
import { Medium } from './medium.ts';

/** A bio at the disk. */
interface Transfer {
  readonly bio: Bio;
  /** When it was sent, in the medium's count: what a flush covers. */
  readonly sentAt: number;
  /** Blocks of a write that have reached the cache already: the first so many. */
  landed: number;
  /** Of a ghost: what its memory held when its daemon died. */
  values?: readonly Value[];
}

export interface DiskOptions {
  readonly name: string;
  readonly sectors: number;
  readonly limits: QueueLimits;
  /** First sector of the leg's part: sectors are labelled from there. */
  readonly origin: number;
  /** What it holds before anybody has written. */
  readonly fill: Value;
  readonly latencyUs: number;
  /** From this sector on it holds real bytes: a leg's metadata. */
  readonly rawFrom?: number;
  readonly tellsZeroes?: TellsZeroes;
}

/** Whether a disk says what reads as zeros: as a file does, as a server does, or as a liar would. */
export type TellsZeroes = 'never' | 'at once' | 'when asked' | 'falsely';

/**
 * A disk: a medium, faults, latency. It outlives the daemon; `loop` is that of the daemon which has
 * it open now. Bios end out of order, writes land in two steps, memory is read when a write lands,
 * not when it is sent.
 */
export class SimDisk implements BlockDevice {
  readonly name: string;
  readonly sectors: number;
  readonly limits: QueueLimits;
  readonly medium: Medium;
  readonly faults: DiskFaults;
  /** Told of each bio that is sent, for checkers that watch the legs. */
  onSubmit: ((bio: Bio) => void) | null = null;
  /** The world's step at which a fault last struck; -1: never. */
  struckAt = -1;
  /** It has been slower than it should be, if only once. */
  hasBeenSlow = false;
  /** The world's count of steps. */
  step = (): number => 0;
  readonly rawFrom: number;
  readonly allocationAt?: (sector: number, sectors: number, run: Run) => void;
  readonly askZeroes?: (query: ZeroQuery) => void;
  readonly raw = new RawSectors();
  private openLoop: Loop | null = null;
  private readonly clock: SimClock;
  private readonly prng: Prng;
  private readonly latencyUs: number;
  private readonly origin: number;
  private readonly transfers = new Set<Transfer>();
  private readonly queries = new Set<ZeroQuery>();
  private stuckUntil = 0;
  private touches = 0;

  constructor(options: DiskOptions, clock: SimClock, prng: Prng) {
    this.name = options.name;
    this.sectors = options.sectors;
    this.limits = options.limits;
    this.origin = options.origin;
    this.latencyUs = options.latencyUs;
    const blockSectors = options.limits.logicalBlockSize / SECTOR_SIZE;
    this.medium = new Medium(options.sectors, blockSectors, options.fill);
    this.faults = new DiskFaults(this.medium.blockSectors);
    this.clock = clock;
    this.prng = prng;
    this.rawFrom = options.rawFrom ?? Infinity;
    const tells = options.tellsZeroes ?? 'never';
    if (tells === 'when asked') this.askZeroes = (query) => this.ask(query);
    else if (tells !== 'never') {
      const lies = tells === 'falsely';
      this.allocationAt = (sector, sectors, run) => this.tell(sector, sectors, run, lies);
    }
    if (this.rawFrom < options.sectors) this.medium.clearFrom(this.rawFrom);
  }

  get loop(): Loop {
    if (this.openLoop === null) throw new Error('simulator: a disk nobody has open');
    return this.openLoop;
  }

  get isOpen(): boolean {
    return this.openLoop !== null;
  }

  /** When all it was given while it was stuck has ended. */
  get stuckUntilMs(): number {
    return this.transfers.size > 0 ? this.stuckUntil : 0;
  }

  /**
   * Grows with every change of what a crash now would leave here: the medium, the writes under way (a
   * crash may land them; their memory does not change meanwhile), a fault used up.
   */
  get touched(): number {
    return this.touches + this.medium.touched;
  }

  /** It draws from here on as another disk's story. */
  reseed(seed: number): void {
    Object.assign(this.prng, new Prng(seed));
  }

  /** Tells whether all that is under way now has ended. */
  whenOver(): () => boolean {
    const now = [...this.transfers];
    return () => !now.some((transfer) => this.transfers.has(transfer));
  }

  get inFlight(): number {
    return this.transfers.size;
  }

  /** `believed`: by the record the leg is in sync. */
  open(loop: Loop, believed: boolean): void {
    if (believed) this.medium.forgive();
    else this.medium.evict();
    this.openLoop = loop;
  }

  /** The daemon lets go of it: nothing may be under way, nothing may come. */
  close(): void {
    if (this.transfers.size + this.queries.size > 0)
      throw new SimFailure('I18', `${this.name} closed in mid-transfer`);
    this.openLoop = null;
  }

  submit(bio: Bio): void {
    if (this.openLoop === null) throw new SimFailure('I12', `${this.name} is not ours any more`);
    this.onSubmit?.(bio);
    const transfer: Transfer = { bio, sentAt: this.medium.now, landed: 0 };
    this.transfers.add(transfer);
    if (isWriteOp(bio.op)) this.touches += 1;
    const delayUs = this.faults.delayOf(bio);
    const latency = this.drawLatency() + delayUs;
    if (this.faults.stallUs > 0 || delayUs > 0)
      this.stuckUntil = Math.max(this.stuckUntil, this.clock.nowMs() + latency / 1000);
    const isLong = bio.op === REQ_OP.WRITE && bio.sectors > this.medium.blockSectors;
    if (isLong && this.faults.lies.length === 0 && this.prng.ratio(1, 3)) {
      this.clock.in(this.prng.below(latency), () => {
        if (!this.transfers.has(transfer) || bioError(this, bio) !== 0) return;
        this.land(transfer, this.prng.below(this.blocksOf(bio)));
      });
    }
    this.clock.in(latency, () => {
      // Who had sent it may have died, on a machine of its own.
      if (this.transfers.has(transfer)) this.finish(transfer);
    });
  }

  /** Transfers of a daemon that was killed which are still on their way. */
  private ghosts: Transfer[] = [];

  /** The lock on the file is held by what is still on its way there (D6): who starts has to wait. */
  get isHaunted(): boolean {
    return this.ghosts.length > 0;
  }

  /** `linger`: it is killed, and the kernel has not yet torn down what it had sent. */
  daemonKilled(linger: boolean): void {
    const writes = [...this.transfers].filter(
      ({ bio }) => isWriteOp(bio.op) && bioError(this, bio) === 0,
    );
    if (!linger || writes.length === 0) {
      this.daemonDied();
      return;
    }
    // The memory of a process that is gone is still the transfer's.
    this.ghosts = writes.map((transfer) => ({ ...transfer, values: this.valuesOf(transfer.bio) }));
    this.transfers.clear();
    this.openLoop = null;
    this.stuckUntil = 0;
  }

  /** What lingers has landed, or not, or in part. `told`: a later daemon has acknowledged something. */
  layGhosts(told: boolean): void {
    const { blockSectors } = this.medium;
    for (const ghost of this.ghosts) {
      const first = ghost.bio.sector / blockSectors;
      if (this.prng.ratio(1, 2)) {
        checkGhost(this.name, first, told);
        this.landSome(ghost);
      }
      this.medium.ended(first, first + this.blocksOf(ghost.bio) - 1);
    }
    this.ghosts = [];
  }

  /** The daemon is dead: each transfer has landed, or not, or in part. The cache stays. */
  daemonDied(): void {
    for (const transfer of this.transfers) {
      const { bio } = transfer;
      if (!isWriteOp(bio.op) || bioError(this, bio) !== 0) continue;
      if (this.prng.ratio(1, 2)) this.landSome(transfer);
      const first = bio.sector / this.medium.blockSectors;
      this.medium.ended(first, first + this.blocksOf(bio) - 1);
    }
    this.transfers.clear();
    this.queries.clear();
    this.openLoop = null;
    this.stuckUntil = 0;
  }

  get isCut(): boolean {
    return this.faults.end !== Infinity;
  }

  /** Its device is as long as before, and what was behind the cut is not there any more. */
  grow(): void {
    const { blockSectors } = this.medium;
    this.medium.lose(Math.floor(this.faults.end / blockSectors) * blockSectors);
    this.faults.end = Infinity;
    this.faults.hasToldEnd = false;
  }

  /** Somebody else has had it; `keepsMetadata`: and has not touched what is behind the data. */
  overwrite(value: Value, keepsMetadata: boolean): void {
    this.medium.overwrite(value, Math.min(this.rawFrom, this.sectors));
    if (!keepsMetadata && this.rawFrom < this.sectors) this.medium.clearFrom(this.rawFrom);
  }

  powerCut(): void {
    this.daemonDied();
    this.medium.powerCut(this.prng);
  }

  private isZeroAt(sector: number): boolean {
    return sector < this.rawFrom && wordAt(this.medium.visible, sector) === ZEROS;
  }

  private tell(sector: number, sectors: number, run: Run, lies: boolean): void {
    const isZero = this.isZeroAt(sector);
    let alike = 1;
    while (alike < sectors && this.isZeroAt(sector + alike) === isZero) alike += 1;
    run.set(alike, isZero || lies ? RUN.ZERO : RUN.DATA);
  }

  /** What it holds when it answers. */
  private ask(query: ZeroQuery): void {
    this.queries.add(query);
    this.clock.in(this.drawLatency(), () => {
      if (!this.queries.delete(query)) return;
      query.count = 0;
      for (let i = 0; i < query.sectors; i += 1) {
        const sector = query.sector + i;
        if (this.isZeroAt(sector)) query.add(sector, sector + 1);
      }
      this.loop.defer(query);
    });
  }

  private drawLatency(): number {
    const base = 1 + this.prng.below(this.latencyUs);
    const tail = this.prng.ratio(1, 50) ? 20 : 1;
    const { stallUs, slowness } = this.faults;
    if (slowness > 1) this.hasBeenSlow = true;
    const stall = stallUs === 0 ? 0 : stallUs + this.prng.below(stallUs);
    return base * tail * slowness + stall;
  }

  private finish(transfer: Transfer): void {
    const { bio } = transfer;
    const wrong = bioError(this, bio);
    bio.error = wrong === 0 ? this.serve(transfer) : wrong;
    this.transfers.delete(transfer);
    if (isWriteOp(bio.op)) this.touches += 1;
    this.loop.defer(bio);
  }

  private serve(transfer: Transfer): number {
    const { bio } = transfer;
    const errno = this.faults.strike(bio);
    if (errno !== 0) {
      this.struckAt = this.step();
      this.touches += 1;
    }
    if (bio.op === REQ_OP.READ) this.read(bio, errno);
    else if (bio.op === REQ_OP.FLUSH) this.flush(transfer, errno);
    else this.write(transfer, errno);
    return errno;
  }

  private read(bio: Bio, errno: number): void {
    eachSector(bio, (words, from, index) => {
      const sector = bio.sector + index;
      const value = errno === 0 ? wordAt(this.medium.visible, sector) : GARBAGE;
      if (sector >= this.rawFrom) this.raw.put(words, from, value);
      else encodeSector(words, from, value, sector - this.origin);
    });
  }

  private flush(transfer: Transfer, errno: number): void {
    if (errno === 0) this.medium.flush(transfer.sentAt);
    else this.medium.dropSome(this.prng);
  }

  private write(transfer: Transfer, errno: number): void {
    const { bio } = transfer;
    const { blockSectors } = this.medium;
    const first = bio.sector / blockSectors;
    const last = (bio.sector + bio.sectors) / blockSectors - 1;
    const lie = errno === 0 && bio.op === REQ_OP.WRITE ? this.faults.lies.pop() : undefined;
    if (lie !== undefined) {
      this.lie(lie, bio);
      return;
    }
    const isFua = (bio.flags & REQ_FLAG.FUA) !== 0;
    // A flush that failed meanwhile may have lost the part that had landed.
    if (isFua) transfer.landed = 0;
    if (errno === 0) this.land(transfer, this.blocksOf(bio));
    else if (errno === ERRNO.EIO) this.landSome(transfer);
    this.medium.ended(first, last);
    if (errno === 0 && isFua) this.medium.force(first, last);
    // The errno of a FUA may be that of its sync: what else was in the cache went with it (D8).
    if (errno === ERRNO.EIO && isFua) this.medium.dropSome(this.prng);
  }

  /** It is answered as done. Bytes in a wrong place carry the name of the right one: garbage there. */
  private lie(lie: Lie, bio: Bio): void {
    if (lie === 'lost') return;
    const { blockSectors } = this.medium;
    const end = Math.min(this.rawFrom, this.sectors) / blockSectors;
    const places = end - this.origin / blockSectors;
    const block = this.origin / blockSectors + this.prng.below(places);
    if (block * blockSectors >= bio.sector && block * blockSectors < bio.sector + bio.sectors)
      return;
    this.medium.rot(block, new Array<Value>(blockSectors).fill(GARBAGE));
  }

  private blocksOf(bio: Bio): number {
    return bio.sectors / this.medium.blockSectors;
  }

  /** Blocks up to `count` of the transfer reach the cache. */
  private land(transfer: Transfer, count: number): void {
    if (count <= transfer.landed) return;
    const values = this.valuesOf(transfer.bio);
    for (let i = transfer.landed; i < count; i += 1) this.landBlock(transfer.bio, values, i);
    transfer.landed = count;
  }

  private landSome(transfer: Transfer): void {
    const values = transfer.values ?? this.valuesOf(transfer.bio);
    for (let i = transfer.landed; i < this.blocksOf(transfer.bio); i += 1) {
      if (this.prng.ratio(1, 2)) this.landBlock(transfer.bio, values, i);
    }
  }

  private landBlock(bio: Bio, values: readonly Value[], index: number): void {
    const { blockSectors } = this.medium;
    const block = bio.sector / blockSectors + index;
    this.medium.land(block, values.slice(index * blockSectors, (index + 1) * blockSectors));
    this.faults.written(block);
  }

  private valuesOf(bio: Bio): Value[] {
    if (bio.op !== REQ_OP.WRITE) return new Array<Value>(bio.sectors).fill(ZEROS);
    const values: Value[] = [];
    eachSector(bio, (words, from, index) => {
      const sector = bio.sector + index;
      const isRaw = sector >= this.rawFrom;
      values.push(
        isRaw ? this.raw.number(words, from) : decodeSector(words, from, sector - this.origin),
      );
    });
    return values;
  }
}
