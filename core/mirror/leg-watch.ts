import type { Clock } from '../base/ports.ts';
import type { Bio } from '../block/bio.ts';
import type { BlockDevice } from '../block/device.ts';
import type { BioWatch } from '../dm-io/client.ts';
import type { Leg } from './leg.ts';

/** Counts each leg's bios. */
export class LegWatch implements BioWatch {
  private readonly clock: Clock;
  private readonly legs: readonly Leg[];

  constructor(clock: Clock, legs: readonly Leg[]) {
    this.clock = clock;
    this.legs = legs;
  }

  nowMs(): number {
    return this.clock.nowMs();
  }

  bioEnded(device: BlockDevice, bio: Bio, tookMs: number): void {
    const legs = this.legs;
    for (let i = 0; i < legs.length; i += 1) {
      const leg = legs[i]!;
      if (leg.device !== device) continue;
      leg.stats.note(bio.op, bio.sectors, tookMs, bio.error);
      return;
    }
  }
}
