import { assert } from '../../core/base/assert.ts';
import { ERRNO } from '../../core/base/errno.ts';
import { Ring as Queue } from '../../core/base/ring.ts';
import type { Bio } from '../../core/block/bio.ts';
import type { Completion } from '../../core/block/loop.ts';
import { FSYNC_DATASYNC, OP } from './abi.ts';
import type { UringDevice } from './engine.ts';
import { RingOp } from './ring.ts';

const EINTR = 4;

/**
 * The data syncs of one device: one on each of its descriptors at a time, each for every FLUSH and
 * FUA that waits when it begins. A FUA write comes here when its data is in the page cache. Whoever
 * comes while all run shares the next, so 32 FUA writes cost a few commits of the journal and not 32.
 * Linux tells a write-back error once to each open file description: two syncs on one could share
 * one error, and the other would call lost data durable. So each has its own.
 *
 * It begins with the loop's next run and not at once: what came in one gulp shares.
 *
 * After a failed sync nothing of the file can be called durable any more: the kernel drops what it
 * could not write, and calls the next sync well.
 */
export class SharedSync implements Completion {
  private readonly device: UringDevice;
  private readonly syncs: readonly OneSync[];
  private readonly waiting = new Queue<Bio>(64);
  private isScheduled = false;
  private hasFailed = false;

  /** `fds`: descriptions of the device's file, each opened by itself. */
  constructor(device: UringDevice, fds: readonly number[]) {
    assert(fds.length > 0, 'a device without a descriptor');
    this.device = device;
    const syncs: OneSync[] = [];
    for (let i = 0; i < fds.length; i += 1) syncs.push(new OneSync(this, device, fds[i]!));
    this.syncs = syncs;
  }

  /** A sync has failed: FLUSH and FUA answer EIO until the file is opened again. */
  get failed(): boolean {
    return this.hasFailed;
  }

  markFailed(): void {
    this.hasFailed = true;
  }

  /** The bio ends when a sync that begins after now has ended. */
  cover(bio: Bio): void {
    this.waiting.push(bio);
    this.schedule();
  }

  /** A sync has ended: those who wait may begin the next. */
  schedule(): void {
    if (this.isScheduled || this.waiting.length === 0 || this.idle() === null) return;
    this.isScheduled = true;
    this.device.loop.defer(this);
  }

  complete(): void {
    this.isScheduled = false;
    const sync = this.idle();
    assert(sync !== null, 'a sync was promised');
    sync.begin(this.waiting);
  }

  private idle(): OneSync | null {
    for (let i = 0; i < this.syncs.length; i += 1) {
      const sync = this.syncs[i]!;
      if (!sync.inFlight) return sync;
    }
    return null;
  }
}

/** Has a place in the ring's table only while it runs: devices come and go, and are not told to. */
class OneSync extends RingOp {
  private readonly owner: SharedSync;
  private readonly device: UringDevice;
  private readonly fd: number;
  private readonly covers = new Queue<Bio>(64);

  constructor(owner: SharedSync, device: UringDevice, fd: number) {
    super();
    this.owner = owner;
    this.device = device;
    this.fd = fd;
  }

  begin(waiting: Queue<Bio>): void {
    for (let bio = waiting.shift(); bio !== undefined; bio = waiting.shift()) {
      this.covers.push(bio);
    }
    if (this.owner.failed) this.settle(ERRNO.EIO);
    else this.issue();
  }

  ended(result: number): void {
    if (result === -EINTR || result === -ERRNO.EAGAIN) {
      this.issue();
      return;
    }
    this.device.engine.ring.unregister(this);
    if (result < 0) this.owner.markFailed();
    if (result < 0) this.settle(-result);
    else this.settle(this.owner.failed ? ERRNO.EIO : ERRNO.OK);
    this.owner.schedule();
  }

  private issue(): void {
    const { ring } = this.device.engine;
    if (this.index === -1) ring.register(this);
    ring.prepare(this, OP.FSYNC, this.fd, 0, 0, 0, FSYNC_DATASYNC);
  }

  private settle(errno: number): void {
    for (let bio = this.covers.shift(); bio !== undefined; bio = this.covers.shift()) {
      this.device.end(bio, errno);
    }
  }
}
