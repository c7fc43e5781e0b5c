import { assert } from '../base/assert.ts';
import { SECTOR_SIZE } from '../base/units.ts';
import { bioError, type BlockDevice } from './device.ts';
import type { Bio, BioVec } from './bio.ts';
import { DEFAULT_LIMITS, type QueueLimits } from './limits.ts';
import type { Loop } from './loop.ts';
import { REQ_OP } from './op.ts';

const CHUNK_BYTES = 4096;

/**
 * A device in memory: for trying the library, for benches and simulations. It starts as zeros, and
 * memory is taken in chunks of 4 KiB as they are written, so it may be far larger than the machine.
 * A bio that is a whole number of aligned, whole pages of 4 KiB is moved without any allocation.
 */
export class MemoryDevice implements BlockDevice {
  readonly name: string;
  readonly sectors: number;
  readonly limits: QueueLimits;
  readonly loop: Loop;
  private readonly chunks = new Map<number, Uint8Array>();

  constructor(loop: Loop, sectors: number, limits: QueueLimits = DEFAULT_LIMITS, name = 'memory') {
    assert(Number.isSafeInteger(sectors) && sectors >= 0, 'a memory device without a size');
    this.loop = loop;
    this.sectors = sectors;
    this.limits = limits;
    this.name = name;
  }

  /** The content is changed before this returns; the end waits for the loop, as all do. */
  submit(bio: Bio): void {
    bio.error = bioError(this, bio);
    if (bio.error === 0) this.perform(bio);
    this.loop.defer(bio);
  }

  /** Copies `into.length` bytes from byte `offset` on, past all limits and faults: for tests. */
  peek(into: Uint8Array, offset: number): void {
    this.move(into, 0, into.length, offset, false);
  }

  private perform(bio: Bio): void {
    switch (bio.op) {
      case REQ_OP.READ:
      case REQ_OP.WRITE:
        this.moveVecs(bio.vecs, bio.sector, bio.sectors, bio.op === REQ_OP.WRITE);
        return;
      case REQ_OP.DISCARD:
      case REQ_OP.WRITE_ZEROES:
        this.zero(bio.sector * SECTOR_SIZE, bio.sectors * SECTOR_SIZE);
        return;
      case REQ_OP.FLUSH:
        return;
    }
  }

  private moveVecs(vecs: readonly BioVec[], sector: number, sectors: number, store: boolean): void {
    let at = sector * SECTOR_SIZE;
    let left = sectors * SECTOR_SIZE;
    for (let i = 0; left > 0; i += 1) {
      const vec = vecs[i];
      assert(vec !== undefined, 'a bio with less memory than sectors');
      const length = Math.min(vec.length, left);
      this.move(vec.page, vec.offset, length, at, store);
      at += length;
      left -= length;
    }
  }

  /** Between memory and device, chunk by chunk. */
  private move(
    memory: Uint8Array,
    offset: number,
    bytes: number,
    at: number,
    store: boolean,
  ): void {
    for (let done = 0; done < bytes;) {
      const index = Math.floor((at + done) / CHUNK_BYTES);
      const inChunk = (at + done) % CHUNK_BYTES;
      const length = Math.min(bytes - done, CHUNK_BYTES - inChunk);
      const chunk = this.chunks.get(index);
      if (store) copy(chunk ?? this.newChunk(index), inChunk, memory, offset + done, length);
      else if (chunk === undefined) memory.fill(0, offset + done, offset + done + length);
      else copy(memory, offset + done, chunk, inChunk, length);
      done += length;
    }
  }

  private newChunk(index: number): Uint8Array {
    const chunk = new Uint8Array(CHUNK_BYTES);
    this.chunks.set(index, chunk);
    return chunk;
  }

  private zero(at: number, bytes: number): void {
    const end = at + bytes;
    // Holes are zeros already: the chunks there are, not those there could be, bound the work.
    for (const [index, chunk] of this.chunks) {
      const start = index * CHUNK_BYTES;
      const from = Math.max(at - start, 0);
      const to = Math.min(end - start, CHUNK_BYTES);
      if (from < to) chunk.fill(0, from, to);
    }
  }
}

function copy(
  target: Uint8Array,
  targetOffset: number,
  source: Uint8Array,
  sourceOffset: number,
  length: number,
): void {
  const whole = sourceOffset === 0 && length === source.length;
  target.set(whole ? source : source.subarray(sourceOffset, sourceOffset + length), targetOffset);
}
