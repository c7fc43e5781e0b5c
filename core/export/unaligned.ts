import { assert } from '../base/assert.ts';

/**
 * A byte range and the whole logical blocks around and inside it. Devices take blocks only; clients
 * may ask for any bytes (proto.md "Size constraints": a client that negotiated nothing may).
 *
 *            lead                                       tail
 *           |<-->|                                     |<-->|
 *   |........XXXXXXXX|XXXXXXXXXXXXXXXX|XXXXXXXXXXXXXXXX.....|        X = the client's bytes
 *   ^ coverStart     ^ innerStart                      ^ innerEnd    | = block borders
 *   |<- head block ->|                |<-- tail block ----->|
 *   |<------------------ coverBytes ----------------------->|
 *
 * A range inside one block has a head block, perhaps with a lead and a tail, and no tail block.
 */
export class BlockRange {
  blockBytes = 512;
  /** Bytes of the first block before the range. */
  lead = 0;
  /** Bytes of the last block behind the range. */
  tail = 0;
  coverStart = 0;
  coverBytes = 0;

  set(offset: number, lengthBytes: number, blockBytes: number): void {
    const end = offset + lengthBytes;
    const over = end % blockBytes;
    this.blockBytes = blockBytes;
    this.lead = offset % blockBytes;
    this.tail = over === 0 ? 0 : blockBytes - over;
    this.coverStart = offset - this.lead;
    this.coverBytes = end + this.tail - this.coverStart;
    assert(this.coverBytes % blockBytes === 0, 'a cover of broken blocks');
  }

  get isAligned(): boolean {
    return this.lead === 0 && this.tail === 0;
  }

  /** The first block is not wholly the client's. */
  get hasHead(): boolean {
    return this.lead > 0 || (this.tail > 0 && this.coverBytes === this.blockBytes);
  }

  /** The last block is another than the first, and not wholly the client's. */
  get hasTail(): boolean {
    return this.tail > 0 && this.coverBytes > this.blockBytes;
  }

  /** Where the blocks begin that are wholly the client's; there may be none. */
  get innerStart(): number {
    return this.hasHead ? this.coverStart + this.blockBytes : this.coverStart;
  }

  get innerBytes(): number {
    const edges = (this.hasHead ? 1 : 0) + (this.hasTail ? 1 : 0);
    return this.coverBytes - edges * this.blockBytes;
  }

  get tailBlockStart(): number {
    return this.coverStart + this.coverBytes - this.blockBytes;
  }
}

/** Of the head block just read, what is not the client's goes around the payload at `slot`. */
export function mergeHead(bytes: Uint8Array, slot: number, read: number, range: BlockRange): void {
  assert(range.hasHead, 'a head block without need');
  bytes.copyWithin(slot, read, read + range.lead);
  if (range.coverBytes === range.blockBytes) mergeTail(bytes, slot, read, range);
}

/** Likewise of the last block. */
export function mergeTail(bytes: Uint8Array, slot: number, read: number, range: BlockRange): void {
  const blockEnd = read + range.blockBytes;
  bytes.copyWithin(slot + range.coverBytes - range.tail, blockEnd - range.tail, blockEnd);
}

/** Zeroes the client's part of the head block at `at`. */
export function zeroHead(bytes: Uint8Array, at: number, range: BlockRange): void {
  assert(range.hasHead, 'a head block without need');
  const isOnlyBlock = range.coverBytes === range.blockBytes;
  bytes.fill(0, at + range.lead, at + range.blockBytes - (isOnlyBlock ? range.tail : 0));
}

/** Likewise of the tail block. */
export function zeroTail(bytes: Uint8Array, at: number, range: BlockRange): void {
  assert(range.hasTail, 'a tail block without need');
  bytes.fill(0, at, at + range.blockBytes - range.tail);
}
