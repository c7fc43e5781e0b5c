// A native set on memory devices that note every bio, for the tests of its parts.
import { SILENT_LOG } from '../../../core/base/ports.ts';
import { ERRNO } from '../../../core/base/errno.ts';
import { Bio, BioVec } from '../../../core/block/bio.ts';
import { DEFAULT_LIMITS } from '../../../core/block/limits.ts';
import { MemoryDevice } from '../../../core/block/memory-device.ts';
import { REQ_OP, type ReqOp } from '../../../core/block/op.ts';
import { DmIoClient } from '../../../core/dm-io/client.ts';
import { assembleNative } from '../../../core/mirror/assemble-native.ts';
import { regionsOf } from '../../../core/mirror/native-describe.ts';
import { formatNative } from '../../../core/mirror/native-format.ts';
import { nativeLegSectors, superblockSectors } from '../../../core/mirror/native-layout.ts';
import { metadataOf, readLegs, readMap } from '../../../core/mirror/native-reader.ts';
import { nativeParts, slotsToRead } from '../../../core/mirror/native-start.ts';
import { MirrorSet } from '../../../core/mirror/set.ts';
import { ManualClock } from '../../support/manual-clock.ts';
import { createManualLoop, runUntilIdle } from '../../support/manual-loop.ts';
import { runOf, uuidOf } from './native-fixture.ts';

export const REGION = 8;
const BLOCK = 8;

/** What a bio is about. */
type Place = 'data' | 'map' | 'superblock';

interface Sent {
  readonly leg: number;
  readonly op: ReqOp;
  readonly place: Place;
  readonly sector: number;
  readonly sectors: number;
}

export class NativeLeg extends MemoryDevice {
  /** Bios of this kind fail; null: none. */
  fails: { readonly op: ReqOp; readonly place: Place } | null = null;
  /** Writes there are not carried out before `release`. */
  holds: Place | null = null;
  readonly held: Bio[] = [];
  private readonly leg: number;
  private readonly world: NativeWorld;

  constructor(world: NativeWorld, leg: number) {
    super(world.loop, nativeLegSectors(world.dataSectors, REGION), DEFAULT_LIMITS, `leg${leg}`);
    this.world = world;
    this.leg = leg;
  }

  override submit(bio: Bio): void {
    const place = this.placeOf(bio);
    const { op, sector, sectors } = bio;
    this.world.sent.push({ leg: this.leg, op, place, sector, sectors });
    if (this.holds === place && op === REQ_OP.WRITE) {
      this.held.push(bio);
      return;
    }
    if (this.fails?.op !== op || this.fails.place !== place) {
      super.submit(bio);
      return;
    }
    bio.error = ERRNO.EIO;
    this.loop.defer(bio);
  }

  /** What was held is done after all, and nothing is held any more. */
  release(): void {
    this.holds = null;
    for (const bio of this.held.splice(0)) this.submit(bio);
  }

  private placeOf({ op, sector }: Bio): Place {
    if (op === REQ_OP.FLUSH || sector < this.world.dataSectors) return 'data';
    const { b } = superblockSectors(this.sectors);
    return sector >= b ? 'superblock' : 'map';
  }

  /** Whoever has it now writes all of it, past all faults. */
  overwrite(bytes: Uint8Array): void {
    const sectors = bytes.length / 512;
    const bio = blockWrite(0, sectors, 0);
    bio.vecs = [new BioVec(bytes, 0, bytes.length)];
    bio.owner = { endIo: () => undefined };
    super.submit(bio);
  }
}

/** Legs with the metadata of one set, and a set on them that may be stopped, killed and started. */
export class NativeWorld {
  readonly loop = createManualLoop();
  readonly clock = new ManualClock();
  readonly regions: number;
  readonly dataSectors: number;
  readonly legs: readonly NativeLeg[];
  sent: Sent[] = [];
  set: MirrorSet;
  private runs = 1;

