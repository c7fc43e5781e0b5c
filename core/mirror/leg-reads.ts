import { assert } from '../base/assert.ts';
import { ERRNO } from '../base/errno.ts';
import { bytesOfSectors } from '../base/units.ts';
import { REQ_FLAG, REQ_OP } from '../block/op.ts';
import { DmIoRequest, type DmIoOwner } from '../dm-io/request.ts';
import { isEqual } from './bytes.ts';
import type { Leg } from './leg.ts';
import type { MirrorSet } from './set.ts';

/** Who compares legs. */
export interface LegReadsOwner {
  /** Every leg has answered. Called from the loop. */
  legsRead(): void;
}

/**
 * Reads one range from several legs at once, each into a buffer of its own, so that what they hold
 * can be compared. The caller holds a claim that keeps writes out until it has drawn its conclusions.
 */
export class LegReads {
  /** As given to `start`. */
  legs: readonly Leg[] = [];
  sector = 0;
  sectors = 0;
  /** By place in `legs`: how its read ended. */
  readonly errors: number[] = [];
  private readonly set: MirrorSet;
  private readonly owner: LegReadsOwner;
  private readonly reads: LegRead[] = [];
  private pending = 0;

  constructor(set: MirrorSet, owner: LegReadsOwner) {
    this.set = set;
    this.owner = owner;
  }

  start(legs: readonly Leg[], sector: number, sectors: number, bufferBytes: number): void {
    assert(this.pending === 0 && legs.length > 0, 'legs are being compared already');
    this.legs = legs;
    this.sector = sector;
    this.sectors = sectors;
    this.pending = legs.length;
    for (const [i, leg] of legs.entries()) {
      this.errors[i] = ERRNO.OK;
      const read = (this.reads[i] ??= new LegRead(this, i));
      read.start(this.set, leg, bufferBytes);
    }
  }

  bytesOf(place: number): Uint8Array {
    const read = this.reads[place];
    assert(read !== undefined, 'bytes of a leg that was not read');
    return read.buffer;
  }

  ended(place: number, errno: number): void {
    this.errors[place] = errno;
    this.pending -= 1;
    if (this.pending === 0) this.owner.legsRead();
  }

  /** True when all legs that could be read hold the same. */
  get areEqual(): boolean {
    const first = this.errors.indexOf(ERRNO.OK);
    if (first < 0) return true;
    const bytes = bytesOfSectors(this.sectors);
    return this.legs.every(
      (_, i) =>
        this.errors[i] !== ERRNO.OK ||
        i === first ||
        isEqual(this.bytesOf(first), this.bytesOf(i), 0, bytes),
    );
  }

  /** Lets the memory go; also when somebody may still write from it. */
  drop(): void {
    assert(this.pending === 0, 'memory of a read under way');
    this.reads.length = 0;
  }
}

const NO_BYTES = new Uint8Array(0);

class LegRead implements DmIoOwner {
  buffer: Uint8Array = NO_BYTES;
  private readonly reads: LegReads;
  private readonly place: number;
  private readonly request = new DmIoRequest();
  private leg: Leg | null = null;

  constructor(reads: LegReads, place: number) {
    this.reads = reads;
    this.place = place;
    this.request.owner = this;
    this.request.op = REQ_OP.READ;
    this.request.flags = REQ_FLAG.NONE;
  }

  start(set: MirrorSet, leg: Leg, bufferBytes: number): void {
    assert(leg.device !== null, 'a leg without a device was to be compared');
    if (this.buffer.length !== bufferBytes || this.request.isLate) {
      this.buffer = set.memory(bufferBytes);
      this.request.isLate = false;
    }
    this.request.memory.setBytes(this.buffer, 0);
    this.request.clearRegions();
    const { sector, sectors } = this.reads;
    this.request.addRegion(leg.device, leg.startSector + sector, sectors);
    this.leg = leg;
    leg.enter();
    set.client.submit(this.request);
  }

  dmIoDone(request: DmIoRequest): void {
    this.leg?.leave();
    this.leg = null;
    this.reads.ended(
      this.place,
      request.errorBits.isEmpty ? ERRNO.OK : (request.regions[0]?.error ?? ERRNO.EIO),
    );
  }
}
