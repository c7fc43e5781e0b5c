import { assert } from '../base/assert.ts';
import { ERRNO } from '../base/errno.ts';
import { MAX_REGIONS } from '../base/error-bits.ts';
import type { Bio } from '../block/bio.ts';
import type { BlockDevice } from '../block/device.ts';
import { stackLimits } from '../block/limits.ts';
import type { QueueLimits } from '../block/limits.ts';
import { hasData, REQ_OP } from '../block/op.ts';
import type { DmIoRequest } from '../dm-io/request.ts';
import { escapeWord, parseCount, parseSectors } from './args.ts';
import { Remapper, type Route } from './remap.ts';
import { TableError } from './target.ts';
import type { DeviceReference, Target, TargetEnvironment, TargetType } from './target.ts';

const USAGE = '#STRIPES CHUNK_SECTORS {DEV OFFSET}...';

interface StripedArgs {
  readonly chunkSectors: number;
  readonly stripes: readonly DeviceReference[];
}

/** `striped`: chunks of sectors dealt out to the devices in turn. */
export const stripedTargetType: TargetType = {
  name: 'striped',
  version: [1, 6, 0],
  parse(startSector, sectors, words) {
    const args = parseStriped(sectors, words);
    return {
      type: stripedTargetType,
      devices: args.stripes,
      build: (devices, environment) => new StripedTarget(startSector, args, devices, environment),
    };
  },
};

/** @throws TableError */
function parseStriped(sectors: number, words: readonly string[]): StripedArgs {
  const [countWord, chunkWord, ...rest] = words;
  if (countWord === undefined || chunkWord === undefined) {
    throw new TableError(`striped takes ${USAGE}`);
  }
  const count = parseCount(countWord, 'the number of stripes');
  if (count < 1 || count > MAX_REGIONS) {
    throw new TableError(`striped has 1 to ${MAX_REGIONS} stripes, not ${count}`);
  }
  const chunkSectors = parseSectors(chunkWord, 'the chunk size');
  if (chunkSectors === 0) throw new TableError('the chunk size is 0, at least 1 sector is wanted');
  if (rest.length !== 2 * count) {
    throw new TableError(
      `striped with ${count} stripes needs ${count} times DEV OFFSET, ` +
        `${2 * count} words, there are ${rest.length}`,
    );
  }
  if (sectors % (count * chunkSectors) !== 0) {
    throw new TableError(
      `the length ${sectors} is no multiple of ${count} stripes times ${chunkSectors} sectors`,
    );
  }
  const stripes = Array.from({ length: count }, (_, i) => {
    const path = rest[2 * i] ?? '';
    const startSector = parseSectors(rest[2 * i + 1] ?? '', `the offset on ${path}`);
    return { path, startSector, sectors: sectors / count, writable: true };
  });
  return { chunkSectors, stripes };
}

/**
 * Sector to stripe:
 *
 *   chunk n = floor(sector / chunk)   stripe = n mod stripes   chunk of the stripe = floor(n / stripes)
 */
class StripedTarget implements Target, Route {
  readonly type = stripedTargetType;
  readonly limits: QueueLimits;
  readonly cutSectors: number;
  private readonly startSector: number;
  private readonly stripes: readonly DeviceReference[];
  private readonly devices: readonly BlockDevice[];
  private readonly remapper: Remapper;
  /** Failed bios of each stripe; `status` says D from the first on. */
  private readonly errors: number[];

  constructor(
    startSector: number,
    { chunkSectors, stripes }: StripedArgs,
    devices: readonly BlockDevice[],
    environment: TargetEnvironment,
  ) {
    this.limits = stackLimits(devices.map((device) => device.limits));
    const blockSectors = this.limits.logicalBlockSize / 512;
    if (chunkSectors % blockSectors !== 0) {
      throw new TableError(
        `the chunk size of ${chunkSectors} sectors is no multiple of the ${blockSectors} sectors ` +
          'of the largest logical block of the devices below',
      );
    }
    this.cutSectors = chunkSectors;
    this.startSector = startSector;
    this.stripes = stripes;
    this.devices = devices;
    this.errors = stripes.map(() => 0);
    this.remapper = new Remapper(environment.loop, this);
  }

  map(bio: Bio): void {
    this.remapper.map(bio);
  }

  addRegions(bio: Bio, request: DmIoRequest): void {
    if (bio.op === REQ_OP.FLUSH) {
      for (const device of this.devices) request.addRegion(device, 0, 0);
      return;
    }
    const start = bio.sector - this.startSector;
    if (hasData(bio.op)) {
      const chunk = Math.floor(start / this.cutSectors);
      const i = chunk % this.stripes.length;
      request.addRegion(this.deviceOf(i), this.placeOf(start, i), bio.sectors);
      return;
    }
    // A discard or zeroing is one range on each stripe, however many chunks it spans.
    for (let i = 0; i < this.stripes.length; i += 1) {
      const from = this.firstAtOrAfter(start, i);
      const to = this.firstAtOrAfter(start + bio.sectors, i);
      const { startSector } = this.stripes[i] ?? { startSector: 0 };
      request.addRegion(this.deviceOf(i), startSector + from, to - from);
    }
  }

  ended(bio: Bio): void {
    if (bio.error === 0 || bio.error === ERRNO.EOPNOTSUPP || !hasData(bio.op)) return;
    const chunk = Math.floor((bio.sector - this.startSector) / this.cutSectors);
    const i = chunk % this.stripes.length;
    this.errors[i] = (this.errors[i] ?? 0) + 1;
  }

  table(): string {
    const stripes = this.stripes.map(
      ({ path, startSector }) => `${escapeWord(path)} ${startSector}`,
    );
    return `${stripes.length} ${this.cutSectors} ${stripes.join(' ')}`;
  }

  status(): string {
    const paths = this.stripes.map(({ path }) => escapeWord(path)).join(' ');
    const letters = this.errors.map((count) => (count === 0 ? 'A' : 'D')).join('');
    return `${this.stripes.length} ${paths} 1 ${letters}`;
  }

  private deviceOf(i: number): BlockDevice {
    const device = this.devices[i];
    assert(device !== undefined, 'a stripe without a device');
    return device;
  }

  /** Sector on the device of stripe `i`, which has the target's sector `start`. */
  private placeOf(start: number, i: number): number {
    return (this.stripes[i]?.startSector ?? 0) + this.firstAtOrAfter(start, i);
  }

  /** How far into stripe `i` the first of its sectors is that lies at the target's `sector` or after. */
  private firstAtOrAfter(sector: number, i: number): number {
    const chunk = Math.floor(sector / this.cutSectors);
    const row = Math.floor(chunk / this.stripes.length);
    const turn = chunk % this.stripes.length;
    if (turn === i) return row * this.cutSectors + (sector % this.cutSectors);
    return (turn > i ? row + 1 : row) * this.cutSectors;
  }
}
