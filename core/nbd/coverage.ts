import { assert } from '../base/assert.ts';

/** Pieces that do not touch: servers answer in order, or nearly so. */
const MAX_PIECES = 16;

/**
 * Which bytes of one READ have come: chunks arrive in any order, may not overlap, and cover all in
 * the end ("NBD_REPLY_TYPE_OFFSET_DATA"). Neighbours are joined, so in order it is always one piece.
 */
export class Coverage {
  private readonly starts = new Float64Array(MAX_PIECES);
  private readonly ends = new Float64Array(MAX_PIECES);
  private count = 0;

  clear(): void {
    this.count = 0;
  }

  /** False: [start, end) overlaps what is there, or lies too scattered. */
  add(start: number, end: number): boolean {
    assert(start < end, 'coverage: an empty piece');
    const { starts, ends } = this;
    let at = 0;
    while (at < this.count && starts[at]! < start) at += 1;
    if (at > 0 && ends[at - 1]! > start) return false;
    if (at < this.count && starts[at]! < end) return false;
    const joinsLeft = at > 0 && ends[at - 1] === start;
    const joinsRight = at < this.count && starts[at] === end;
    if (joinsLeft && joinsRight) {
      ends[at - 1] = ends[at]!;
      this.remove(at);
    } else if (joinsLeft) ends[at - 1] = end;
    else if (joinsRight) starts[at] = start;
    else return this.insert(at, start, end);
    return true;
  }

  /** Everything in [0, length) has come. */
  isWhole(length: number): boolean {
    return this.count === 1 && this.starts[0] === 0 && this.ends[0] === length;
  }

  private remove(at: number): void {
    this.starts.copyWithin(at, at + 1, this.count);
    this.ends.copyWithin(at, at + 1, this.count);
    this.count -= 1;
  }

  private insert(at: number, start: number, end: number): boolean {
    if (this.count === MAX_PIECES) return false;
    this.starts.copyWithin(at + 1, at, this.count);
    this.ends.copyWithin(at + 1, at, this.count);
    this.starts[at] = start;
    this.ends[at] = end;
    this.count += 1;
    return true;
  }
}
