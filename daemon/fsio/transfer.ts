import fs from 'node:fs';
import { assert } from '../../core/base/assert.ts';
import { ERRNO } from '../../core/base/errno.ts';
import { bytesOfSectors } from '../../core/base/units.ts';
import type { Bio } from '../../core/block/bio.ts';
import { REQ_OP } from '../../core/block/op.ts';

/** preadv and pwritev take no more pieces at once (IOV_MAX); the rest goes into the next call. */
const PIECES_MAX = 1024;

/** A read may be interrupted any number of times; a bug must not become an endless loop. */
const INTERRUPTIONS_MAX = 100;

type TransferDone = (error: NodeJS.ErrnoException | null, bytes: number) => void;

/**
 * How far one READ or WRITE has come. The kernel may move less than was asked for; the transfer
 * goes on where it stopped until all is moved or an error says why not.
 */
export class Transfer {
  private doneBytes = 0;
  private interruptions = 0;
  /** The pieces of one call. Kept between calls for its storage only. */
  private readonly views: Uint8Array[] = [];
  private readonly pages: ((lengthBytes: number) => Uint8Array) | null;
  /** What O_DIRECT reads into and writes from: Node cannot tell where its own memory begins. */
  private aligned: Uint8Array | null = null;

  /** `pages`: gives page-aligned memory, for a descriptor with O_DIRECT; null: without. */
  constructor(pages: ((lengthBytes: number) => Uint8Array) | null) {
    this.pages = pages;
  }

  begin(bio: Bio): void {
    this.doneBytes = 0;
    this.interruptions = 0;
    if (this.pages === null) return;
    const bytes = bytesOfSectors(bio.sectors);
    if (this.aligned === null || this.aligned.length < bytes) this.aligned = this.pages(bytes);
    if (bio.op === REQ_OP.WRITE) copyAligned(bio, this.aligned);
  }

  /** Starts the next call on a thread of libuv's. */
  start(fd: number, bio: Bio, done: TransferDone): void {
    const position = bytesOfSectors(bio.sector) + this.doneBytes;
    const read = bio.op === REQ_OP.READ;
    if (this.aligned !== null) {
      const { aligned, doneBytes } = this;
      const length = bytesOfSectors(bio.sectors) - doneBytes;
      if (read) fs.read(fd, aligned, doneBytes, length, position, done);
      else fs.write(fd, aligned, doneBytes, length, position, done);
      return;
    }
    const vec = bio.vecs[0];
    if (bio.vecCount === 1 && vec !== undefined) {
      const offset = vec.offset + this.doneBytes;
      const length = bytesOfSectors(bio.sectors) - this.doneBytes;
      if (read) fs.read(fd, vec.page, offset, length, position, done);
      else fs.write(fd, vec.page, offset, length, position, done);
      return;
    }
    this.collectViews(bio);
    if (read) fs.readv(fd, this.views, position, done);
    else fs.writev(fd, this.views, position, done);
  }

  /** Makes the next call on this thread. Returns the bytes moved; throws as Node does. */
  callNow(fd: number, bio: Bio): number {
    const position = bytesOfSectors(bio.sector) + this.doneBytes;
    if (this.aligned === null) this.collectViews(bio);
    else this.collectAligned(bio, this.aligned);
    return bio.op === REQ_OP.READ
      ? fs.readvSync(fd, this.views, position)
      : fs.writevSync(fd, this.views, position);
  }

  /** A call has moved `bytes`. True: go on. */
  moved(bio: Bio, bytes: number): boolean {
    this.doneBytes += bytes;
    assert(this.doneBytes <= bytesOfSectors(bio.sectors), 'more bytes moved than asked for');
    if (this.doneBytes < bytesOfSectors(bio.sectors)) return true;
    if (this.aligned !== null && bio.op === REQ_OP.READ) copyAligned(bio, this.aligned);
    return false;
  }

  /** Whether a call that failed with `errno` is to be made again. */
  mayRetry(errno: number): boolean {
    if (errno !== ERRNO.EINTR && errno !== ERRNO.EAGAIN) return false;
    this.interruptions += 1;
    return this.interruptions <= INTERRUPTIONS_MAX;
  }

  private collectAligned(bio: Bio, aligned: Uint8Array): void {
    this.views.length = 0;
    this.views.push(aligned.subarray(this.doneBytes, bytesOfSectors(bio.sectors)));
  }

  /** The bio's pieces from `doneBytes` on, as views. */
  private collectViews(bio: Bio): void {
    let skipBytes = this.doneBytes;
    let restBytes = bytesOfSectors(bio.sectors) - this.doneBytes;
    this.views.length = 0;
    for (let i = 0; restBytes > 0 && this.views.length < PIECES_MAX; i += 1) {
      const vec = bio.vecs[i];
      assert(
        vec !== undefined && i < bio.vecCount,
        'the memory of a bio is shorter than its range',
      );
      if (skipBytes >= vec.length) {
        skipBytes -= vec.length;
        continue;
      }
      const length = Math.min(vec.length - skipBytes, restBytes);
      const start = vec.offset + skipBytes;
      this.views.push(vec.page.subarray(start, start + length));
      restBytes -= length;
      skipBytes = 0;
    }
  }
}

/** Between a bio's pieces and memory that holds it in one: the way of its operation. */
export function copyAligned(bio: Bio, aligned: Uint8Array): void {
  const isRead = bio.op === REQ_OP.READ;
  const bytes = bytesOfSectors(bio.sectors);
  let at = 0;
  for (let i = 0; at < bytes; i += 1) {
    const vec = bio.vecs[i];
    assert(vec !== undefined && i < bio.vecCount, 'the memory of a bio is shorter than its range');
    const length = Math.min(vec.length, bytes - at);
    const piece = vec.page.subarray(vec.offset, vec.offset + length);
    if (isRead) piece.set(aligned.subarray(at, at + length));
    else aligned.set(piece, at);
    at += length;
  }
}
