import { assert } from '../base/assert.ts';
import type { Bio } from '../block/bio.ts';
import type { BlockDevice } from '../block/device.ts';
import { stackLimits } from '../block/limits.ts';
import type { QueueLimits } from '../block/limits.ts';
import type { Loop } from '../block/loop.ts';
import { RUN, type Run } from '../block/run.ts';
import { escapeWord, parseSectors } from './args.ts';
import { LinearRoute, Remapper } from './remap.ts';
import { TableError } from './target.ts';
import type { DeviceReference, Target, TargetType } from './target.ts';

/** `linear DEV OFFSET`: the sectors of DEV from OFFSET on. */
export const linearTargetType: TargetType = {
  name: 'linear',
  version: [1, 4, 0],
  parse(startSector, sectors, args) {
    const [path, offsetWord] = args;
    if (path === undefined || offsetWord === undefined || args.length > 2) {
      throw new TableError(`linear takes 2 arguments, DEV OFFSET, there are ${args.length}`);
    }
    const offset = parseSectors(offsetWord, `the offset on ${path}`);
    const reference = { path, startSector: offset, sectors, writable: true };
    return {
      type: linearTargetType,
      devices: [reference],
      build: ([device], environment) => {
        assert(device !== undefined, 'linear stands on one device');
        return new LinearTarget(startSector, reference, device, environment.loop);
      },
    };
  },
};

export class LinearTarget implements Target {
  readonly type = linearTargetType;
  readonly limits: QueueLimits;
  private readonly reference: DeviceReference;
  private readonly remapper: Remapper;
  private readonly device: BlockDevice;
  private readonly sectorDelta: number;

  constructor(startSector: number, reference: DeviceReference, device: BlockDevice, loop: Loop) {
    this.limits = stackLimits([device.limits]);
    this.reference = reference;
    this.device = device;
    this.sectorDelta = reference.startSector - startSector;
    const route = new LinearRoute(device, this.sectorDelta);
    this.remapper = new Remapper(loop, route);
  }

  map(bio: Bio): void {
    this.remapper.map(bio);
  }

  allocationAt(sector: number, sectors: number, run: Run): void {
    if (this.device.allocationAt === undefined) run.set(sectors, RUN.DATA);
    else this.device.allocationAt(sector + this.sectorDelta, sectors, run);
  }

  table(): string {
    return `${escapeWord(this.reference.path)} ${this.reference.startSector}`;
  }

  status(): string {
    return '';
  }
}
