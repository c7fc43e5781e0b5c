/** A mirror as a target of a table: MirrorSet behind the Target contract. */
import type { Bio } from '../../core/block/bio.ts';
import type { QueueLimits } from '../../core/block/limits.ts';
import type { Run } from '../../core/block/run.ts';
import { formatMirrorArgs } from '../../core/dm/target-mirror.ts';
import type { MirrorParts } from '../../core/dm/target-mirror.ts';
import type { Target, TargetType } from '../../core/dm/target.ts';
import { mirrorAllocationAt, mirrorStateAt } from '../../core/mirror/map.ts';
import type { MirrorSet } from '../../core/mirror/set.ts';
import { kernelStatus } from '../../core/mirror/status.ts';

export class MirrorTarget implements Target {
  readonly type: TargetType;
  readonly set: MirrorSet;
  private readonly parts: MirrorParts;

  constructor(parts: MirrorParts, set: MirrorSet) {
    this.type = parts.type;
    this.parts = parts;
    this.set = set;
  }

  get limits(): QueueLimits {
    return this.set.limits;
  }

  map(bio: Bio): void {
    this.set.map(bio);
  }

  allocationAt(sector: number, sectors: number, run: Run): void {
    mirrorAllocationAt(this.set, sector, sectors, run);
  }

  mirrorStateAt(sector: number, sectors: number, run: Run): void {
    mirrorStateAt(this.set, sector, sectors, run);
  }

  quiesce(done: () => void): void {
    this.set.quiesce(done);
  }

  settle(done: (errno: number) => void): void {
    this.set.settle(done);
  }

  resume(): void {
    this.set.resume();
  }

  table(): string {
    // Legs come and go.
    const legs = this.set.legs.map(({ name, startSector }) => ({ path: name, startSector }));
    return formatMirrorArgs({ ...this.parts.args, legs });
  }

  status(): string {
    return kernelStatus(this.set);
  }
}
