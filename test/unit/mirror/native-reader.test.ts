import { ERRNO } from '../../../core/base/errno.ts';
import { MemoryDevice } from '../../../core/block/memory-device.ts';
import type { Bio } from '../../../core/block/bio.ts';
import { REQ_OP } from '../../../core/block/op.ts';
import { DmIoClient } from '../../../core/dm-io/client.ts';
import { DmIoRequest } from '../../../core/dm-io/request.ts';
import { assembleNative, type NativeAssembly } from '../../../core/mirror/assemble-native.ts';
import { describeLeg, type LegDescription } from '../../../core/mirror/native-describe.ts';
import { eraseNative, formatNative } from '../../../core/mirror/native-format.ts';
import {
  mapSectorOf,
  mapShape,
  nativeLegSectors,
  superblockSectors,
} from '../../../core/mirror/native-layout.ts';
import { metadataOf, readLegs, readMap } from '../../../core/mirror/native-reader.ts';
import { at } from '../../sim/at.ts';
import { createManualLoop, runUntilIdle } from '../../support/manual-loop.ts';
import { runOf, uuidOf } from './native-fixture.ts';

const REGION = 8;
const DATA = 8 * 5000;
const REGIONS = 5000;
const SET = uuidOf(0xabc);
const loop = createManualLoop();
const client = new DmIoClient(loop);

/** Legs of different sizes: each has its trailer at its own end. `bad`: sectors that cannot be read. */
class Disk extends MemoryDevice {
  readonly bad = new Set<number>();

  override submit(bio: Bio): void {
    for (let i = 0; bio.op === REQ_OP.READ && i < bio.sectors; i += 1) {
      if (!this.bad.has(bio.sector + i)) continue;
      bio.error = ERRNO.EIO;
      this.loop.defer(bio);
      return;
    }
    super.submit(bio);
  }

  write(sector: number, bytes: Uint8Array): void {
    const request = new DmIoRequest();
    request.op = REQ_OP.WRITE;
    request.owner = { dmIoDone: () => undefined };
    request.memory.setBytes(bytes, 0);
    request.addRegion(this, sector, bytes.length / 512);
    client.submit(request);
    runUntilIdle(loop);
  }
}

function makeSet(isSecondInSync = true): [Disk, Disk] {
  const makeDisk = (i: number) => new Disk(loop, nativeLegSectors(DATA, REGION) + i * 1001);
  const disks: [Disk, Disk] = [makeDisk(0), makeDisk(1)];
  let ended: readonly number[] = [];
  formatNative(
    client,
    {
      uuid: SET,
      name: 'data',
      run: runOf(1),
      dataSectors: DATA,
      regionSectors: REGION,
      zeroed: false,
      nowMs: 0,
      legs: disks.map((device, i) => ({
        name: `leg${i}`,
        uuid: uuidOf(i),
        device,
        inSync: i === 0 || isSecondInSync,
      })),
    },
    (...result) => {
      ended = result;
    },
  );
  runUntilIdle(loop);
  expect(ended).toEqual([0, -1]);
  return disks;
}

function assemble(disks: readonly Disk[]): NativeAssembly {
  let assembly: NativeAssembly = { kind: 'refused', reason: 'was never decided' };
  readLegs(client, disks, (legs) => {
    assembly = assembleNative(
      legs.map((each, i) => ({ name: `${i}`, metadata: metadataOf(each) })),
    );
  });
  runUntilIdle(loop);
  return assembly;
}

const standings = (assembly: NativeAssembly): string =>
  assembly.kind === 'refused'
    ? assembly.reason
    : assembly.legs.map((leg) => leg.standing).join(' ');

function describeOf(disk: Disk): LegDescription {
  const told: LegDescription[] = [];
  describeLeg(client, disk, (description) => {
    told.push(description);
  });
  runUntilIdle(loop);
  return at(told, 0);
}

