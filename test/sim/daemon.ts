import { SILENT_LOG } from '../../core/base/ports.ts';
import type { Bio } from '../../core/block/bio.ts';
import { bioError, type BlockDevice } from '../../core/block/device.ts';
import type { QueueLimits } from '../../core/block/limits.ts';
import { Loop } from '../../core/block/loop.ts';
import type { MirrorEvent } from '../../core/mirror/options.ts';
import { MirrorSet } from '../../core/mirror/set.ts';
import { IoStats } from '../../core/stats/io-stats.ts';
import type { Prng } from '../../core/base/prng.ts';
import type { MirrorOptions } from '../../core/mirror/options.ts';
import type { SimClock } from './clock.ts';
import type { SimDisk } from './disk.ts';
import type { SimOptions } from './options.ts';

/** What a start has decided, with either log. */
export type DaemonStart = Pick<
  MirrorOptions,
  'recorder' | 'legs' | 'generation' | 'membersEqual' | 'regionLog' | 'clearedGeneration'
>;

/** One life of the daemon: a mirror set on a loop of its own, and the mapped device above it. */
export class Daemon implements BlockDevice {
  readonly name = 'sim';
  readonly sectors: number;
  readonly loop: Loop;
  readonly set: MirrorSet;
  /** What clients' requests have taken: the world notes them, as an export does. */
  readonly clients = new IoStats();

  constructor(
    options: SimOptions,
    start: DaemonStart,
    disks: readonly SimDisk[],
    believed: readonly number[],
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
    this.sectors = options.sectors;
    for (const [i, disk] of disks.entries()) {
      disk.open(loop, believed.includes(i));
    }
    this.set = new MirrorSet({
      name: 'sim',
      loop,
      clock,
      log: SILENT_LOG,
      sectors: options.sectors,
      regionSectors: options.regionSectors,
      ...start,
      readPolicy: options.readPolicy,
      onEvent,
      clients: this.clients,
      pace: options.pace,
    });
  }

  get limits(): QueueLimits {
    return this.set.limits;
  }

  submit(bio: Bio): void {
    bio.error = bioError(this, bio);
    if (bio.error === 0) this.set.map(bio);
    else this.loop.defer(bio);
  }
}
