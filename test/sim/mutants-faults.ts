import type { Issuer } from '../../core/block/loan.ts';
import type { BlockDevice } from '../../core/block/device.ts';
import { REQ_OP } from '../../core/block/op.ts';
import { DmIoClient } from '../../core/dm-io/client.ts';
import type { DmIoRequest } from '../../core/dm-io/request.ts';
import { LegDeadline } from '../../core/mirror/leg-deadline.ts';
import { Leg } from '../../core/mirror/leg.ts';
import { Losses } from '../../core/mirror/losses.ts';
import { MirrorRead } from '../../core/mirror/read.ts';
import { RegionCopy } from '../../core/mirror/region-copy.ts';
import { MirrorSet } from '../../core/mirror/set.ts';
import { drawCutOptions, drawOptions } from './options.ts';
import { always, nothing, replace, type Mutant } from './plant.ts';
import { runSeed, type SimResult } from './run.ts';
import { World } from './world.ts';

/** One leg never has any faults, so any wait is ours. */
function playStuck(seed: number): SimResult {
  const options = drawOptions(seed);
  return runSeed({ ...options, atlas: 'anchor', legTimeoutMs: 500, stallEvery: 30 });
}

/** Nobody is without faults, and clients want much to be durable. */
function playLoss(seed: number): SimResult {
  const options = drawOptions(seed);
  const weights = { ...options.weights, flush: 4 };
  return runSeed({ ...options, atlas: 'broken', faultEvery: 20, fuaPercent: 30, weights });
}

/** Bugs of what is done when nobody is left to take over, and when a leg does not answer. */
export const FAULT_MUTANTS: readonly Mutant[] = [
  {
    bug: 'a flush that failed on every member is nobody’s business',
    play: playLoss,
    plant: () => replace(Losses.prototype, 'note', nothing),
  },
  {
    bug: 'a leg that has become shorter lacks only what it was asked for (`--cut`)',
    play: (seed) => runSeed(drawCutOptions(seed)),
    plant: () => replace(MirrorSet.prototype, 'noteEmptied', nothing),
  },
  {
    bug: 'a leg that was out when it was found to be shorter lacks what it has missed (`--cut`)',
    play: (seed) => runSeed(drawCutOptions(seed)),
    plant: () =>
      replace(
        MirrorSet.prototype,
        'noteEmptied',
        () =>
          function (this: MirrorSet, leg: Leg) {
            if (leg.isActive) leg.isEmptied = true;
          },
      ),
  },
  {
    bug: 'a flush goes well while a member shows what it has lost',
    play: playLoss,
    plant: () => replace(MirrorSet.prototype, 'hasLost', always(false)),
  },
  {
    bug: 'tell one client of a loss, and none of the others',
    play: playLoss,
    plant: () =>
      replace(
        Losses.prototype,
        'owedTo',
        (original) =>
          function (this: Losses, issuer: Issuer | null) {
            const { isTold } = this as unknown as { isTold: boolean };
            return isTold ? 0 : original.call(this as never, issuer as never);
          },
      ),
  },
  {
    bug: 'wait for a leg that does not answer',
    play: playStuck,
    plant: () => replace(LegDeadline.prototype, 'takeOut', nothing),
  },
  {
    bug: 'read once more into memory that a late read may still write to',
    play: playStuck,
    plant: () =>
      replace(
        MirrorRead.prototype,
        'dmIoDone',
        (original) =>
          function (this: MirrorRead, request: DmIoRequest) {
            request.isLate = false;
            return original.call(this as never, request as never);
          },
      ),
  },
  {
    bug: 'add a leg again while old requests are under way there',
    play: playStuck,
    plant: () => replace(Leg.prototype, 'inFlight', always(0)),
  },
  {
    bug: 'a write that a leg was given up on for counts as done',
    play: playStuck,
    plant: () => {
      replace(MirrorSet.prototype, 'timeOut', always(true));
      replace(
        DmIoClient.prototype,
        'abandon',
        (original) =>
          function (this: DmIoClient, device: BlockDevice, errno: number) {
            const requests = new Set<DmIoRequest>();
            this.eachInFlight(({ request }) => {
              if (request !== null && request.op !== REQ_OP.READ) requests.add(request);
            });
            original.call(this as never, device as never, errno as never);
            for (const request of requests) request.errorBits.clear();
          },
      );
    },
  },
  {
    bug: 'start without waiting for the lock of a leg',
    plant: () =>
      replace(
        World.prototype,
        'fence',
        () =>
          function (this: World) {
            const before = this.acknowledgedWrites;
            for (const disk of this.disks) {
              this.clock.in(2000, () => disk.layGhosts(this.acknowledgedWrites > before));
            }
          },
      ),
  },
  {
    bug: 'copy what was lost to all legs but its source',
    play: playLoss,
    plant: () =>
      replace(
        RegionCopy.prototype,
        'writeTo',
        (original) =>
          function (this: RegionCopy, legs: Leg[]) {
            const { source } = this as unknown as { source: Leg | null };
            const others = legs.filter((leg) => leg !== source);
            return original.call(this as never, others as never);
          },
      ),
  },
];