describe('a set made just now', () => {
  it('assembles with what it was made of', () => {
    expect(standings(assemble(makeSet()))).toBe('member member');
    expect(standings(assemble(makeSet(false)))).toBe('member joining');
  });

  it('is described for people', () => {
    const [, disk] = makeSet(false);
    expect(describeOf(disk)).toMatchObject({
      superblockA: { state: 'none', reason: null },
      superblockB: { state: 'valid', generation: 1, sequence: 1 },
      superblock: {
        set: { uuid: SET, name: 'data' },
        leg: { uuid: uuidOf(1), slot: 1 },
        dataBytes: DATA * 512,
        regions: REGIONS,
        clean: true,
        writtenAt: '1970-01-01T00:00:00Z',
      },
      map: {
        neverWritten: REGIONS,
        clean: 0,
        dirty: 0,
        badSectors: 0,
        lacks: [
          { slot: 0, regions: 0 },
          { slot: 1, regions: REGIONS },
        ],
      },
    });
  });

  it('is gone when it is wiped', () => {
    const disks = makeSet();
    eraseNative(client, disks, (errno) => expect(errno).toBe(0));
    runUntilIdle(loop);
    expect(standings(assemble(disks))).toMatch(/^no leg carries metadata/);
    expect(describeOf(disks[0])).toMatchObject({ superblock: null, map: null });
  });
});

describe('a leg that cannot be read everywhere', () => {
  it('shows the copy of its superblock that can', () => {
    const [disk, other] = makeSet();
    disk.bad.add(superblockSectors(disk.sectors).a + 3);
    expect(standings(assemble([disk, other]))).toBe('member member');
    expect(describeOf(disk).superblockA).toMatchObject({
      state: 'invalid',
      reason: 'cannot be read: EIO',
    });
    disk.bad.add(superblockSectors(disk.sectors).b);
    expect(standings(assemble([disk, other]))).toBe('missing member');
  });
});

describe('the map', () => {
  const geometry = { setUuid: SET, regions: REGIONS };
  const shape = mapShape(REGIONS);
  const counts = (disks: readonly Disk[]) => {
    let told = {};
    readMap(client, disks, geometry, [0, 1], (map) => {
      const { never, clean, dirty, badSectors } = map.counts();
      told = { never, clean, dirty, badSectors, lacks: map.lackOf(1).count };
    });
    runUntilIdle(loop);
    return told;
  };
  const fresh = { never: REGIONS, clean: 0, dirty: 0, badSectors: 0, lacks: 0 };
  const sectorOf = (disk: Disk, index: number) => mapSectorOf(disk.sectors, REGIONS) + index;

  it('is taken from another leg where one is rotten, torn, zeroed, or cannot be read', () => {
    const disks = makeSet();
    const [disk] = disks;
    disk.write(sectorOf(disk, 0), new Uint8Array(512).fill(7));
    disk.write(sectorOf(disk, shape.stateSectors), new Uint8Array(512));
    disk.bad.add(sectorOf(disk, 5));
    expect(counts(disks)).toEqual(fresh);
  });

  it('counts as dirty and lacking where nobody can show it', () => {
    const disks = makeSet();
    for (const disk of disks) {
      disk.write(sectorOf(disk, 2), new Uint8Array(512));
      // The last sector of leg 1's section: it says less than a whole sector.
      disk.bad.add(sectorOf(disk, shape.stateSectors + 2 * shape.lackSectors - 1));
    }
    // What lies in the same unit of 4 KiB cannot be read either, of two sections.
    expect(counts(disks)).toMatchObject({ lacks: REGIONS, badSectors: 8 });
  });

  it('does not take the map of another set, or a sector from another place', () => {
    const [disk, other] = makeSet();
    const copy = new Uint8Array(512);
    disk.peek(copy, sectorOf(disk, 1) * 512);
    disk.write(sectorOf(disk, 0), copy);
    expect(counts([disk])).toEqual({ ...fresh, never: REGIONS - 496, dirty: 496, badSectors: 1 });
    let bad = 0;
    readMap(client, [other], { ...geometry, setUuid: uuidOf(0xdef) }, [], (map) => {
      bad = map.badSectors;
    });
    runUntilIdle(loop);
    expect(bad).toBe(shape.stateSectors);
  });
});
