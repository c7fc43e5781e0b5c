import { assert } from '../base/assert.ts';
import type { BlockDevice } from '../block/device.ts';
import { STANDING } from './leg.ts';
import { DiskLog } from './disk-log.ts';
import { readDiskLog, type LogSync } from './disk-log-format.ts';
import { DiskLogRecorder, eraseLogRecord } from './disk-log-record.ts';
import { DiskStore } from './disk-log-store.ts';
import type { MirrorLegOptions, MirrorOptions } from './options.ts';
import type { MirrorRecorder } from './record.ts';
import { RegionBits } from './region-bits.ts';
import { REGION_STATE } from './region-map.ts';

/** What is known before the log is looked at. */
export interface DiskLogStartOptions {
  readonly device: BlockDevice;
  readonly regions: number;
  /** The log as it was read; null: it is begun anew, and its device holds zeros. */
  readonly found: Uint8Array | null;
  readonly sync: LogSync;
  /** The legs stand as a record says. False: the set is new, to us. */
  readonly isRecorded: boolean;
  readonly legs: readonly MirrorLegOptions[];
  /** By the record, or by the user's word for a new set. */
  readonly membersEqual: boolean;
  /** Null: there is no other place for the record of who is in sync, so the log's device keeps it. */
  readonly recorder: MirrorRecorder | null;
  readonly cleanAfterMs?: number;
}

export type DiskLogParts = Pick<MirrorOptions, 'legs' | 'membersEqual' | 'regionLog'> & {
  readonly recorder: MirrorRecorder;
};

/**
 * The decision table. The record says who holds every acknowledged write, the log only where legs may
 * differ; where both speak the record goes first.
 *
 * | the set        | the log  | legs                                  | in doubt                         |
 * |----------------|----------|---------------------------------------|----------------------------------|
 * | on record      | read     | as on record; one that is not in sync | regions that are not clean; with |
 * |                |          | lacks everything, whatever is clean   | `sync` all. `nosync` was said of |
 * |                |          |                                       | the first start only             |
 * | on record      | new      | as on record                          | none after a clean stop, or all  |
 * | new, `nosync`, | any      | all in sync                           | none                             |
 * |   equal        |          |                                       |                                  |
 * | new            | read     | the kernel's word: the first is the   | none                             |
 * |                |          | truth, the others lack what is not    |                                  |
 * |                |          | clean                                 |                                  |
 * | new, or `sync` | new      | the first is the truth, the others    | none                             |
 * |                |          | lack everything                       |                                  |
 */
export function diskLogParts(options: DiskLogStartOptions): DiskLogParts {
  const { device, regions, found, isRecorded, sync, membersEqual } = options;
  const isNoted = isRecorded || !membersEqual;
  const dirty = isNoted ? dirtyOf(options) : new RegionBits(regions);
  const log = new DiskLog(device, dirty, found);
  if (options.recorder !== null) eraseLogRecord(log.image);
  const states = new Uint8Array(regions).fill(REGION_STATE.CLEAN);
  // Of a new set: what a leg lacks is not clean in the log for as long as it does.
  for (let r = isRecorded ? dirty.next(0) : -1; r >= 0; r = dirty.next(r + 1)) {
    states[r] = REGION_STATE.DIRTY;
  }
  const isByWord = !isRecorded && !membersEqual && found !== null && sync !== 'sync';
  const { cleanAfterMs } = options;
  return {
    legs: isByWord ? options.legs.map((leg) => lacking(leg, dirty)) : options.legs,
    membersEqual: membersEqual && dirty.count === 0,
    regionLog: {
      store: new DiskStore(log),
      states,
      ...(cleanAfterMs === undefined ? {} : { cleanAfterMs }),
    },
    recorder: options.recorder ?? new DiskLogRecorder(log),
  };
}

function dirtyOf({
  found,
  regions,
  sync,
  isRecorded,
  membersEqual,
}: DiskLogStartOptions): RegionBits {
  if (found !== null) {
    const read = readDiskLog(found, regions, sync === 'nosync' ? undefined : sync);
    assert(read.kind === 'read', 'a log that is refused was started from');
    return read.dirty;
  }
  const dirty = new RegionBits(regions);
  if (!isRecorded || !membersEqual || sync === 'sync') dirty.setAll();
  return dirty;
}

function lacking(leg: MirrorLegOptions, dirty: RegionBits): MirrorLegOptions {
  if (leg.standing !== STANDING.JOINING) return leg;
  const lacks = new RegionBits(dirty.total);
  lacks.addAll(dirty);
  return { ...leg, lacks, deltaPossible: true };
}
