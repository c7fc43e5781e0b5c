import type { Bio } from '../../core/block/bio.ts';
import { ERRNO } from '../../core/base/errno.ts';
import { isWriteOp, REQ_OP, type ReqOp } from '../../core/block/op.ts';

export type FaultKind = 'read' | 'write' | 'flush' | 'zeroes';

/** Fails requests of one kind that touch a range, `left` times. */
export interface Fault {
  readonly kind: FaultKind;
  readonly first: number;
  readonly last: number;
  readonly errno: number;
  left: number;
}

/** A write that is answered as done: it went nowhere, or to another place. */
export type Lie = 'lost' | 'misdirected';

/** Transfers that touch a range take so much longer, `left` of them. */
interface Stuck {
  readonly first: number;
  readonly last: number;
  readonly delayUs: number;
  left: number;
}

/** What is wrong with one disk just now. */
export class DiskFaults {
  private faults: Fault[] = [];
  private stuck: Stuck[] = [];
  /** Blocks that cannot be read until they are written again. */
  private readonly latent = new Set<number>();
  private readonly blockSectors: number;
  /** Latencies are multiplied by it. */
  slowness = 1;
  /** Above 0 the disk is stuck: what it is given now ends so long after, more or less. */
  stallUs = 0;
  /** The disk is shorter than it was: from this sector on it answers ENXIO. */
  end = Infinity;
  /** It has done so. */
  hasToldEnd = false;
  /** What the next writes come to. */
  readonly lies: Lie[] = [];
  /** Bios that a fault of each kind would have struck, wherever it was. */
  readonly asked: Record<FaultKind, number> = { read: 0, write: 0, flush: 0, zeroes: 0 };

  constructor(blockSectors: number) {
    this.blockSectors = blockSectors;
  }

  add(fault: Fault): void {
    this.faults.push(fault);
  }

  addStuck(stuck: Stuck): void {
    this.stuck.push(stuck);
  }

  /** How much longer than others this bio takes. */
  delayOf(bio: Bio): number {
    const touched = this.stuck.find(
      ({ first, last }) => bio.sector <= last && first < bio.sector + bio.sectors,
    );
    if (touched === undefined) return 0;
    touched.left -= 1;
    if (touched.left === 0) this.stuck = this.stuck.filter((each) => each !== touched);
    return touched.delayUs;
  }

  addLatent(first: number, last: number): void {
    for (let sector = first; sector <= last; sector += 1) {
      this.latent.add(Math.floor(sector / this.blockSectors));
    }
  }

  /** Transient and sticky faults end; latent sectors stay what they are. */
  heal(): void {
    this.faults = [];
    this.lies.length = 0;
    this.stuck = [];
    this.slowness = 1;
    this.stallUs = 0;
  }

  /** Of all sectors, or from this one on. */
  healLatent(from = 0): void {
    for (const block of this.latent) {
      if ((block + 1) * this.blockSectors > from) this.latent.delete(block);
    }
  }

  /** True when a read of these sectors would fail. */
  isBad(sector: number, sectors: number): boolean {
    if (this.readsLatent(sector, sectors)) return true;
    const end = sector + sectors;
    if (end > this.end) return true;
    return this.faults.some((f) => f.kind === 'read' && f.first < end && sector <= f.last);
  }

  written(block: number): void {
    this.latent.delete(block);
  }

  /** The errno this bio is to end with; 0: none. Uses up a transient fault. */
  strike(bio: Bio): number {
    this.note(bio.op);
    if (bio.op !== REQ_OP.FLUSH && bio.sector + bio.sectors > this.end) {
      this.hasToldEnd = true;
      return ERRNO.ENXIO;
    }
    if (bio.op === REQ_OP.READ && this.readsLatent(bio.sector, bio.sectors)) return ERRNO.EIO;
    for (const fault of this.faults) {
      if (!isAbout(fault, bio) || fault.left === 0) continue;
      fault.left -= 1;
      if (fault.left === 0) this.faults = this.faults.filter((each) => each !== fault);
      return fault.errno;
    }
    return 0;
  }

  private note(op: ReqOp): void {
    const { asked } = this;
    if (op === REQ_OP.READ) asked.read += 1;
    else if (op === REQ_OP.FLUSH) asked.flush += 1;
    else asked.write += 1;
    if (op === REQ_OP.WRITE_ZEROES || op === REQ_OP.DISCARD) asked.zeroes += 1;
  }

  private readsLatent(sector: number, sectors: number): boolean {
    if (this.latent.size === 0) return false;
    const last = Math.floor((sector + sectors - 1) / this.blockSectors);
    for (let block = Math.floor(sector / this.blockSectors); block <= last; block += 1) {
      if (this.latent.has(block)) return true;
    }
    return false;
  }
}

function isAbout(fault: Fault, bio: Bio): boolean {
  if (bio.op === REQ_OP.FLUSH) return fault.kind === 'flush';
  const overlaps = bio.sector <= fault.last && fault.first < bio.sector + bio.sectors;
  if (!overlaps) return false;
  if (bio.op === REQ_OP.READ) return fault.kind === 'read';
  if (fault.kind === 'zeroes') return bio.op !== REQ_OP.WRITE;
  return fault.kind === 'write' && isWriteOp(bio.op);
}
