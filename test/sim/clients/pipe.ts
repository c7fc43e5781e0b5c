import type { Prng } from '../../../core/base/prng.ts';
import type { SimClock } from '../clock.ts';

/** Who gets what comes out of a pipe. */
export interface Receiver {
  /** Returns how many it took; with fewer than all the rest waits until `resume`. */
  received(bytes: Uint8Array): number;
  /** Behind the last byte: the other side sends no more. */
  inputEnded(): void;
}

const NOBODY: Receiver = { received: (bytes) => bytes.length, inputEnded: () => undefined };

/** Longest way of a segment, in microseconds. */
const WAY_US = 200;
/** Pieces of about a header's length, so that headers are cut anywhere. */
const LONGEST_SHORT = 40;

/**
 * One direction of a connection: so many bytes of sockets and line, which arrive in order, cut
 * anywhere, and only as fast as the receiver takes them. Who writes more than fits is told when there
 * is room again.
 */
export class Pipe {
  to: Receiver = NOBODY;
  /** Told after a `write` that took less than all, when there is room. */
  onRoom: () => void = () => undefined;
  /** Told when `cutAfter` bytes have come out. */
  onCut: () => void = () => undefined;
  private readonly clock: SimClock;
  private readonly prng: Prng;
  private readonly ring: Uint8Array;
  private head = 0;
  private length = 0;
  private cutIn = Infinity;
  private isEnding = false;
  private isStopped = false;
  private isPaused = false;
  private isArmed = false;
  private isFull = false;
  private nowhereBeforeUs = 0;

  constructor(clock: SimClock, prng: Prng, capacity: number) {
    this.clock = clock;
    this.prng = prng;
    this.ring = new Uint8Array(capacity);
  }

  /** Bytes on their way. */
  get inside(): number {
    return this.length;
  }

  /** Returns how many bytes fit; what is gone nowhere fits always. */
  write(bytes: Uint8Array, start: number, end: number): number {
    if (this.isStopped || this.isEnding) return end - start;
    const { ring } = this;
    const count = Math.min(end - start, ring.length - this.length);
    const to = (this.head + this.length) % ring.length;
    const first = Math.min(count, ring.length - to);
    ring.set(bytes.subarray(start, start + first), to);
    ring.set(bytes.subarray(start + first, start + count), 0);
    this.length += count;
    this.isFull = count < end - start;
    this.arm();
    return count;
  }

  /** Nothing is sent any more; what was sent still arrives, and then the end of it. */
  end(): void {
    if (this.isEnding) return;
    this.isEnding = true;
    this.arm();
  }

  /** Nothing arrives any more. Who writes does not notice. */
  stop(): void {
    this.isStopped = true;
    this.length = 0;
    if (this.isFull) this.tellOfRoom();
  }

  /** The receiver takes bytes again. */
  resume(): void {
    this.isPaused = false;
    this.arm();
  }

  /** Nothing arrives for so long; then all of it. */
  stall(us: number): void {
    this.nowhereBeforeUs = Math.max(this.nowhereBeforeUs, this.clock.nowMs() * 1000 + us);
  }

  cutAfter(bytes: number): void {
    this.cutIn = bytes;
    if (bytes === 0) this.clock.in(0, () => this.onCut());
  }

  /** At once, what of it the receiver may still get: it has no more time. */
  deliverNow(most: number): void {
    if (!this.isStopped && !this.isPaused) this.deliver(Math.min(most, this.length));
  }

  private tellOfRoom(): void {
    this.isFull = false;
    this.clock.in(0, () => this.onRoom());
  }

  private arm(): void {
    const hasNothing = this.length === 0 && !this.isEnding;
    if (this.isArmed || this.isStopped || this.isPaused || hasNothing) return;
    this.isArmed = true;
    const waitUs = this.nowhereBeforeUs - this.clock.nowMs() * 1000;
    this.clock.in(Math.max(waitUs, 1 + this.prng.below(WAY_US)), () => {
      this.isArmed = false;
      this.fire();
    });
  }

  private fire(): void {
    if (this.isStopped || this.isPaused) return;
    if (this.nowhereBeforeUs > this.clock.nowMs() * 1000) {
      this.arm();
      return;
    }
    if (this.length > 0) {
      const isShort = this.prng.ratio(1, 4);
      const most = isShort ? this.prng.between(1, LONGEST_SHORT) : this.length;
      this.deliver(Math.min(most, this.length));
    } else if (this.isEnding) {
      this.isStopped = true;
      this.to.inputEnded();
      return;
    }
    this.arm();
  }

  private deliver(count: number): void {
    const bytes = new Uint8Array(Math.min(count, this.cutIn));
    if (bytes.length === 0) return;
    const { ring } = this;
    const first = Math.min(bytes.length, ring.length - this.head);
    bytes.set(ring.subarray(this.head, this.head + first));
    bytes.set(ring.subarray(0, bytes.length - first), first);
    const taken = this.to.received(bytes);
    // It may have hung up inside.
    if (this.isStopped) return;
    this.isPaused = taken < bytes.length;
    this.head = (this.head + taken) % ring.length;
    this.length -= taken;
    this.cutIn -= taken;
    if (taken > 0 && this.isFull) this.tellOfRoom();
    if (this.cutIn === 0) this.onCut();
  }
}
