import { Prng } from '../../core/base/prng.ts';
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
import {
  mapSectorOf,
  mapShape,
  SUPERBLOCK_SECTORS,
  superblockSectors,
} from '../../core/mirror/native-layout.ts';
import { metadataOf, readLegs, readMap } from '../../core/mirror/native-reader.ts';
import { payloadAt, RegionMap } from '../../core/mirror/region-map.ts';
import { nativeParts, slotsToRead, type NativeParts } from '../../core/mirror/native-start.ts';
import { decodeSuperblock, type SuperblockRead } from '../../core/mirror/superblock.ts';
import { at, wordAt } from './at.ts';
import type { SimClock } from './clock.ts';
import { ZEROS, type Value } from './content.ts';
import type { SimDisk } from './disk.ts';
import { diskOf } from './disk-of.ts';
import { SimFailure } from './failure.ts';
import type { SimOptions } from './options.ts';

type Assembled = Extract<NativeAssembly, { kind: 'assembled' }>;

/** What a start found: the set's parts, or why there is none. */
export type NativeBegin =
  | { readonly kind: 'begun'; readonly assembly: Assembled; readonly parts: NativeParts }
  | { readonly kind: 'refused'; readonly reason: string };

/** A disk's superblocks as they were made out when its medium had changed so often. */
interface Known {
  changes: number;
  shown: LegMetadata | null;
  durable: LegMetadata | null;
}

interface MapStates {
  readonly index: number;
  readonly states: Uint8Array;
}

/** The metadata on the simulated legs: made, looked at from outside, and read by the core's reader. */
export class NativeLegs {
  /** Legs that the operator wants back at the next start. */
  readonly readded = new Set<number>();
  readonly setUuid = uuidOf(0xf00);
  private readonly options: SimOptions;
  private readonly disks: readonly SimDisk[];
  private readonly clock: SimClock;
  private readonly prng: Prng;
  private readonly images = new Map<number, Uint32Array>();
  private readonly decoded = new Map<string, SuperblockRead>();
  private readonly all: readonly number[];
  /** What was made of the superblocks as they are: forgotten when one has changed. */
  private readonly known: Known[];
  private readonly decisions = new Map<string, NativeAssembly>();
  private members: readonly number[] | null = null;
  private decidedAt = -1;
  /** Where a flipped bit changes what a map says. */
  private readonly aim: Prng;
  /** By disk and content: what a whole sector of the map says. */
  private readonly states: Map<Value, MapStates>[];

  constructor(options: SimOptions, disks: readonly SimDisk[], clock: SimClock, prng: Prng) {
    this.options = options;
    this.disks = disks;
    this.clock = clock;
    this.prng = prng;
    this.aim = new Prng(options.seed + 2 ** 52 + 2 ** 22);
    this.all = disks.map((_, i) => i);
    this.known = disks.map(() => ({ changes: -1, shown: null, durable: null }));
    this.states = disks.map(() => new Map<Value, MapStates>());
    for (const { medium, sectors } of disks) medium.watchFrom = superblockSectors(sectors).b;
    this.format();
  }

