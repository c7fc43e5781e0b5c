import type { AllocateBytes, Clock, Log } from '../base/ports.ts';
import type { Bio } from '../block/bio.ts';
import type { BlockDevice } from '../block/device.ts';
import type { QueueLimits } from '../block/limits.ts';
import type { Loop } from '../block/loop.ts';
import type { Mapped } from '../block/run.ts';

/** A table or a target argument that cannot be: one sentence for the user. */
export class TableError extends Error {
  override readonly name = 'TableError';
}

/** What a target lives on. */
export interface TargetEnvironment {
  readonly loop: Loop;
  readonly clock: Clock;
  readonly log: Log;
  /** Memory that a target moves data through. */
  readonly memory?: AllocateBytes;
}

/** A device a table line names, and the part of it the target will use. */
export interface DeviceReference {
  /** As in the line: a path, a URI, `dm:NAME`. */
  readonly path: string;
  readonly startSector: number;
  readonly sectors: number;
  readonly writable: boolean;
}

/** A target line, read and checked as far as it can be without its devices. */
export interface TargetSpec {
  readonly type: TargetType;
  /** Every device the target will use, in the order of `build`'s argument. */
  readonly devices: readonly DeviceReference[];
  /** Makes the target; the devices are open, and large enough for their references. */
  build(devices: readonly BlockDevice[], environment: TargetEnvironment): Target;
}

/** A kind of target, as `dmio targets` lists it. */
export interface TargetType {
  readonly name: string;
  readonly version: readonly [number, number, number];
  /**
   * Reads the arguments behind the type's name.
   * @throws TableError what is wrong, in the user's words
   */
  parse(startSector: number, sectors: number, args: readonly string[]): TargetSpec;
}

/**
 * A device that maps: it takes the bios of its part of a mapped device and sends them on through
 * dm-io. Bios reach it whole inside its part, `bio.sector` counted from the mapped device's start.
 */
export interface Target extends Mapped {
  readonly type: TargetType;
  readonly limits: QueueLimits;
  /** READs and WRITEs are cut at its multiples, from the target's start (the kernel's max_io_len). */
  readonly cutSectors?: number;
  /** Ends the bio as BlockDevice.submit would: once, from the loop. FLUSH has no range. */
  map(bio: Bio): void;
  /** The line's arguments, such that a table made of them is this one again. */
  table(): string;
  /** The target's part of the kernel's status line; empty for targets without state. */
  status(): string;
  /**
   * `dmsetup message`: what the target answers, lines without the last newline; empty: nothing.
   * @throws TableError what is wrong with the words
   */
  message?(words: readonly string[]): string;
  /** No bio will come until `resume`: gives what it holds back on its way. */
  presuspend?(): void;
  /** No bio is under way: ends work of its own, then calls `done`, perhaps from inside. */
  quiesce?(done: () => void): void;
  /** All is flushed: what may be remembered about that is made durable. `done` gets 0 or an errno. */
  settle?(done: (errno: number) => void): void;
  /** Bios will come again. */
  resume?(): void;
}
