import { assert } from '../base/assert.ts';
import { bytesOfSectors, SECTOR_SIZE } from '../base/units.ts';
import type { BlockDevice } from '../block/device.ts';
import { Run, RUN } from '../block/run.ts';

/** Chunks of one READ's reply, at most. A power of two. */
export const MAX_STRETCHES = 4;
/** A shorter READ is not looked at: two system calls cost more than some pages of zeros. */
const WORTH_LOOKING_BYTES = 64 * 1024;
/** A shorter hole is sent as zeros: a chunk of its own costs more. */
const WORTH_A_CHUNK_BYTES = 16 * 1024;

/**
 * A READ's range as stretches of data and of holes, as the device knows them when the request
 * comes. What is not worth a chunk is data: the hole reads as zeros.
 */
export class Stretches {
  count = 1;
  private readonly starts = new Float64Array(MAX_STRETCHES);
  private readonly holes = new Uint8Array(MAX_STRETCHES);
  private readonly run = new Run();

  startAt(index: number): number {
    return this.starts[index]!;
  }

  isHole(index: number): boolean {
    return this.holes[index] === 1;
  }

  /** Nothing is known: one stretch of data. */
  setData(offset: number): void {
    this.count = 1;
    this.starts[0] = offset;
    this.holes[0] = 0;
  }

  /** `isOne`: a single chunk has to answer, so only a hole from end to end counts. */
  look(device: BlockDevice, offset: number, lengthBytes: number, isOne: boolean): void {
    this.setData(offset);
    if (lengthBytes < WORTH_LOOKING_BYTES || device.allocationAt === undefined) return;
    const end = offset + lengthBytes;
    let at = offset;
    while (at < end) {
      const isHole = this.lookAt(device, at, end);
      const to = this.endOfRun(at, end);
      const isWorthIt = isHole && (to - at >= WORTH_A_CHUNK_BYTES || to === end);
      if (at === offset) this.holes[0] = isWorthIt ? 1 : 0;
      else if (!this.add(at, isWorthIt)) return;
      if (isOne && this.count > 1) {
        this.setData(offset);
        return;
      }
      at = to;
    }
  }

  /** False: there is no place for it, and the last stretch of data takes what follows. */
  private add(at: number, isHole: boolean): boolean {
    if (isHole === this.isHole(this.count - 1)) return true;
    if (this.count === MAX_STRETCHES) {
      if (!isHole) this.count -= 1;
      return false;
    }
    this.starts[this.count] = at;
    this.holes[this.count] = isHole ? 1 : 0;
    this.count += 1;
    return true;
  }

  private lookAt(device: BlockDevice, at: number, end: number): boolean {
    const sector = Math.floor(at / SECTOR_SIZE);
    const sectors = Math.ceil(end / SECTOR_SIZE) - sector;
    device.allocationAt!(sector, sectors, this.run);
    assert(
      this.run.sectors > 0 && this.run.sectors <= sectors,
      'a run that is no part of the range',
    );
    return (this.run.flags & RUN.ZERO) !== 0;
  }

  private endOfRun(at: number, end: number): number {
    const to = bytesOfSectors(Math.floor(at / SECTOR_SIZE) + this.run.sectors);
    return to < end ? to : end;
  }
}
