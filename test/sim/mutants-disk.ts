// Bugs in what the disk log adds: the log device, its bits, what a start makes of them.
import { ERRNO } from '../../core/base/errno.ts';
import { DiskLog } from '../../core/mirror/disk-log.ts';
import { DiskStore } from '../../core/mirror/disk-log-store.ts';
import type { DmIoRequest } from '../../core/dm-io/request.ts';
import type { RegionBits } from '../../core/mirror/region-bits.ts';
import { RegionLog } from '../../core/mirror/region-log.ts';
import { MARK, RegionMarks } from '../../core/mirror/region-marks.ts';
import { MirrorSet } from '../../core/mirror/set.ts';
import { NATIVE_MUTANTS } from './mutants-native.ts';
import { nothing, replace, type Mutant } from './plant.ts';

/** Of what both logs on disk share. */
const SHARED = [
  'data before the dirty mark',
  'a mark is good when it is sent',
  'clean before the flush',
  'clean what is being written',
];

export const DISK_MUTANTS: readonly Mutant[] = [
  ...NATIVE_MUTANTS.filter(({ bug }) => SHARED.includes(bug)),
  {
    bug: 'no flush of the log device',
    plant: () =>
      replace(
        DiskLog.prototype,
        'dmIoDone',
        (original) =>
          function (this: DiskLog, request: DmIoRequest) {
            const log = this as unknown as { end: (errno: number, health: string) => void };
            if (request.errorBits.isEmpty) log.end(ERRNO.OK, 'A');
            else original.call(this as never, request as never);
          },
      ),
  },
  {
    bug: 'an error of the log device is overlooked',
    plant: () =>
      replace(
        DiskLog.prototype,
        'end',
        (original) =>
          function (this: DiskLog) {
            original.call(this as never, ERRNO.OK as never, 'A' as never);
          },
      ),
  },
  {
    bug: 'data goes out when the mark has failed',
    plant: () =>
      replace(
        RegionLog.prototype,
        'written',
        (original) =>
          function (this: RegionLog) {
            original.call(this as never, ERRNO.OK as never);
          },
      ),
  },
  {
    bug: 'the bits of the region beside it',
    plant: () =>
      replace(
        DiskStore.prototype,
        'encode',
        (original) =>
          function (
            this: DiskStore,
            block: number,
            log: RegionLog,
            lacked: RegionBits,
            mayClear: boolean,
          ) {
            const beside = { stateOf: (region: number) => log.stateOf(Math.max(0, region - 1)) };
            original.call(
              this as never,
              block as never,
              beside as never,
              lacked as never,
              mayClear as never,
            );
          },
      ),
  },
  {
    bug: 'a start puts nothing in doubt',
    plant: () => replace(MirrorSet.prototype, 'addDirty', nothing),
  },
  {
    bug: 'a region stays writable while it is being cleaned',
    plant: () =>
      replace(
        RegionMarks.prototype,
        'mayWrite',
        () =>
          function (this: RegionMarks, first: number, last: number) {
            for (let region = first; region <= last; region += 1) {
              const mark = this.marks[region];
              if (mark !== MARK.DIRTY && mark !== MARK.CLEANING) return false;
            }
            return true;
          },
      ),
  },
];
