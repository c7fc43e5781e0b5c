import type { Prng } from '../../core/base/prng.ts';
import { DmIoClient } from '../../core/dm-io/client.ts';
import { Loop } from '../../core/block/loop.ts';
import {
  assembleNative,
  type LegMetadata,
  type NativeAssembly,
} from '../../core/mirror/assemble-native.ts';
import { STANDING } from '../../core/mirror/leg.ts';
import { regionsOf } from '../../core/mirror/native-describe.ts';
import { formatNative } from '../../core/mirror/native-format.ts';
import { SUPERBLOCK_SECTORS, superblockSectors } from '../../core/mirror/native-layout.ts';
import { metadataOf, readLegs, readMap } from '../../core/mirror/native-reader.ts';
import { nativeParts, slotsToRead, type NativeParts } from '../../core/mirror/native-start.ts';
import type { RegionMap } from '../../core/mirror/region-map.ts';
import { decodeSuperblock, type SuperblockRead } from '../../core/mirror/superblock.ts';
import { at } from './at.ts';
import type { SimClock } from './clock.ts';
import type { SimDisk } from './disk.ts';
import { SimFailure } from './failure.ts';
import type { SimOptions } from './options.ts';

type Assembled = Extract<NativeAssembly, { kind: 'assembled' }>;

/** What a start found: the set's parts, or why there is none. */
export type NativeBegin =
  | { readonly kind: 'begun'; readonly assembly: Assembled; readonly parts: NativeParts }
  | { readonly kind: 'refused'; readonly reason: string };

const NO_COPY: SuperblockRead = { kind: 'none' };

/** The metadata on the simulated legs: made, looked at from outside, and read by the core's reader. */
export class NativeLegs {
  /** Legs that the operator wants back at the next start. */
  readonly readded = new Set<number>();
  private readonly options: SimOptions;
  private readonly disks: readonly SimDisk[];
  private readonly clock: SimClock;
  private readonly prng: Prng;
  private readonly decoded = new Map<string, SuperblockRead>();

  constructor(options: SimOptions, disks: readonly SimDisk[], clock: SimClock, prng: Prng) {
    this.options = options;
    this.disks = disks;
    this.clock = clock;
    this.prng = prng;
    this.format();
  }

  private format(): void {
    const loop = this.openAll(this.disks.map((_, i) => i));
    let result = -1;
    const run = this.drawRun();
    formatNative(
      new DmIoClient(loop),
      {
        uuid: uuidOf(0xf00),
        name: 'sim',
        run,
        dataSectors: this.options.sectors,
        regionSectors: this.options.regionSectors,
        zeroed: false,
        nowMs: 0,
        legs: this.disks.map((device, i) => ({
          name: device.name,
          uuid: uuidOf(i),
          device,
          inSync: this.options.membersAtFirst.includes(i),
        })),
      },
      (errno) => {
        result = errno;
      },
    );
    this.run();
    if (result !== 0) throw new SimFailure('exception', `format gave errno ${result}`);
    this.clock.endLife();
  }

  /** What a start on these disks would decide, told from outside without any I/O. */
  decide(disks: readonly number[], isDurable = false): NativeAssembly {
    return assembleNative(
      disks.map((i) => ({ name: `leg${i}`, metadata: this.metadata(i, isDurable) })),
    );
  }

  /** Disks that a start on all of them would take for members. */
  believed(): readonly number[] {
    const all = this.disks.map((_, i) => i);
    const now = membersOf(this.decide(all), all);
    const later = membersOf(this.decide(all, true), all);
    return all.filter((i) => now.includes(i) || later.includes(i));
  }

  metadata(disk: number, isDurable = false): LegMetadata {
    const { medium, sectors } = at(this.disks, disk);
    const { a, b } = superblockSectors(sectors);
    const values = isDurable ? medium.durable : medium.visible;
    const copies = { a: this.decode(disk, values, a), b: this.decode(disk, values, b) };
    return metadataOf(copies);
  }

