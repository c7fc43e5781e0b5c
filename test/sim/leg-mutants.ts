import { removeLeg } from '../../core/mirror/leg-changes.ts';
import { Leg, STANDING } from '../../core/mirror/leg.ts';
import { Journal } from '../../core/mirror/journal.ts';
import { MirrorSet } from '../../core/mirror/set.ts';
import { Recovery } from '../../core/mirror/recovery.ts';
import { drawLegOptions } from './options.ts';
import { replace, type Mutant } from './plant.ts';
import { runSeed, type SimResult } from './run.ts';

const play = (seed: number): SimResult => runSeed(drawLegOptions(seed));

/** A change of the set runs with the leg's standing as it was before it joined. */
function onJoin(change: (set: MirrorSet, leg: Leg) => void): () => void {
  return () =>
    replace(
      MirrorSet.prototype,
      'legsChanged',
      (original) =>
        function (this: MirrorSet) {
          for (const leg of this.legs) if (isJoining(leg)) change(this, leg);
          return original.call(this as never);
        },
    );
}

function isJoining(leg: Leg): boolean {
  return leg.standing === STANDING.JOINING;
}

/** Bugs in what leg-changes.ts does. */
export const LEG_MUTANTS: readonly Mutant[] = [
  {
    bug: 're-add forgets what the leg lacks',
    play,
    plant: onJoin((_, leg) => leg.outOfSync.clearAll()),
  },
  {
    bug: 'a leg that was added is a member at once',
    play,
    plant: onJoin((_, leg) => {
      leg.standing = STANDING.MEMBER;
    }),
  },
  {
    bug: 'a copy that began before a re-add vouches for the leg',
    play,
    plant: () => {
      replace(Recovery.prototype, 'spoilAll', () => () => undefined);
    },
  },
  {
    bug: 'replace drops the old leg before the new one is in sync',
    play,
    plant: () =>
      replace(
        MirrorSet.prototype,
        'endReplacements',
        () =>
          function (this: MirrorSet) {
            const next = this.legs.find((leg) => isJoining(leg) && leg.replaces >= 0);
            const old = next === undefined ? null : this.replacedBy(next);
            if (old !== null && !old.isLeaving) removeLeg(this, old, () => undefined);
          },
      ),
  },
  {
    bug: 'the leg that was replaced never leaves',
    play,
    plant: () => replace(MirrorSet.prototype, 'endReplacements', () => () => undefined),
  },
  {
    bug: 'a change of legs is answered before it is durable',
    play,
    plant: () =>
      replace(
        Journal.prototype,
        'wait',
        (original) =>
          function (this: Journal, waiter: { recorded: (errno: number) => void }) {
            // Requests and flushes have a set; who changes legs is a plain record.
            if (Object.hasOwn(waiter, 'set')) original.call(this as never, waiter as never);
            else waiter.recorded(0);
          },
      ),
  },
  {
    bug: 'a leg is let go while requests are under way',
    play,
    plant: () =>
      replace(
        Leg.prototype,
        'whenIdle',
        () =>
          function (this: Leg, idle: () => void) {
            Object.defineProperty(this, 'inFlight', { value: 0 });
            idle();
          },
      ),
  },
];
