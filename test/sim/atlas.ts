import { ERRNO } from '../../core/base/errno.ts';
import type { Prng } from '../../core/base/prng.ts';
import { STANDING } from '../../core/mirror/leg.ts';
import type { MirrorSet } from '../../core/mirror/set.ts';
import { at } from './at.ts';
import type { SimDisk } from './disk.ts';
import type { FaultKind } from './faults.ts';
import type { SimOptions } from './options.ts';

/** Read errors a leg may give in one life before the core puts it out. */
const READ_ERRORS = 15;

/**
 * Plants faults such that one good copy of every sector is left (but for the broken atlas). So any
 * wrong byte and any error a client sees is ours.
 */
export class FaultAtlas {
  private readonly options: SimOptions;
  private readonly disks: readonly SimDisk[];
  private readonly prng: Prng;
  private latentLeft = READ_ERRORS;

  constructor(options: SimOptions, disks: readonly SimDisk[], prng: Prng) {
    this.options = options;
    this.disks = disks;
    this.prng = prng;
  }

  /** May this leg be failed by hand, or be absent at a start? */
  maySpare(leg: number): boolean {
    const { atlas, anchor } = this.options;
    return atlas === 'broken' || ((atlas === 'anchor' || atlas === 'calm') && leg !== anchor);
  }

  /** A leg does not answer any more, or does again. What it was, for the trace. */
  stall(prng: Prng): string {
    const leg = prng.below(this.disks.length);
    if (!this.maySpare(leg)) return 'nothing';
    const { faults } = at(this.disks, leg);
    faults.stallUs = faults.stallUs > 0 ? 0 : prng.pick([100, 300, 1000]) * 1_000_000;
    return faults.stallUs > 0 ? `leg ${leg} is stuck` : `leg ${leg} answers again`;
  }

  /** What was planted, for the trace. `sure`: disks that any restart from now on takes for members. */
  plant(set: MirrorSet, oldestCall: number, sure: readonly number[]): string {
    const leg = this.prng.below(this.disks.length);
    const disk = at(this.disks, leg);
    switch (this.options.atlas) {
      case 'calm':
        return 'nothing';
      case 'latent':
        return this.plantLatent(set, leg, oldestCall, sure);
      case 'anchor':
        return leg === this.options.anchor ? 'nothing' : this.plantAny(disk);
      case 'broken':
        return this.plantAny(disk);
    }
  }

  private plantAny(disk: SimDisk): string {
    const { prng } = this;
    const kind = prng.pick(['read', 'read', 'latent', 'write', 'flush', 'zeroes', 'slow'] as const);
    const { first, last } = this.range();
    if (kind === 'slow') {
      disk.faults.slowness = prng.pick([1, 10, 100]);
    } else if (kind === 'latent') {
      disk.faults.addLatent(first, last);
    } else {
      const errno = this.errnoOf(kind);
      const left = prng.pick([1, 1, 2, 5, Infinity]);
      disk.faults.add({ kind, first, last, errno, left });
    }
    return `${kind} on ${disk.name} ${first}..${last}`;
  }

  private errnoOf(kind: FaultKind): number {
    if (kind === 'zeroes') return ERRNO.EOPNOTSUPP;
    return kind === 'write' && this.prng.ratio(1, 3) ? ERRNO.ENOSPC : ERRNO.EIO;
  }

  /** A read fault, only where another member can read the sectors. */
  private plantLatent(
    set: MirrorSet,
    leg: number,
    oldestCall: number,
    sure: readonly number[],
  ): string {
    const { first, last } = this.range();
    // A leg that has just failed a read may be asked no more by it: it covers nothing yet.
    const isAfter = this.disks.every((disk) => disk.struckAt < oldestCall);
    if (!isAfter || this.latentLeft === 0 || !this.isCovered(set, leg, first, last, sure))
      return 'nothing';
    this.latentLeft -= 1;
    const { faults } = at(this.disks, leg);
    if (this.prng.ratio(1, 2)) {
      faults.addLatent(first, last);
      return `latent on ${leg} ${first}..${last}`;
    }
    const left = this.prng.between(1, 2);
    faults.add({ kind: 'read', first, last, errno: ERRNO.EIO, left });
    return `read on ${leg} ${first}..${last}`;
  }

  /** Each block of the set that the range touches can be read as a whole from some other member. */
  private isCovered(
    set: MirrorSet,
    leg: number,
    first: number,
    last: number,
    sure: readonly number[],
  ): boolean {
    const block = Math.max(...this.options.blockSizes) / 512;
    for (let start = first - (first % block); start <= last; start += block) {
      const good = this.disks.some((disk, i) => {
        const isMember = at(set.legs, i).standing === STANDING.MEMBER;
        return i !== leg && isMember && sure.includes(i) && !disk.faults.isBad(start, block);
      });
      if (!good) return false;
    }
    return true;
  }

  /** Disk sectors; long ones now and then. */
  private range(): { first: number; last: number } {
    const { origin, sectors } = this.options;
    const start = this.prng.below(sectors);
    const length = this.prng.pick([1, 1, 8, sectors]);
    const first = origin + start;
    return { first, last: Math.min(origin + sectors, first + length) - 1 };
  }
}
