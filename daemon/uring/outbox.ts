import type { ReplyQueue } from '../../core/export/reply-queue.ts';
import { IOVEC_BYTES, type Memory, type Room } from './memory.ts';

/** Pieces of one message; the kernel's limit is 1024. */
const MAX_IOVECS = 256;
/** struct msghdr has 56 bytes. */
const MSGHDR_BYTES = 64;
const INPUT_IOVECS = 2;
const TWO32 = 4294967296;

const OUTPUT_AT = 0;
const OUTPUT_IOVECS_AT = OUTPUT_AT + MSGHDR_BYTES;
const INPUT_AT = OUTPUT_IOVECS_AT + MAX_IOVECS * IOVEC_BYTES;
const INPUT_IOVECS_AT = INPUT_AT + MSGHDR_BYTES;
/** Mapped memory of one outbox. */
export const OUTBOX_BYTES = INPUT_IOVECS_AT + INPUT_IOVECS * IOVEC_BYTES;

/**
 * The messages of one client, as the kernel reads them: what is sent (replies, header and payload
 * from where they are), and where a large payload and the header behind it are received.
 */
export class Outbox {
  readonly outputAddress: number;
  readonly iovecsAddress: number;
  readonly inputAddress: number;
  /** Of the message gathered last. */
  pieces = 0;
  private readonly words: Uint32Array;
  private readonly memory: Memory;
  /** Bytes of the oldest reply that are already with the kernel. */
  private sentOfFirst = 0;

  constructor(room: Room, memory: Memory) {
    this.words = room.words;
    this.memory = memory;
    this.outputAddress = room.address + OUTPUT_AT;
    this.iovecsAddress = room.address + OUTPUT_IOVECS_AT;
    this.inputAddress = room.address + INPUT_AT;
    this.setMessage(OUTPUT_AT, room.address + OUTPUT_IOVECS_AT, 0);
    this.setMessage(INPUT_AT, room.address + INPUT_IOVECS_AT, INPUT_IOVECS);
  }

  /** Makes one message of the oldest replies, as many as it holds; returns its bytes. */
  gather(replies: ReplyQueue): number {
    const headers = this.memory.addressOf(replies.headers);
    const arena = this.memory.addressOf(this.memory.bytes);
    const count = replies.length;
    let skip = this.sentOfFirst;
    let pieces = 0;
    let bytes = 0;
    let lastEnd = -1;
    for (let i = 0; i < count && pieces + 2 <= MAX_IOVECS; i += 1) {
      const payload = replies.payloadBytes(i);
      const headBytes = replies.headBytes(i);
      if (skip < headBytes) {
        const header = headers + replies.headAt(i);
        const length = headBytes - skip;
        // Headers of neighbours without payload are neighbours.
        if (header === lastEnd) this.growPiece(pieces - 1, length);
        else {
          this.setPiece(OUTPUT_IOVECS_AT, pieces, header + skip, length);
          pieces += 1;
        }
        bytes += length;
        lastEnd = header + headBytes;
        skip = 0;
      } else skip -= headBytes;
      if (payload > 0) {
        const address = arena + replies.payloadAt(i) + skip;
        this.setPiece(OUTPUT_IOVECS_AT, pieces, address, payload - skip);
        pieces += 1;
        bytes += payload - skip;
        skip = 0;
        lastEnd = -1;
      }
    }
    this.pieces = pieces;
    this.words[OUTPUT_AT / 4 + 6] = pieces;
    return bytes;
  }

  /** `bytes` of the message are with the kernel: returns how many replies that makes whole. */
  settle(replies: ReplyQueue, bytes: number): number {
    let left = bytes + this.sentOfFirst;
    let whole = 0;
    while (whole < replies.length) {
      const length = replies.headBytes(whole) + replies.payloadBytes(whole);
      if (left < length) break;
      left -= length;
      whole += 1;
    }
    this.sentOfFirst = left;
    return whole;
  }

  /** Where the next bytes go: `length` at `address`, then `restLength` at `restAddress`. */
  setInput(address: number, length: number, restAddress: number, restLength: number): void {
    this.setPiece(INPUT_IOVECS_AT, 0, address, length);
    this.setPiece(INPUT_IOVECS_AT, 1, restAddress, restLength);
  }

  private setPiece(iovecsAt: number, index: number, address: number, length: number): void {
    const at = iovecsAt / 4 + index * 4;
    const high = Math.floor(address / TWO32);
    this.words[at] = address - high * TWO32;
    this.words[at + 1] = high;
    this.words[at + 2] = length;
    this.words[at + 3] = 0;
  }

  private growPiece(index: number, length: number): void {
    this.words[OUTPUT_IOVECS_AT / 4 + index * 4 + 2]! += length;
  }

  /** struct msghdr: name, namelen, iov, iovlen, control, controllen, flags. */
  private setMessage(messageAt: number, iovecs: number, count: number): void {
    const words = this.words;
    const at = messageAt / 4;
    const high = Math.floor(iovecs / TWO32);
    words.fill(0, at, at + MSGHDR_BYTES / 4);
    words[at + 4] = iovecs - high * TWO32;
    words[at + 5] = high;
    words[at + 6] = count;
  }
}
