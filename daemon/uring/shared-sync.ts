import { ERRNO } from '../../core/base/errno.ts';
import { Ring as Queue } from '../../core/base/ring.ts';
import type { Bio } from '../../core/block/bio.ts';
import type { Completion } from '../../core/block/loop.ts';
import { FSYNC_DATASYNC, OP } from './abi.ts';
import type { UringDevice } from './engine.ts';
import { RingOp } from './ring.ts';

const EINTR = 4;

/**
 * The data syncs of one device: one at a time, each for every FLUSH and FUA that waits when it
 * begins. A FUA write comes here when its data is in the page cache. Whoever comes while one runs
 * shares the next, so 32 FUA writes cost one or two commits of the journal and not 32.
 *
 * It begins with the loop's next run and not at once: what came in one gulp shares.
 *
 * After a failed sync nothing on the descriptor can be called durable any more: the kernel drops
 * what it could not write, and calls the next sync well.
 */
export class SharedSync extends RingOp implements Completion {
  private readonly device: UringDevice;
  private covers = new Queue<Bio>(64);
  private next = new Queue<Bio>(64);
  private isScheduled = false;
  private hasFailed = false;

  constructor(device: UringDevice) {
    super();
    this.device = device;
    device.engine.ring.register(this);
  }

  /** A sync has failed: FLUSH and FUA answer EIO until the file is opened again. */
  get failed(): boolean {
    return this.hasFailed;
  }

  /** The sync half of a FUA write that did both in one has failed. */
  markFailed(): void {
    this.hasFailed = true;
  }

  /** The bio ends when a sync that begins after now has ended. */
  cover(bio: Bio): void {
    this.next.push(bio);
    if (this.inFlight || this.isScheduled) return;
    this.isScheduled = true;
    this.device.loop.defer(this);
  }

  complete(): void {
    this.isScheduled = false;
    const covers = this.next;
    this.next = this.covers;
    this.covers = covers;
    if (this.hasFailed) this.settle(ERRNO.EIO);
    else this.issue();
  }

  ended(result: number): void {
    if (result === -EINTR || result === -ERRNO.EAGAIN) {
      this.issue();
      return;
    }
    if (result < 0) this.hasFailed = true;
    this.settle(result < 0 ? -result : ERRNO.OK);
    if (this.next.length === 0 || this.isScheduled) return;
    this.isScheduled = true;
    this.device.loop.defer(this);
  }

  private issue(): void {
    const { engine, fd } = this.device;
    engine.ring.prepare(this, OP.FSYNC, fd, 0, 0, 0, FSYNC_DATASYNC);
  }

  private settle(errno: number): void {
    for (let bio = this.covers.shift(); bio !== undefined; bio = this.covers.shift()) {
      this.device.end(bio, errno);
    }
  }
}
