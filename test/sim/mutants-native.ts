// Bugs in what the native log adds: superblocks, map, assembly, cleaning.
import { RULES } from '../../core/mirror/assemble-native.ts';
import type { Leg } from '../../core/mirror/leg.ts';
import { Farewells } from '../../core/mirror/native-farewell.ts';
import { NativeRecorder } from '../../core/mirror/native-recorder.ts';
import { NEVER_RULE } from '../../core/mirror/native-start.ts';
import { NativeStore } from '../../core/mirror/native-store.ts';
import { RegionBits } from '../../core/mirror/region-bits.ts';
import { RegionCleaner } from '../../core/mirror/region-cleaner.ts';
import { RegionLog } from '../../core/mirror/region-log.ts';
import { MAP_SUM, RegionMap } from '../../core/mirror/region-map.ts';
import { MARK, RegionMarks } from '../../core/mirror/region-marks.ts';
import { MirrorSet } from '../../core/mirror/set.ts';
import { SUPERBLOCK_SUM } from '../../core/mirror/superblock.ts';
import { drawLegOptions, withMetaFaults } from './options.ts';
import { always, nothing, replace, type Mutant } from './plant.ts';
import { runSeed, type SimResult } from './run.ts';

type Done = (errno: number) => void;

/** Legs must come and go for it. */
function playMetaLegs(seed: number): SimResult {
  return runSeed(withMetaFaults(drawLegOptions(seed, 'native')));
}

