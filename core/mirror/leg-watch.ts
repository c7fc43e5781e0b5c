import { ERRNO } from '../base/errno.ts';
import type { Clock } from '../base/ports.ts';
import type { Bio } from '../block/bio.ts';
import type { BlockDevice } from '../block/device.ts';
import { REQ_FLAG, REQ_OP } from '../block/op.ts';
import type { BioWatch, SentBio } from '../dm-io/client.ts';
import { LegDeadline } from './leg-deadline.ts';
import { isOfAnEmptied } from './leg.ts';
import type { MirrorSet } from './set.ts';

/** Counts each leg's bios, and has an eye on how long they take. */
export class LegWatch implements BioWatch {
  private readonly clock: Clock;
  private readonly set: MirrorSet;
  private readonly deadline: LegDeadline;

  constructor(set: MirrorSet) {
    this.set = set;
    this.clock = set.clock;
    this.deadline = new LegDeadline(set);
  }

  nowMs(): number {
    return this.clock.nowMs();
  }

  sending(): number {
    if (!this.deadline.isArmed) this.deadline.arm();
    return this.clock.nowMs();
  }

  bioEnded(device: BlockDevice, bio: Bio & SentBio, tookMs: number): void {
    if (bio.error !== 0) this.noteError(device, bio);
    const legs = this.set.legs;
    for (let i = 0; i < legs.length; i += 1) {
      const leg = legs[i]!;
      if (leg.device !== device) continue;
      leg.stats.note(bio.op, bio.sectors, tookMs, bio.error);
      return;
    }
  }

  private noteError(device: BlockDevice, bio: Bio & SentBio): void {
    const { error, op, flags, request } = bio;
    const leg = this.set.legOf(device);
    if (leg === null) return;
    if (isOfAnEmptied(error)) this.set.noteEmptied(leg);
    const isSync = op === REQ_OP.FLUSH || (flags & REQ_FLAG.FUA) !== 0;
    if (!isSync || error === ERRNO.EOPNOTSUPP || request === null || !leg.isActive) return;
    this.set.failedSyncs.note(request);
    this.set.unsettled.partFailed(request, leg);
  }

  mayEnd(device: BlockDevice, bio: Bio): boolean {
    const { unsettled, client } = this.set;
    if (unsettled.isEmpty) return true;
    const leg = this.set.legOf(device);
    return leg === null || unsettled.mayEnd(leg, bio, client.requestsWaiting === 0);
  }

  lateEnded(device: BlockDevice, bio: Bio, tookMs: number): void {
    const leg = this.set.legOf(device);
    if (leg === null) return;
    if (isOfAnEmptied(bio.error)) this.set.noteEmptied(leg);
    leg.stats.note(bio.op, bio.sectors, tookMs, bio.error === 0 ? ERRNO.ETIMEDOUT : bio.error);
    leg.leave();
  }

  /** The set has stopped: nothing is looked at any more. */
  stop(): void {
    this.deadline.stop();
  }
}
