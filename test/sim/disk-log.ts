import { Prng } from '../../core/base/prng.ts';
import { ERRNO } from '../../core/base/errno.ts';
import { DEFAULT_LIMITS } from '../../core/block/limits.ts';
import { diskLogBytes } from '../../core/mirror/disk-log-format.ts';
import { diskLogParts } from '../../core/mirror/disk-log-start.ts';
import type { SimClock } from './clock.ts';
import type { DaemonStart } from './daemon.ts';
import { SimDisk } from './disk.ts';
import type { SimOptions } from './options.ts';

/** The device of a `disk` log: real bytes on a disk with faults and a volatile cache of its own. */
export class SimDiskLog {
  readonly disk: SimDisk;
  private readonly options: SimOptions;
  private readonly prng: Prng;
  private readonly faultEvery: number;
  /** Nobody has written it: the set is new. */
  private isNew = true;
  private toldStruckAt = -1;

  constructor(options: SimOptions, clock: SimClock) {
    this.options = options;
    this.prng = new Prng(options.seed + 2 ** 49);
    const block = this.prng.pick([512, 512, 4096]);
    const bytes = diskLogBytes(this.regions, block);
    this.faultEvery = options.atlas === 'calm' ? 0 : this.prng.pick([0, 40, 150]);
    this.disk = new SimDisk(
      {
        name: 'log',
        sectors: bytes / 512,
        limits: { ...DEFAULT_LIMITS, logicalBlockSize: block },
        origin: 0,
        fill: 0,
        latencyUs: this.prng.pick([20, 100, 1000]),
        rawFrom: 0,
      },
      clock,
      new Prng(options.seed + 2 ** 50),
    );
  }

  private get regions(): number {
    return Math.ceil(this.options.sectors / this.options.regionSectors);
  }

  /** What the log makes of a start from the record. */
  begin(start: DaemonStart): DaemonStart {
    const { disk, options } = this;
    const found = this.isNew ? null : disk.raw.bytesOf(disk.medium.visible, 0, disk.sectors);
    this.isNew = false;
    const { legs, membersEqual, recorder } = start;
    return {
      ...start,
      ...diskLogParts({
        device: disk,
        regions: this.regions,
        found,
        sync: undefined,
        isRecorded: true,
        legs,
        membersEqual,
        recorder,
        cleanAfterMs: options.cleanAfterMs,
      }),
    };
  }

  /** Now and then a write or a flush of the log fails, once or until it is healed. */
  act(): string | null {
    if (this.faultEvery === 0 || !this.prng.ratio(1, this.faultEvery)) return null;
    const { faults, sectors } = this.disk;
    if (this.prng.ratio(1, 3)) {
      faults.heal();
      return 'healed';
    }
    const kind = this.prng.pick(['write', 'flush'] as const);
    const left = this.prng.pick([1, 3, Infinity]);
    const errno = this.prng.pick([ERRNO.EIO, ERRNO.ENOSPC]);
    faults.add({ kind, first: 0, last: sectors - 1, errno, left });
    return `${kind} fails ${left}`;
  }

  /** True once for each time a fault has struck: clients may see errors. */
  hasFailed(): boolean {
    const isNews = this.disk.struckAt > this.toldStruckAt;
    this.toldStruckAt = this.disk.struckAt;
    return isNews;
  }

  died(power: boolean): void {
    if (power) this.disk.powerCut();
    else this.disk.daemonDied();
  }
}