  private decode(disk: number, values: Uint32Array, sector: number): SuperblockRead {
    const { raw, sectors } = at(this.disks, disk);
    const key = `${disk}:${values.subarray(sector, sector + SUPERBLOCK_SECTORS).join()}`;
    const known = this.decoded.get(key);
    if (known !== undefined) return known;
    const read = decodeSuperblock(raw.bytesOf(values, sector, SUPERBLOCK_SECTORS), 0, sectors);
    this.decoded.set(key, read);
    return read;
  }

  /** Starts on the disks that are present, in any order, through the core's own reader. */
  begin(present: readonly number[]): NativeBegin {
    const order = shuffled(present, this.prng);
    const loop = this.openAll(order);
    const client = new DmIoClient(loop);
    const devices = order.map((i) => at(this.disks, i));
    let assembly: NativeAssembly = { kind: 'refused', reason: 'the reader never answered' };
    let map: RegionMap | null = null;
    readLegs(client, devices, (legs) => {
      assembly = assembleNative(
        legs.map((copies, i) => ({ name: at(devices, i).name, metadata: metadataOf(copies) })),
      );
      if (assembly.kind === 'refused') return;
      const geometry = { setUuid: assembly.ruler.setUuid, regions: regionsOf(assembly.ruler) };
      const members = assembly.mapInputs.map((input) => at(devices, input));
      readMap(client, members, geometry, slotsToRead(assembly), (found) => {
        map = found;
      });
    });
    this.run();
    this.clock.endLife();
    const decided = assembly as NativeAssembly;
    if (decided.kind === 'refused' || map === null) {
      return { kind: 'refused', reason: decided.kind === 'refused' ? decided.reason : 'no map' };
    }
    const parts = nativeParts({
      assembly: decided,
      map,
      devices,
      names: devices.map(({ name }) => name),
      run: this.drawRun(),
      wallClockMs: () => this.clock.nowMs(),
      cleanAfterMs: this.options.cleanAfterMs,
    });
    return { kind: 'begun', assembly: decided, parts: this.withReadded(parts) };
  }

  /** The operator's re-add: a delta where the metadata allows it, else everything. */
  private withReadded(parts: NativeParts): NativeParts {
    const legs = parts.legs.map((leg) => {
      const isBack = leg.standing === STANDING.STALE && this.readded.has(leg.slot ?? -1);
      return isBack ? { ...leg, standing: STANDING.JOINING } : leg;
    });
    this.readded.clear();
    return { ...parts, legs };
  }

  private openAll(disks: readonly number[]): Loop {
    const believed = this.believed();
    const loop = new Loop({
      wake: () => {
        this.clock.in(this.prng.below(3), () => loop.run());
      },
      block: () => false,
    });
    for (const i of disks) at(this.disks, i).open(loop, believed.includes(i));
    return loop;
  }

  private run(): void {
    while (this.clock.busy > 0) this.clock.step();
  }

  private drawRun(): string {
    const half = (): string => this.prng.u32().toString(16).padStart(8, '0');
    return half() + half();
  }
}

export function membersOf(assembly: NativeAssembly, disks: readonly number[]): readonly number[] {
  if (assembly.kind === 'refused') return [];
  return assembly.mapInputs.map((input) => at(disks, input));
}

export const copyOf = (read: LegMetadata): SuperblockRead =>
  read.kind === 'superblock' ? { kind: 'valid', superblock: read.superblock } : NO_COPY;

function uuidOf(n: number): string {
  return `00000000-0000-4000-8000-${n.toString(16).padStart(12, '0')}`;
}

function shuffled(items: readonly number[], prng: Prng): number[] {
  const left = [...items];
  const out: number[] = [];
  while (left.length > 0) out.push(...left.splice(prng.below(left.length), 1));
  return out;
}
