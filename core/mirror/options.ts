import type { AllocateBytes, Clock, Log } from '../base/ports.ts';
import type { BlockDevice } from '../block/device.ts';
import type { Loop } from '../block/loop.ts';
import type { IoStats } from '../stats/io-stats.ts';
import type { Standing } from './leg.ts';
import type { LegErrors, MirrorRecorder } from './record.ts';
import type { RegionBits } from './region-bits.ts';
import type { RegionLogStart } from './region-log.ts';
import type { PaceLimits } from './resync-pace.ts';
import type { ScrubPlace } from './scrub-report.ts';

/** Which leg answers a read that several could. */
export type ReadPolicy =
  | { readonly kind: 'least-pending' }
  | { readonly kind: 'round-robin' }
  | { readonly kind: 'prefer'; readonly leg: number };

export interface MirrorLegOptions {
  readonly name: string;
  readonly startSector: number;
  /** null: the device is not there, and `standing` is `missing`. */
  readonly device: BlockDevice | null;
  readonly standing: Standing;
  /** 0..63, another for each leg; without it the leg's place. */
  readonly slot?: number;
  readonly writeMostly?: boolean;
  readonly failedByHand?: boolean;
  /** Slot of the leg that leaves when this one is in sync. */
  readonly replaces?: number | null;
  readonly reason?: string;
  readonly errors?: LegErrors;
  readonly uuid?: string;
  /** Of a leg that is no member: what it lacks; left out: everything. */
  readonly lacks?: RegionBits;
  /** It lacks no more than `lacks`, and so may come back by a copy of that. */
  readonly deltaPossible?: boolean;
}

export interface MirrorOptions {
  readonly name: string;
  readonly loop: Loop;
  readonly clock: Clock;
  readonly log: Log;
  /** Memory of copies and comparisons; left out: the engine's own. */
  readonly memory?: AllocateBytes;
  readonly recorder: MirrorRecorder;
  /** Size of the device in sectors. */
  readonly sectors: number;
  /** Power of two, 2 sectors or more. */
  readonly regionSectors: number;
  /** 1..64: one is what is left when the other was removed. At least one is a member with a device. */
  readonly legs: readonly MirrorLegOptions[];
  /** The generation of the record the set was assembled from; 0 for a new set. */
  readonly generation: number;
  /**
   * False after an unclean stop: members may differ where writes were under way, so all regions are
   * read from the first member only until they have been copied from it to the others.
   */
  readonly membersEqual: boolean;
  readonly readPolicy: ReadPolicy;
  /** By a leg's name: after how long it is given up on, 0: never. Left out: 30 s. */
  readonly legTimeoutMs?: ((leg: string) => number | undefined) | undefined;
  /** Where dirty regions are kept; left out: nowhere (`core`), so all are in doubt after a crash. */
  readonly regionLog?: RegionLogStart;
  /** No bit of the log was cleared since this generation. */
  readonly clearedGeneration?: number;
  /** Of a scrub that an earlier run of the set did not end; null: there was none. */
  readonly scrubPlace?: ScrubPlace | null;
  /** What clients' requests take, noted by who serves them; resync yields to it. */
  readonly clients?: IoStats;
  readonly pace?: PaceLimits;
  /** The number of the last event of the set that this one replaces. */
  readonly eventNr?: number;
  readonly onEvent?: (event: MirrorEvent) => void;
}

export type MirrorEventKind =
  | 'leg-failed'
  | 'leg-in-sync'
  | 'leg-added'
  | 'leg-re-added'
  | 'leg-removed'
  | 'log-failed'
  | 'resync-started'
  | 'resync-ended'
  | 'scrub-started'
  | 'scrub-mismatch'
  | 'scrub-ended';

/** Something an operator wants to know; numbered by `eventNr`. */
export interface MirrorEvent {
  readonly eventNr: number;
  readonly kind: MirrorEventKind;
  /** The leg's name; null when the event is about the whole set. */
  readonly leg: string | null;
  readonly message: string;
}
