import { Bio } from '../../core/block/bio.ts';
import { RangeLock, type RangeClaim } from '../../core/block/range-lock.ts';
import { REQ_FLAG, REQ_OP } from '../../core/block/op.ts';
import { DmIoClient } from '../../core/dm-io/client.ts';
import type { DmIoRequest } from '../../core/dm-io/request.ts';
import { Journal, type RecordWaiter } from '../../core/mirror/journal.ts';
import { Leg, STANDING } from '../../core/mirror/leg.ts';
import { MirrorRead } from '../../core/mirror/read.ts';
import { Recovery } from '../../core/mirror/recovery.ts';
import { RegionBits } from '../../core/mirror/region-bits.ts';
import { RegionCopy } from '../../core/mirror/region-copy.ts';
import { MirrorSet } from '../../core/mirror/set.ts';
import { MirrorWrite } from '../../core/mirror/write.ts';
import { always, nothing, replace, type Mutant } from './plant.ts';

/** Bugs in what both logs share, played with the core log. */
export const MUTANTS: readonly Mutant[] = [
  {
    bug: 'acknowledge before the record of the miss is durable',
    plant: () =>
      replace(
        Journal.prototype,
        'wait',
        (original) =>
          function (this: Journal, waiter: RecordWaiter) {
            const { set, issued } = waiter as unknown as { set: MirrorSet; issued?: boolean };
            const acknowledge = (): void => waiter.recorded(0);
            if (issued === true) set.loop.defer({ complete: acknowledge });
            else original.call(this as never, waiter as never);
          },
      ),
  },
  {
    bug: 'answer a read before the record of who left is durable',
    plant: () => replace(Journal.prototype, 'isGuardBehind', always(false)),
  },
  {
    bug: 'clear the bit before the copy has landed',
    plant: () => {
      replace(
        RegionCopy.prototype,
        'writePiece',
        (original) =>
          function (this: RegionCopy) {
            const { set, targets } = this as unknown as { set: MirrorSet; targets: Leg[] };
            for (const leg of targets) leg.outOfSync.clear(this.region);
            set.doubt.clear(this.region);
            return original.call(this as never);
          },
      );
      replace(
        RegionCopy.prototype,
        'pieceWritten',
        () =>
          function (this: RegionCopy) {
            const copy = this as unknown as { pieceDone: () => void };
            copy.pieceDone();
          },
      );
    },
  },
  {
    bug: 'copy from a leg that lacks the region',
    plant: () =>
      replace(
        RegionCopy.prototype,
        'chooseSource',
        () =>
          function (this: RegionCopy) {
            const { set, tried } = this as unknown as { set: MirrorSet; tried: Uint8Array };
            return set.legs.find((leg) => leg.isActive && tried[leg.slot] === 0) ?? null;
          },
      ),
  },
  {
    bug: 'read a leg that lacks the region',
    plant: () =>
      replace(
        Leg.prototype,
        'canRead',
        () =>
          function (this: Leg) {
            return this.isActive;
          },
      ),
  },
  {
    bug: 'skip the flush on the last leg',
    plant: () =>
      replace(
        DmIoClient.prototype,
        'submit',
        (original) =>
          function (this: DmIoClient, request: DmIoRequest) {
            if (request.op === REQ_OP.FLUSH && request.regionCount > 1) request.regionCount -= 1;
            return original.call(this as never, request as never);
          },
      ),
  },
  {
    bug: 'forget FUA on the way to the legs',
    plant: () =>
      replace(
        DmIoClient.prototype,
        'submit',
        (original) =>
          function (this: DmIoClient, request: DmIoRequest) {
            request.flags &= ~REQ_FLAG.FUA;
            return original.call(this as never, request as never);
          },
      ),
  },
  {
    bug: 'forget the overlap lock',
    plant: () => replace(RangeLock.prototype, 'countBlockers', always(0)),
  },
  {
    bug: 'forget the lock between a copy and a write',
    plant: () =>
      replace(
        RangeLock.prototype,
        'countBlockers',
        (original) =>
          function (this: RangeLock, claim: RangeClaim) {
            if (claim.owner instanceof RegionCopy) return 0;
            return original.call(this as never, claim as never);
          },
      ),
  },
  {
    bug: 'forget the doubt after a write that failed, or that a leg did not support',
    plant: () => replace(MirrorSet.prototype, 'putInDoubt', nothing),
  },
  {
    bug: 'believe all members equal after a crash',
    plant: () =>
      replace(
        MirrorSet.prototype,
        'markInitialRegions',
        (original) =>
          function (this: MirrorSet) {
            const result = original.call(this as never);
            this.doubt.clearAll();
            return result;
          },
      ),
  },
  {
    bug: 'drop the last member',
    plant: () =>
      replace(
        MirrorSet.prototype,
        'expel',
        () =>
          function (this: MirrorSet, leg: Leg) {
            leg.standing = STANDING.FAILED;
            this.journal.memberLeft();
            return true;
          },
      ),
  },
  {
    bug: 'ignore the error bit of one leg',
    plant: () =>
      replace(
        DmIoClient.prototype,
        'bioEnded',
        (original) =>
          function (this: DmIoClient, bio: Bio) {
            if (bio.tag === 1 && bio.op === REQ_OP.WRITE) bio.error = 0;
            return original.call(this as never, bio as never);
          },
      ),
  },
  {
    bug: 'acknowledge a write when it is sent, so its memory is used again early',
    plant: () =>
      replace(
        MirrorWrite.prototype,
        'issue',
        (original) =>
          function (this: MirrorWrite) {
            const write = this as unknown as { set: MirrorSet; bio: Bio };
            original.call(this as never);
            const { bio } = write;
            write.bio = Object.assign(new Bio(), bio, { owner: { endIo: () => undefined } });
            write.set.loop.defer(bio);
          },
      ),
  },
  {
    bug: 'forget to mark legs that have left while a write was under way',
    plant: () => replace(MirrorWrite.prototype, 'markLegsThatLeft', nothing),
  },
  {
    bug: 'forget what was not flushed when a leg fails',
    plant: () => replace(RegionBits.prototype, 'addAll', nothing),
  },
  {
    bug: 'record clean while members are unequal',
    plant: () =>
      replace(
        MirrorSet.prototype,
        'record',
        (original) =>
          function (this: MirrorSet) {
            const record = original.call(this as never) as object;
            return { ...record, clean: true };
          },
      ),
  },
  {
    bug: 'let writes out before the set is recorded as dirty',
    plant: () => replace(MirrorSet.prototype, 'isDirtyDurably', always(true)),
  },
  {
    bug: 'admit a joining leg without a flush',
    plant: () =>
      replace(
        Recovery.prototype,
        'admitJoined',
        () =>
          function (this: Recovery) {
            const { set } = this as unknown as { set: MirrorSet };
            for (const leg of set.legs) {
              const complete = leg.standing === STANDING.JOINING && leg.outOfSync.count === 0;
              if (complete) set.admit(leg);
            }
            this.kick();
          },
      ),
  },
  {
    bug: 'take the data of a failed read for good',
    plant: () =>
      replace(
        DmIoClient.prototype,
        'bioEnded',
        (original) =>
          function (this: DmIoClient, bio: Bio) {
            if (bio.op === REQ_OP.READ) bio.error = 0;
            return original.call(this as never, bio as never);
          },
      ),
  },
  {
    bug: 'start the second piece of a read at the first',
    plant: () =>
      replace(
        MirrorRead.prototype,
        'aimAtRest',
        () =>
          function (this: MirrorRead, bio: Bio) {
            const { request } = this as unknown as { request: DmIoRequest };
            request.memory.setVecs(bio.vecs, bio.vecCount);
          },
      ),
  },
  {
    bug: 'forget the short last region',
    plant: () =>
      replace(
        MirrorSet.prototype,
        'sectorsOfRegion',
        () =>
          function (this: MirrorSet) {
            return this.regionSectors;
          },
      ),
  },
  {
    bug: 'never try again what could not be healed',
    plant: () => replace(Recovery.prototype, 'retryLater', nothing),
  },
  {
    bug: 'a failed write is good on the first leg',
    plant: () =>
      replace(
        MirrorSet.prototype,
        'putInDoubt',
        () =>
          function (this: MirrorSet, first: number, last: number) {
            for (const leg of this.legs) {
              if (leg !== this.firstMember()) leg.outOfSync.setRange(first, last);
            }
          },
      ),
  },
];