export const NATIVE_MUTANTS: readonly Mutant[] = [
  {
    bug: 'believe a torn or rotten superblock',
    plant: () => replace(SUPERBLOCK_SUM, 'isRight', always(true)),
  },
  {
    bug: 'believe a rotten sector of the map',
    plant: () => replace(MAP_SUM, 'isRight', always(true)),
  },
  {
    bug: 'merge what was started apart',
    plant: () => replace(RULES, 'isBehind', always(true)),
  },
  {
    bug: 'call everything a split brain that is not the same history',
    plant: () =>
      replace(
        RULES,
        'isBehind',
        () => (other: { run: string }, one: { run: string }) => other.run === one.run,
      ),
  },
  {
    bug: 'lose the log on re-add: a leg that was out lacks nothing',
    plant: () =>
      replace(
        NativeStore.prototype,
        'lacksOf',
        () =>
          function (this: NativeStore) {
            const { shape } = this as unknown as { shape: { regions: number } };
            return new RegionBits(shape.regions);
          },
      ),
  },
  {
    bug: 'data before the dirty mark',
    plant: () => replace(RegionMarks.prototype, 'mayWrite', always(true)),
  },
  {
    bug: 'a mark is good when it is sent',
    plant: () =>
      replace(
        RegionLog.prototype,
        'markRange',
        (original) =>
          function (this: RegionLog, first: number, last: number, isAhead: boolean) {
            original.call(this as never, first as never, last as never, isAhead as never);
            this.marks.marks.fill(MARK.DIRTY, first, last + 1);
          },
      ),
  },
  {
    bug: 'data out on a mark that a leg which is leaving has not',
    plant: () => replace(RegionLog.prototype, 'mustHold', always(false)),
  },
  {
    bug: 'a map write that failed on a leg is taken for good',
    plant: () => replace(NativeStore.prototype, 'settleErrors', always(0)),
  },
  {
    bug: 'a superblock that failed on a leg is taken for good',
    plant: () => replace(NativeRecorder.prototype, 'failLeg', nothing),
  },
  {
    bug: 'what cannot be read of the map is clean',
    plant: () => replace(RegionMap.prototype, 'finish', nothing),
  },
  {
    bug: 'zeros where nobody has written, whatever the legs were made of',
    plant: () =>
      replace(
        RegionLog.prototype,
        'readsZeros',
        () =>
          function (this: RegionLog, region: number) {
            return this.marks.marks[region] === MARK.NEVER;
          },
      ),
  },
  {
    bug: 'a leg that was never in sync reads zeros where nobody has written',
    plant: () => replace(NEVER_RULE, 'readsZeros', always(true)),
    // A spare with other content, put back to a day when it was still being filled.
    play: (seed) =>
      runSeed({
        ...withMetaFaults(drawLegOptions(seed, 'native')),
        zeroed: true,
        crashEvery: 40,
        rollbackPercent: 50,
      }),
  },
  {
    bug: 'clean before the flush',
    plant: () => {
      replace(
        RegionCleaner.prototype,
        'mayClean',
        () =>
          function (this: RegionCleaner, region: number) {
            const { log, set } = this as unknown as { log: RegionLog; set: MirrorSet };
            const mark = log.marks.marks[region];
            return mark === MARK.DIRTY && !set.pending.isDirty(region);
          },
      );
      replace(
        RegionCleaner.prototype,
        'pass',
        (original) =>
          function (this: RegionCleaner, isLast: boolean, done: () => void) {
            const { set } = this as unknown as { set: MirrorSet };
            const flush = set.flush.bind(set);
            set.flush = (flushed: Done): void => set.loop.defer({ complete: () => flushed(0) });
            original.call(this as never, isLast as never, done as never);
            set.flush = flush;
          },
      );
    },
  },
  {
    bug: 'clean what is being written',
    plant: () =>
      replace(
        RegionCleaner.prototype,
        'mayClean',
        () =>
          function (this: RegionCleaner, region: number) {
            const { log } = this as unknown as { log: RegionLog };
            return log.marks.marks[region] === MARK.DIRTY;
          },
      ),
  },
  {
    bug: 'bump no generation before bits are cleared',
    plant: () =>
      replace(
        MirrorSet.prototype,
        'raiseGeneration',
        () =>
          function (this: MirrorSet, done: Done) {
            this.loop.defer({ complete: () => done(0) });
          },
      ),
  },
  {
    bug: 'lack bits lost: clean before those of legs that are out are written',
    plant: () =>
      replace(
        RegionCleaner.prototype,
        'clearLacks',
        () =>
          function (this: RegionCleaner, chosen: RegionBits, isLast: boolean, done: () => void) {
            const cleaner = this as unknown as {
              clean: (chosen: RegionBits, isLast: boolean, done: () => void) => void;
            };
            cleaner.clean(chosen, isLast, done);
          },
      ),
  },
  {
    bug: 'call a leg resyncing before its lack bits are written',
    plant: () => replace(NativeRecorder.prototype, 'needsLacks', always(false)),
    play: playMetaLegs,
  },
  {
    bug: 'no doubt about dirty regions after a crash',
    plant: () => replace(MirrorSet.prototype, 'addDirty', nothing),
  },
  {
    bug: 'a new member without the map',
    play: playMetaLegs,
    plant: () =>
      replace(
        MirrorSet.prototype,
        'prepareAdmission',
        () =>
          function (this: MirrorSet, done: Done) {
            this.flush(done);
          },
      ),
  },
  {
    bug: 'the superblock goes to one leg only',
    plant: () =>
      replace(
        NativeRecorder.prototype,
        'send',
        (original) =>
          function (this: NativeRecorder, legs: readonly Leg[], common: object) {
            const one = legs.filter(({ isActive }) => isActive).slice(0, 1);
            original.call(this as never, one as never, common as never);
          },
      ),
  },
  {
    bug: 'the newest copy of the superblock is written over',
    plant: () =>
      replace(
        NativeRecorder.prototype,
        'addTarget',
        (original) =>
          function (this: NativeRecorder, leg: Leg, i: number) {
            const { memories } = this as unknown as { memories: Map<string, { copy: string }> };
            const memory = memories.get(leg.uuid ?? '');
            if (memory !== undefined) memory.copy = memory.copy === 'a' ? 'b' : 'a';
            original.call(this as never, leg as never, i as never);
            if (memory !== undefined) memory.copy = memory.copy === 'a' ? 'b' : 'a';
          },
      ),
  },
  {
    bug: 'one copy of the superblock only',
    plant: () => replace(NativeRecorder.prototype, 'sendSecond', () => function () {}),
  },
  {
    bug: 'a leg that has left is not told',
    plant: () => replace(Farewells.prototype, 'say', nothing),
  },
];
