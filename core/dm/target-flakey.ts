import { assert } from '../base/assert.ts';
import { ERRNO } from '../base/errno.ts';
import { Prng } from '../base/prng.ts';
import type { Clock } from '../base/ports.ts';
import { bytesOfSectors } from '../base/units.ts';
import { BioVec, type Bio } from '../block/bio.ts';
import type { BlockDevice } from '../block/device.ts';
import { stackLimits } from '../block/limits.ts';
import type { QueueLimits } from '../block/limits.ts';
import type { Loop } from '../block/loop.ts';
import { hasData, REQ_OP } from '../block/op.ts';
import type { DmIoRequest } from '../dm-io/request.ts';
import { formatFlakey, parseFlakey, PROBABILITY_BASE, type FlakeyArgs } from './flakey-args.ts';
import { LinearRoute, Remapper, type Route } from './remap.ts';
import type { Target, TargetEnvironment, TargetType } from './target.ts';

/** `flakey`: `linear` for UP seconds, then for DOWN seconds a disk with the faults of its features. */
export const flakeyTargetType: TargetType = {
  name: 'flakey',
  version: [1, 5, 0],
  parse(startSector, sectors, words) {
    const args = parseFlakey(words);
    const reference = { path: args.path, startSector: args.startSector, sectors, writable: true };
    return {
      type: flakeyTargetType,
      devices: [reference],
      build: ([device], environment) => {
        assert(device !== undefined, 'flakey stands on one device');
        return new FlakeyTarget(startSector, args, device, environment);
      },
    };
  },
};

class FlakeyTarget implements Target {
  readonly type = flakeyTargetType;
  readonly limits: QueueLimits;
  private readonly args: FlakeyArgs;
  private readonly loop: Loop;
  private readonly clock: Clock;
  private readonly startMs: number;
  private readonly prng: Prng;
  private readonly good: Remapper;
  private readonly corrupting: Remapper;

  constructor(
    startSector: number,
    args: FlakeyArgs,
    device: BlockDevice,
    { loop, clock }: TargetEnvironment,
  ) {
    this.limits = stackLimits([device.limits]);
    this.args = args;
    this.loop = loop;
    this.clock = clock;
    this.startMs = clock.nowMs();
    this.prng = new Prng(Math.floor(this.startMs));
    const delta = args.startSector - startSector;
    this.good = new Remapper(loop, new LinearRoute(device, delta));
    this.corrupting = new Remapper(loop, new CorruptingRoute(device, delta, args, this.prng));
  }

  map(bio: Bio): void {
    if (!this.isDown()) {
      this.good.map(bio);
    } else if (bio.op === REQ_OP.READ) {
      if (this.args.errorReads) this.end(bio, ERRNO.EIO);
      else this.corrupting.map(bio);
    } else if (this.args.dropWrites) {
      this.end(bio, ERRNO.OK);
    } else if (this.args.errorWrites) {
      this.end(bio, ERRNO.EIO);
    } else {
      this.corrupting.map(bio);
    }
  }

  table(): string {
    return formatFlakey(this.args);
  }

  status(): string {
    return '';
  }

  private end(bio: Bio, errno: number): void {
    bio.error = errno;
    this.loop.defer(bio);
  }

  private isDown(): boolean {
    const { upSeconds, downSeconds } = this.args;
    const seconds = Math.floor((this.clock.nowMs() - this.startMs) / 1000);
    return seconds % (upSeconds + downSeconds) >= upSeconds;
  }
}

/** Changes bytes on the way: of a copy of what is written, and in place of what was read. */
class CorruptingRoute implements Route {
  private readonly linear: LinearRoute;
  private readonly args: FlakeyArgs;
  private readonly prng: Prng;

  constructor(device: BlockDevice, sectorDelta: number, args: FlakeyArgs, prng: Prng) {
    this.linear = new LinearRoute(device, sectorDelta);
    this.args = args;
    this.prng = prng;
  }

  addRegions(bio: Bio, request: DmIoRequest): void {
    this.linear.addRegions(bio, request);
    if (bio.op !== REQ_OP.WRITE) return;
    const faults = this.faultsOf(bio, 'w', this.args.randomWriteCorrupt);
    if (faults.length === 0) return;
    // The client's memory is not ours to change: another leg may be writing from it.
    const copy = copyOf(bio);
    for (const { at, value } of faults) copy[at] = value(copy[at] ?? 0);
    request.memory.setVecs([new BioVec(copy, 0, copy.length)], 1);
  }

  ended(bio: Bio): void {
    if (bio.op !== REQ_OP.READ || bio.error !== 0) return;
    for (const { at, value } of this.faultsOf(bio, 'r', this.args.randomReadCorrupt)) {
      const place = placeOf(bio, at);
      if (place !== null) place.page[place.at] = value(place.page[place.at] ?? 0);
    }
  }

  private faultsOf(bio: Bio, direction: 'r' | 'w', probability: number): readonly Fault[] {
    if (!hasData(bio.op)) return [];
    const bytes = bytesOfSectors(bio.sectors);
    const faults: Fault[] = [];
    const fixed = this.args.corruptByte;
    if (fixed?.direction === direction && fixed.flags === 0 && fixed.nth <= bytes) {
      faults.push({ at: fixed.nth - 1, value: () => fixed.value });
    }
    if (probability > 0 && this.below(PROBABILITY_BASE) < probability) {
      const flip = 1 + this.below(255);
      faults.push({ at: this.below(bytes), value: (byte) => byte ^ flip });
    }
    return faults;
  }

  private below(limit: number): number {
    return Math.floor((this.prng.u32() / 2 ** 32) * limit);
  }
}

interface Fault {
  /** Byte of the bio. */
  readonly at: number;
  readonly value: (byte: number) => number;
}

function copyOf(bio: Bio): Uint8Array {
  const copy = new Uint8Array(bytesOfSectors(bio.sectors));
  let done = 0;
  for (let i = 0; i < bio.vecCount && done < copy.length; i += 1) {
    const vec = bio.vecs[i];
    assert(vec !== undefined, 'a bio counts more pieces than it has');
    const length = Math.min(vec.length, copy.length - done);
    copy.set(vec.page.subarray(vec.offset, vec.offset + length), done);
    done += length;
  }
  return copy;
}

function placeOf(bio: Bio, at: number): { readonly page: Uint8Array; readonly at: number } | null {
  let before = 0;
  for (let i = 0; i < bio.vecCount; i += 1) {
    const vec = bio.vecs[i];
    if (vec === undefined) return null;
    if (at < before + vec.length) return { page: vec.page, at: vec.offset + at - before };
    before += vec.length;
  }
  return null;
}
