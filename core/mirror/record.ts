import type { Loop } from '../block/loop.ts';
import type { LegMetadata } from './assemble-native.ts';
import type { Leg, LegState } from './leg.ts';
import type { MirrorSet } from './set.ts';

export interface LegErrors {
  readonly read: number;
  readonly write: number;
  readonly flush: number;
  readonly resync: number;
  /** Since the daemon started: not on record. */
  readonly timeout?: number;
}

/**
 * What must survive the daemon so that no stale leg is ever believed: who is in sync, as of which
 * generation, and whether the set was stopped cleanly.
 */
export interface MirrorRecord {
  /** Grows with every change of who is in sync. */
  readonly generation: number;
  /** True: no write since; all in-sync legs are flushed and equal. */
  readonly clean: boolean;
  readonly legs: readonly LegRecord[];
}

export interface LegRecord {
  readonly path: string;
  /** The leg's number for life, 0..63. */
  readonly slot: number;
  /** First sector of the leg's part of its device. */
  readonly startSector: number;
  readonly writeMostly: boolean;
  /** Taken out by an operator: nobody else takes it in again. */
  readonly failedByHand: boolean;
  /** Slot of the leg that leaves when this one is in sync. */
  readonly replaces: number | null;
  /** `in-sync` of a member, even while a region of it is being repaired. */
  readonly state: LegState;
  readonly reason: string | null;
  readonly errors: LegErrors;
}

/**
 * What `done` gets, no errno, where a record went well and is none: all whom it calls in sync have left since, so no
 * start would believe it. The set has changed; the next record says how.
 */
export const OUTDATED = -1;

/**
 * Where the record is kept: the daemon's state directory, or the legs themselves. `done` is called
 * once, never from inside `record`, with 0 when this record or a newer one is durable.
 */
export interface MirrorRecorder {
  record(state: MirrorRecord, done: (errno: number) => void): void;
  /** `done` when nothing of it is under way any more; left out: nothing ever is after `record` ended. */
  settle?(done: () => void): void;
  /** Where the record is on the legs: why a leg that comes back may hold anything; null: it is as it left. */
  strangeness?(leg: Leg, found: LegMetadata): string | null;
  /** Told once which set it keeps the record of, if it wants to know. */
  attach?(set: MirrorSet): void;
}

/** The `core` log without a state directory: nothing survives, and nothing pretends to. */
export class NoRecorder implements MirrorRecorder {
  private readonly loop: Loop;

  constructor(loop: Loop) {
    this.loop = loop;
  }

  record(_state: MirrorRecord, done: (errno: number) => void): void {
    const recorded = (): void => {
      done(0);
    };
    this.loop.defer({ complete: recorded });
  }
}
