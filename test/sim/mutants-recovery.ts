import type { DmIoRequest } from '../../core/dm-io/request.ts';
import { REQ_FLAG } from '../../core/block/op.ts';
import type { RangeClaim } from '../../core/block/range-lock.ts';
import type { Leg } from '../../core/mirror/leg.ts';
import { Mend } from '../../core/mirror/mend.ts';
import { LegReads } from '../../core/mirror/leg-reads.ts';
import { Recovery } from '../../core/mirror/recovery.ts';
import { RegionCopy } from '../../core/mirror/region-copy.ts';
import { ResyncPace } from '../../core/mirror/resync-pace.ts';
import { Scrub } from '../../core/mirror/scrub.ts';
import { ScrubRegion } from '../../core/mirror/scrub-region.ts';
import type { MirrorSet } from '../../core/mirror/set.ts';
import { always, nothing, replace, type Mutant } from './plant.ts';
import { runScrubStory } from './scrub-story.ts';

type Mismatches = { sector: number; sectors: number; groups: number[][] }[];

/** Bugs of copying, comparing and scrubbing. */
export const RECOVERY_MUTANTS: readonly Mutant[] = [
  {
    bug: 'settle by comparing, but skip the last block of each piece',
    plant: () =>
      replace(
        Mend.prototype,
        'addDifferences',
        (original) =>
          function (this: Mend, leg: Leg, found: Uint8Array, sectors: number) {
            const { set } = this as unknown as { set: MirrorSet };
            original.call(
              this as never,
              leg as never,
              found as never,
              (sectors - set.blockSectors) as never,
            );
          },
      ),
  },
  {
    bug: 'settle by comparing, but write nothing',
    plant: () => replace(Mend.prototype, 'addDifferences', nothing),
  },
  {
    bug: 'settle by comparing, and mend without FUA',
    plant: () =>
      replace(
        Mend.prototype,
        'send',
        (original) =>
          function (this: Mend) {
            const { request } = this as unknown as { request: DmIoRequest };
            request.flags = REQ_FLAG.NONE;
            original.call(this as never);
          },
      ),
  },
  {
    bug: 'scrub takes legs for equal that are not',
    plant: () => replace(LegReads.prototype, 'areEqual', always(true)),
    play: runScrubStory,
  },
  {
    bug: 'copy over a newer write: the claim of a copy lets writes in',
    plant: () =>
      replace(
        RegionCopy.prototype,
        'readPiece',
        (original) =>
          function (this: RegionCopy) {
            const { set, claim } = this as unknown as { set: MirrorSet; claim: RangeClaim };
            if (claim.held && claim.end - claim.start > 1) {
              set.lock.release(claim);
              claim.end = claim.start + 1;
              claim.exclusive = false;
              claim.start += 0;
              if (!set.lock.acquire(claim)) throw new Error('the plant does not fit here');
            }
            original.call(this as never);
          },
      ),
  },
  {
    bug: 'stop at the floor: the pace never lets another region go',
    plant: () => replace(ResyncPace.prototype, 'book', always(1000)),
  },
  {
    bug: 'forget that reads wait for regions in doubt',
    plant: () => replace(Recovery.prototype, 'nextDemanded', always(-1)),
  },
  {
    bug: 'scrub without a claim',
    plant: () =>
      replace(
        ScrubRegion.prototype,
        'acquire',
        () =>
          function (this: ScrubRegion, exclusive: boolean) {
            const { set, region, claim } = this as unknown as {
              set: MirrorSet;
              region: number;
              claim: RangeClaim;
            };
            claim.start = region * set.regionSectors;
            claim.end = claim.start + set.sectorsOfRegion(region);
            claim.exclusive = exclusive;
            this.rangeGranted();
          },
      ),
    play: runScrubStory,
  },
  {
    bug: 'scrub a region in doubt without settling it',
    plant: () =>
      replace(
        ScrubRegion.prototype,
        'rangeGranted',
        () =>
          function (this: ScrubRegion) {
            const region = this as unknown as { readPiece(): void };
            region.readPiece();
          },
      ),
  },
  {
    bug: 'scrub repairs from the minority',
    plant: () =>
      replace(
        ScrubRegion.prototype,
        'plan',
        (original) =>
          function (this: ScrubRegion) {
            const { found } = this as unknown as { found: Mismatches };
            for (const part of found) part.groups.reverse();
            const lists = found.map((part) => part.groups);
            for (const groups of lists) if (groups.length === 2) equalize(groups);
            original.call(this as never);
          },
      ),
    play: runScrubStory,
  },
  {
    bug: 'scrub repairs what nobody asked to repair',
    plant: () =>
      replace(
        Scrub.prototype,
        'begin',
        (original) =>
          function (this: Scrub, _repair: unknown, anew: boolean) {
            return original.call(this as never, { fromLeg: 0 } as never, anew as never);
          },
      ),
    play: runScrubStory,
  },
  {
    bug: 'scrub reports one block too little',
    plant: () =>
      replace(
        Scrub.prototype,
        'mismatch',
        (original) =>
          function (this: Scrub, found: object & { sectors: number }, findings: object) {
            const shorter = { ...found, sectors: Math.max(1, found.sectors - 1) };
            original.call(this as never, shorter as never, findings as never);
          },
      ),
    play: runScrubStory,
  },
  {
    bug: 'scrub leaves unreadable sectors as they are',
    plant: () => replace(ScrubRegion.prototype, 'addRun', nothing),
    play: runScrubStory,
  },
];

/** The smaller side gets a voice too many. */
function equalize(groups: number[][]): void {
  const [first = []] = groups;
  while (first.length * 2 <= groups.flat().length) first.push(first[0] ?? 0);
}