  private format(): void {
    const first = this.disks.slice(0, this.options.legs);
    const loop = this.openAll(first.map((_, i) => i));
    let result = -1;
    const run = this.drawRun();
    formatNative(
      new DmIoClient(loop),
      {
        uuid: this.setUuid,
        name: 'sim',
        run,
        dataSectors: this.options.sectors,
        regionSectors: this.options.regionSectors,
        zeroed: this.options.zeroed,
        nowMs: 0,
        legs: first.map((device, i) => ({
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
    this.forgetOld();
    const key = `${disks.join()}${isDurable ? ' durable' : ''}`;
    const decided = this.decisions.get(key);
    if (decided !== undefined) return decided;
    const assembly = assembleNative(
      disks.map((i) => ({ name: `leg${i}`, metadata: this.metadata(i, isDurable) })),
    );
    this.decisions.set(key, assembly);
    return assembly;
  }

  /** Disks that a start on all of them would take for members. */
  believed(): readonly number[] {
    this.forgetOld();
    if (this.members !== null) return this.members;
    const { all } = this;
    const now = membersOf(this.decide(all), all);
    const later = membersOf(this.decide(all, true), all);
    this.members = all.filter((i) => now.includes(i) || later.includes(i));
    return this.members;
  }

  /** Each count only grows: an equal sum is that of the same superblocks. */
  private forgetOld(): void {
    let changes = 0;
    for (const { medium } of this.disks) changes += medium.changes;
    if (changes === this.decidedAt) return;
    this.decidedAt = changes;
    this.decisions.clear();
    this.members = null;
  }

  /** What a content says as sector `index` of the disk's map; null: it is no such sector. */
  mapStates(disk: number, content: Value, index: number): Uint8Array | null {
    const known = at(this.states, disk);
    const found = known.get(content);
    if (found?.index === index) return found.states;
    const regions = Math.ceil(this.options.sectors / this.options.regionSectors);
    const map = new RegionMap(regions, this.setUuid, []);
    const isWhole = map.add(at(this.disks, disk).raw.bytesOf([content], 0, 1), 0, index);
    if (!isWhole) return null;
    known.set(content, { index, states: map.states });
    return map.states;
  }

  /** The uuid of a leg that is added now: drawn by who adds it. */
  drawUuid(): string {
    return uuidOf(this.prng.u32() + 2 ** 33);
  }

  metadata(disk: number, isDurable = false): LegMetadata {
    const { medium, sectors } = at(this.disks, disk);
    const known = at(this.known, disk);
    if (known.changes !== medium.changes) {
      known.changes = medium.changes;
      known.shown = null;
      known.durable = null;
    }
    const told = isDurable ? known.durable : known.shown;
    if (told !== null) return told;
    const { a, b } = superblockSectors(sectors);
    const values = isDurable ? medium.durable : medium.visible;
    const copies = { a: this.decode(disk, values, a), b: this.decode(disk, values, b) };
    const metadata = metadataOf(copies);
    if (isDurable) known.durable = metadata;
    else known.shown = metadata;
    return metadata;
  }

  private decode(disk: number, values: Uint32Array, sector: number): SuperblockRead {
    const { raw, sectors } = at(this.disks, disk);
    // A content has its number for ever, and most sectors of a superblock are zeros.
    let key = `${disk}`;
    for (let i = 0; i < SUPERBLOCK_SECTORS; i += 1) {
      const value = wordAt(values, sector + i);
      if (value !== ZEROS) key += ` ${i}:${value}`;
    }
    const known = this.decoded.get(key);
    if (known !== undefined) return known;
    const read = decodeSuperblock(raw.bytesOf(values, sector, SUPERBLOCK_SECTORS), 0, sectors);
    this.decoded.set(key, read);
    return read;
  }

  /** Starts on the disks that are present, in any order, through the core's own reader. */
  begin(present: readonly number[]): NativeBegin {
    const order = shuffled(present, this.prng);
    let begun: NativeBegin = { kind: 'refused', reason: 'the reader never answered' };
    this.read(this.openAll(order), order, (found) => {
      begun = found;
    });
    this.run();
    this.clock.endLife();
    return begun;
  }

  /** As `begin`, on disks that a daemon has open: its set is frozen, and another is to take its place. */
  beginAgain(loop: Loop, present: readonly number[], done: (begun: NativeBegin) => void): void {
    this.read(loop, shuffled(present, this.prng), done);
  }

  private read(loop: Loop, order: readonly number[], done: (begun: NativeBegin) => void): void {
    const client = new DmIoClient(loop);
    const devices = order.map((i) => at(this.disks, i));
    readLegs(client, devices, (legs) => {
      const assembly = assembleNative(
        legs.map((copies, i) => ({ name: at(devices, i).name, metadata: metadataOf(copies) })),
      );
      if (assembly.kind === 'refused') {
        done(assembly);
        return;
      }
      const geometry = { setUuid: assembly.ruler.setUuid, regions: regionsOf(assembly.ruler) };
      const members = assembly.mapInputs.map((input) => at(devices, input));
      readMap(client, members, geometry, slotsToRead(assembly), (map) => {
        const parts = nativeParts({
          assembly,
          map,
          devices,
          names: devices.map(({ name }) => name),
          run: this.drawRun(),
          wallClockMs: () => this.clock.nowMs(),
          cleanAfterMs: this.options.cleanAfterMs,
        });
        done({ kind: 'begun', assembly, parts: this.withReadded(parts) });
      });
    });
  }

  /** The operator's re-add: a delta where the metadata allows it, else everything. */
  private withReadded(parts: NativeParts): NativeParts {
    const legs = parts.legs.map((leg) => {
      const isBack = leg.standing === STANDING.STALE && this.readded.has(diskOf(leg.name));
      return isBack ? { ...leg, standing: STANDING.JOINING } : leg;
    });
    this.readded.clear();
    return { ...parts, legs };
  }

  /** One copy of a leg's superblock is damaged; never the only one that says the newest. */
  rotSuperblock(disk: number, prng: Prng): string {
    const { medium, sectors, raw } = at(this.disks, disk);
    const places = superblockSectors(sectors);
    const a = this.decode(disk, medium.visible, places.a);
    const b = this.decode(disk, medium.visible, places.b);
    const newest = (read: SuperblockRead): number =>
      read.kind === 'valid' ? read.superblock.sequence : 0;
    if (newest(a) === 0 && newest(b) === 0) return 'nothing';
    const isA = newest(a) === newest(b) ? prng.ratio(1, 2) : newest(a) < newest(b);
    const first = isA ? places.a : places.b;
    // A power cut might take the other one: a kill came before its FUA had ended.
    if (!this.isOnPlatter(disk, isA ? places.b : places.a)) return 'nothing';
    const kind = prng.pick(['zeroed', 'torn', 'bit'] as const);
    for (let i = 0; i < SUPERBLOCK_SECTORS; i += 1) {
      if (kind === 'zeroed') medium.damage(first + i, 0);
      if (kind === 'torn' && prng.ratio(1, 2)) medium.damage(first + i, raw.noise(prng));
    }
    const where = first + prng.below(SUPERBLOCK_SECTORS);
    if (kind === 'bit') medium.damage(where, raw.flipped(at(medium.visible, where), prng));
    return `${kind} superblock ${isA ? 'A' : 'B'}`;
  }

  /** What a copy of the superblock shows is what it will show whatever happens. */
  private isOnPlatter(disk: number, first: number): boolean {
    const { medium } = at(this.disks, disk);
    for (let sector = first; sector < first + SUPERBLOCK_SECTORS; sector += 1) {
      if (!medium.isCertain(sector, at(medium.visible, sector))) return false;
    }
    return true;
  }

  /** A sector of a leg's map is damaged: of the only member, or where another member says the same. */
  rotMap(disk: number, prng: Prng): string {
    const members = this.believed();
    const regions = Math.ceil(this.options.sectors / this.options.regionSectors);
    const shape = mapShape(regions);
    const index = prng.below(shape.stateSectors + this.disks.length * shape.lackSectors);
    const bytes = (i: number): string => {
      const { medium, raw, sectors } = at(this.disks, i);
      return raw.bytesOf(medium.visible, mapSectorOf(sectors, regions) + index, 1).join();
    };
    const others = members.filter((i) => i !== disk);
    const isTold = others.length === 0 || others.some((i) => bytes(i) === bytes(disk));
    if (members.includes(disk) && !isTold) return 'nothing';
    const { medium, raw, sectors } = at(this.disks, disk);
    const sector = mapSectorOf(sectors, regions) + index;
    const old = at(medium.visible, sector);
    const kind = prng.pick(['zeroed', 'noise', 'bit'] as const);
    if (kind === 'zeroed') medium.damage(sector, 0);
    else if (kind === 'noise') medium.damage(sector, raw.noise(prng));
    else medium.damage(sector, this.flipOne(disk, old, raw.flipped(old, prng)));
    return `${kind} map sector ${index}`;
  }

  /** Any bit of a map's sector, or one that says dirty, or that a leg lacks a region. */
  private flipOne(disk: number, old: Value, anywhere: Value): Value {
    const { raw } = at(this.disks, disk);
    if (old === ZEROS || this.aim.ratio(1, 3)) return anywhere;
    const bytes = raw.bytesOf([old], 0, 1);
    const places: number[] = [];
    for (let i = payloadAt(0); i < bytes.length; i += 1) {
      for (let bit = 0; bit < 8; bit += 1)
        if (((at(bytes, i) >> bit) & 1) === 1) places.push(8 * i + bit);
    }
    return places.length === 0 ? anywhere : raw.withFlipped(old, this.aim.pick(places));
  }

  /** Now and then the image of a leg is kept, as by somebody who makes backups of it. */
  keepImages(prng: Prng): void {
    for (const [i, { medium }] of this.disks.entries()) {
      if (prng.ratio(1, 3)) this.images.set(i, medium.snapshot());
    }
  }

  rollBack(disk: number, prng: Prng): boolean {
    const image = this.images.get(disk);
    if (image === undefined || prng.ratio(1, 3)) return false;
    at(this.disks, disk).medium.putBack(image);
    return true;
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

function uuidOf(n: number): string {
  return `00000000-0000-4000-8000-${n.toString(16).padStart(12, '0')}`;
}

function shuffled(items: readonly number[], prng: Prng): number[] {
  const left = [...items];
  const out: number[] = [];
  while (left.length > 0) out.push(...left.splice(prng.below(left.length), 1));
  return out;
}
