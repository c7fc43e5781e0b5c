import { assert } from '../base/assert.ts';
import { bytesOfSectors, sectorsCeil, sectorsFloor } from '../base/units.ts';
import type { BlockDevice } from '../block/device.ts';
import { Run, RUN } from '../block/run.ts';
import {
  chunkHeaderBytes,
  ChunkHeader,
  extentBytes,
  MAX_COMPACT_EXTENT,
  REPLY_STYLE,
  statusChunkType,
  statusHeadBytes,
  writeChunk,
  writeExtent,
  type ReplyStyle,
} from '../nbd/chunk.ts';
import { CHUNK_FLAG, COMMAND_FLAG } from '../nbd/proto.ts';
import type { Request } from './request.ts';

/** Memory of one reply to BLOCK_STATUS: all chunks of it. A client asks again for what is missing. */
export const STATUS_BYTES = 32 * 1024;

/** Contexts by bit; ids are the same numbers. Export.contexts has their names, in this order. */
const ALLOCATION_BIT = 1;
const MIRROR_BIT = 2;

/** What is asked: a range inside the device, for the contexts of a set of bits. */
interface Question {
  readonly offset: number;
  readonly effectBytes: number;
  readonly asked: number;
}

/**
 * Writes the reply of BLOCK_STATUS ("NBD_REPLY_TYPE_BLOCK_STATUS"): a chunk for each context, each
 * of neighbouring extents that differ, from the offset asked for to at most its end.
 */
export class BlockStatus {
  private readonly style: ReplyStyle;
  private readonly run = new Run();
  private readonly chunk = new ChunkHeader();
  private isReqOne = false;

  constructor(style: ReplyStyle) {
    this.style = style;
  }

  /** Returns the bytes written into the request's slot. */
  write(device: BlockDevice, question: Question, request: Request, view: DataView): number {
    const at = request.slot;
    const isBoth = question.asked === (ALLOCATION_BIT | MIRROR_BIT);
    const bytesEach = isBoth ? STATUS_BYTES / 2 : STATUS_BYTES;
    let end = at;
    this.isReqOne = (request.flags & COMMAND_FLAG.REQ_ONE) !== 0;
    for (let bit = ALLOCATION_BIT; bit <= MIRROR_BIT; bit *= 2) {
      if ((question.asked & bit) === 0) continue;
      const isLast = question.asked < 2 * bit;
      const from = end;
      const head = from + chunkHeaderBytes(this.style);
      end = this.writeContent(device, question, bit, view, head, from + bytesEach);
      this.writeHeader(request, isLast, view, from, end - head);
    }
    assert(end > at && end <= at + STATUS_BYTES, 'a status longer than its memory');
    return end - at;
  }

  private writeHeader(
    request: Request,
    isLast: boolean,
    view: DataView,
    at: number,
    lengthBytes: number,
  ): void {
    const { style, chunk } = this;
    chunk.type = statusChunkType(style);
    chunk.flags = isLast ? CHUNK_FLAG.DONE : 0;
    chunk.cookieHigh = request.cookieHigh;
    chunk.cookieLow = request.cookieLow;
    chunk.offsetHigh = request.offsetHigh;
    chunk.offsetLow = request.offsetLow;
    chunk.lengthBytes = lengthBytes;
    writeChunk(view, at, style, chunk);
  }

  private writeContent(
    device: BlockDevice,
    question: Question,
    bit: number,
    view: DataView,
    at: number,
    limit: number,
  ): number {
    const first = at + statusHeadBytes(this.style);
    const end = this.writeExtents(device, question, bit, view, first, limit);
    // The bits of the contexts are 1 and 2, and so are their ids.
    view.setUint32(at, bit);
    if (this.style === REPLY_STYLE.EXTENDED) {
      view.setUint32(at + 4, (end - first) / extentBytes(this.style));
    }
    return end;
  }

  /** Returns where the last extent ends. Runs that are alike become one extent. */
  private writeExtents(
    device: BlockDevice,
    question: Question,
    bit: number,
    view: DataView,
    first: number,
    limit: number,
  ): number {
    const size = extentBytes(this.style);
    const most = this.style === REPLY_STYLE.EXTENDED ? Infinity : MAX_COMPACT_EXTENT;
    const rangeEnd = question.offset + question.effectBytes;
    let from = question.offset;
    let to = this.look(device, bit, from, rangeEnd);
    let flags = this.run.flags;
    let at = first;
    for (;;) {
      const next = to < rangeEnd ? this.look(device, bit, to, rangeEnd) : to;
      if (to < rangeEnd && this.run.flags === flags && next - from <= most) {
        to = next;
        continue;
      }
      writeExtent(view, at, this.style, Math.min(to - from, most), flags);
      at += size;
      if (to >= rangeEnd || this.isReqOne || at + size > limit || to - from > most) return at;
      from = to;
      to = next;
      flags = this.run.flags;
    }
  }

  /** Where the run that begins at `from` ends, in bytes, at most `rangeEnd`; `run.flags` is its kind. */
  private look(device: BlockDevice, bit: number, from: number, rangeEnd: number): number {
    const sector = sectorsFloor(from);
    const sectors = sectorsCeil(rangeEnd) - sector;
    if (bit === MIRROR_BIT) device.mirrorStateAt!(sector, sectors, this.run);
    else if (device.allocationAt === undefined) this.run.set(sectors, RUN.DATA);
    else device.allocationAt(sector, sectors, this.run);
    assert(this.run.sectors > 0 && this.run.sectors <= sectors, 'a run outside of its range');
    return Math.min(bytesOfSectors(sector + this.run.sectors), rangeEnd);
  }
}