  constructor(regions: number, { legs = 2, zeroed = false } = {}) {
    this.regions = regions;
    this.dataSectors = regions * REGION;
    this.legs = Array.from({ length: legs }, (_, i) => new NativeLeg(this, i));
    const told: number[] = [];
    const made = {
      uuid: uuidOf(0xabc),
      name: 'data',
      run: runOf(1),
      dataSectors: this.dataSectors,
      regionSectors: REGION,
      zeroed,
      nowMs: 0,
      legs: this.legs.map((device, i) => ({
        name: device.name,
        uuid: uuidOf(i),
        device,
        inSync: true,
      })),
    };
    formatNative(new DmIoClient(this.loop), made, (errno) => told.push(errno));
    runUntilIdle(this.loop);
    expect(told).toEqual([0]);
    this.set = this.start();
  }

  /** Another life, on these legs. */
  start(present: readonly number[] = this.legs.map((_, i) => i)): MirrorSet {
    const client = new DmIoClient(this.loop);
    const devices = this.legs.filter((_, i) => present.includes(i));
    const made: MirrorSet[] = [];
    readLegs(client, devices, (found) => {
      const assembly = assembleNative(
        found.map((each, i) => ({ name: devices[i]?.name ?? '', metadata: metadataOf(each) })),
      );
      if (assembly.kind === 'refused') throw new Error(assembly.reason);
      const { ruler } = assembly;
      const geometry = { setUuid: ruler.setUuid, regions: regionsOf(ruler) };
      const members = devices.filter((_, i) => assembly.mapInputs.includes(i));
      readMap(client, members, geometry, slotsToRead(assembly), (map) => {
        this.runs += 1;
        const parts = nativeParts({
          assembly,
          map,
          devices,
          names: devices.map(({ name }) => name),
          run: runOf(this.runs),
          wallClockMs: () => 0,
        });
        made.push(
          new MirrorSet({
            name: 'data',
            loop: this.loop,
            clock: this.clock,
            log: SILENT_LOG,
            readPolicy: { kind: 'round-robin' },
            ...parts,
          }),
        );
      });
    });
    runUntilIdle(this.loop);
    const [set] = made;
    if (set === undefined) throw new Error('no set was made');
    this.set = set;
    set.start();
    this.settle();
    return set;
  }

  settle(): void {
    runUntilIdle(this.loop);
  }

  /** As `kill -9`: what is on the legs stays, nobody goes on with the set. */
  stop(): number {
    const told: number[] = [];
    this.set.stop((errno) => told.push(errno));
    this.settle();
    return told[0] ?? -1;
  }

  /** A write of one block; its errno when all has come to rest. -1: it has not ended. */
  write(region: number, fill = 1): number {
    let errno = -1;
    const bio = blockWrite(region * REGION, BLOCK, fill);
    bio.owner = {
      endIo: ({ error }) => {
        errno = error;
      },
    };
    this.set.map(bio);
    this.settle();
    return errno;
  }

  /** Time passes, and what it brings comes to rest. */
  pass(ms: number, step = 500): void {
    for (let gone = 0; gone < ms; gone += step) {
      this.clock.advance(step);
      this.settle();
    }
  }

  standings(): string {
    return this.set.legs.map(({ standing }) => standing).join(' ');
  }

  /** Everything a leg holds, or its data only. */
  image(leg: NativeLeg, sectors = leg.sectors): Uint8Array {
    const bytes = new Uint8Array(sectors * 512);
    leg.peek(bytes, 0);
    return bytes;
  }

  /** The leg is put back to an earlier day. */
  putBack(leg: NativeLeg, image: Uint8Array): void {
    leg.overwrite(image);
    this.settle();
    this.sent = [];
  }

  /** Sectors of data that went to a leg, or were read from it, since `sent` was emptied. */
  moved(leg: number, op: ReqOp): number {
    const bios = this.sent.filter((bio) => bio.leg === leg && bio.op === op);
    return bios.reduce((sum, { place, sectors }) => sum + (place === 'data' ? sectors : 0), 0);
  }
}

function blockWrite(sector: number, sectors: number, fill: number): Bio {
  const bio = new Bio();
  bio.op = REQ_OP.WRITE;
  bio.sector = sector;
  bio.sectors = sectors;
  bio.vecs = [new BioVec(new Uint8Array(sectors * 512).fill(fill), 0, sectors * 512)];
  bio.vecCount = 1;
  return bio;
}
