import { SILENT_LOG } from '../../core/base/ports.ts';
import type { Bio } from '../../core/block/bio.ts';
import { Loop } from '../../core/block/loop.ts';
import { MappedDevice } from '../../core/dm/mapped-device.ts';
import { flushSuspended, resume, suspend } from '../../core/dm/suspend.ts';
import { Table } from '../../core/dm/table.ts';
import { createMirrorTargetType, type MirrorParts } from '../../core/dm/target-mirror.ts';
import type { MirrorRecord } from '../../core/mirror/record.ts';
import { MirrorTarget } from '../../daemon/devices/mirror-target.ts';
import type { MirrorEvent } from '../../core/mirror/options.ts';
import { MirrorSet } from '../../core/mirror/set.ts';
import { IoStats } from '../../core/stats/io-stats.ts';
import type { Prng } from '../../core/base/prng.ts';
import type { MirrorOptions } from '../../core/mirror/options.ts';
import type { SimClock } from './clock.ts';
import type { SimOptions } from './options.ts';

/** What a start has decided, with either log. */
export type DaemonStart = Pick<
  MirrorOptions,
  'recorder' | 'legs' | 'generation' | 'membersEqual' | 'regionLog' | 'clearedGeneration'
>;

/** One life of the daemon: a mirror set on a loop of its own, and the mapped device above it. */
export class Daemon {
  readonly loop: Loop;
  set: MirrorSet;
  /** What clients' requests have taken: the world notes them, as an export does. */
  readonly clients = new IoStats();
  /** What clients see. */
  readonly device: MappedDevice;
  private readonly options: SimOptions;
  private readonly clock: SimClock;
  private readonly onEvent: (event: MirrorEvent) => void;

  /** `open`: the legs' devices are this daemon's from now on. */
  constructor(
    options: SimOptions,
    open: (loop: Loop) => DaemonStart,
    clock: SimClock,
    prng: Prng,
    onEvent: (event: MirrorEvent) => void,
  ) {
    const loop = new Loop({
      wake: () => {
        clock.in(prng.below(3), () => loop.run());
      },
      block: () => false,
    });
    this.loop = loop;
    this.options = options;
    this.clock = clock;
    this.onEvent = onEvent;
    this.set = this.makeSet(open(loop), 0);
    this.device = new MappedDevice('sim', this.tableOf(this.set), loop);
  }

  /** As long as it is suspended its bios end when it is resumed. */
  get isSuspended(): boolean {
    return this.device.isHeld;
  }

  submit(bio: Bio): void {
    this.device.submit(bio);
  }

  suspend(flush: boolean, done: (errno: number) => void): void {
    suspend(this.device, flush, done);
  }

  resume(): void {
    resume(this.device);
  }

  /** The first half of a reload: the set records no more; `done` gets what it would have, or an errno. */
  freeze(done: (record: MirrorRecord | number) => void): void {
    flushSuspended(this.device, (errno) => {
      if (errno === 0) this.set.freeze(done);
      else done(errno);
    });
  }

  thaw(): void {
    this.set.thaw();
  }

  /** The second half: another set of the same legs, made of what is durable now. */
  swap(start: DaemonStart): void {
    const next = this.makeSet(start, this.set.eventNr);
    next.losses = this.set.losses;
    this.set.retire();
    this.device.swap(this.tableOf(next));
    this.set = next;
  }

  private makeSet(start: DaemonStart, eventNr: number): MirrorSet {
    const { options, loop, clock, onEvent } = this;
    return new MirrorSet({
      name: 'sim',
      loop,
      clock,
      log: SILENT_LOG,
      sectors: options.sectors,
      regionSectors: options.regionSectors,
      ...start,
      readPolicy: options.readPolicy,
      eventNr,
      onEvent,
      clients: this.clients,
      pace: options.pace,
      legTimeoutMs: () => options.legTimeoutMs,
    });
  }

  private tableOf(set: MirrorSet): Table {
    return new Table([
      { startSector: 0, endSector: this.options.sectors, target: new MirrorTarget(PARTS, set) },
    ]);
  }
}

/** The line of a table, which nobody prints here. */
const PARTS: MirrorParts = {
  type: createMirrorTargetType(() => {
    throw new Error('the simulator builds its own sets');
  }),
  startSector: 0,
  sectors: 0,
  args: {
    logType: 'core',
    logDevice: null,
    metadataFolder: null,
    regionSectors: 2,
    sync: undefined,
    legs: [],
    features: { handleErrors: true, keepLog: false },
  },
};
