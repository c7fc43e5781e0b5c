// 16 TiB is assembled in under a second because little is read: the end of each leg, in long pieces.
import type { Bio } from '../../../core/block/bio.ts';
import type { BlockDevice } from '../../../core/block/device.ts';
import { DEFAULT_LIMITS } from '../../../core/block/limits.ts';
import { MemoryDevice } from '../../../core/block/memory-device.ts';
import { REQ_OP } from '../../../core/block/op.ts';
import { DmIoClient } from '../../../core/dm-io/client.ts';
import { assembleNative } from '../../../core/mirror/assemble-native.ts';
import { regionsOf } from '../../../core/mirror/native-describe.ts';
import { formatNative } from '../../../core/mirror/native-format.ts';
import { defaultRegionSectors, nativeLegSectors } from '../../../core/mirror/native-layout.ts';
import { metadataOf, readLegs, readMap } from '../../../core/mirror/native-reader.ts';
import { slotsToRead } from '../../../core/mirror/native-start.ts';
import { createManualLoop, runUntilIdle } from '../../support/manual-loop.ts';
import { runOf, uuidOf } from './native-fixture.ts';

const MIB = 2 ** 20;
/** 16 TiB. */
const DATA = 2 ** 35;
const REGION = defaultRegionSectors(DATA);
const loop = createManualLoop();
const client = new DmIoClient(loop);

/** A leg of which only what is behind the data has memory. */
class LegEnd implements BlockDevice {
  readonly name = 'leg';
  readonly sectors = nativeLegSectors(DATA, REGION);
  readonly limits = DEFAULT_LIMITS;
  readonly loop = loop;
  bytesRead = 0;
  reads = 0;
  private readonly end = new MemoryDevice(loop, this.sectors - DATA);

  submit(bio: Bio): void {
    if (bio.op !== REQ_OP.FLUSH && bio.sector < DATA) throw new Error('not behind the data');
    if (bio.op === REQ_OP.READ) {
      this.bytesRead += bio.sectors * 512;
      this.reads += 1;
    }
    if (bio.op !== REQ_OP.FLUSH) bio.sector -= DATA;
    this.end.submit(bio);
  }
}

it.each([
  ['in sync', true],
  ['with a leg that is filled', false],
])(
  'a set of 16 TiB, %s, is assembled by reading under 1.5 MiB a leg in few pieces',
  (_, inSync) => {
    const legs = [new LegEnd(), new LegEnd()];
    const set = { uuid: uuidOf(9), name: 'big', run: runOf(1), dataSectors: DATA };
    const described = legs.map((device, i) => {
      return { name: `leg${i}`, uuid: uuidOf(i), device, inSync: inSync || i === 0 };
    });
    const more = { regionSectors: REGION, zeroed: true, nowMs: 0, legs: described };
    formatNative(client, { ...set, ...more }, (errno) => expect(errno).toBe(0));
    runUntilIdle(loop);
    for (const leg of legs) [leg.bytesRead, leg.reads] = [0, 0];

    let found: Parameters<typeof assembleNative>[0] = [];
    readLegs(client, legs, (copies) => {
      found = copies.map((each, i) => ({ name: `leg${i}`, metadata: metadataOf(each) }));
    });
    runUntilIdle(loop);
    const assembly = assembleNative(found);
    if (assembly.kind === 'refused') throw new Error(assembly.reason);
    const regions = regionsOf(assembly.ruler);
    expect(regions).toBe(2 ** 20);
    const members = assembly.mapInputs.flatMap((input) => legs[input] ?? []);
    expect(members).toHaveLength(inSync ? 2 : 1);
    let lacks = -1;
    const geometry = { setUuid: assembly.ruler.setUuid, regions };
    readMap(client, members, geometry, slotsToRead(assembly), (map) => {
      lacks = inSync ? 0 : map.lackOf(1).count;
    });
    runUntilIdle(loop);
    expect(lacks).toBe(inSync ? 0 : regions);
    for (const leg of legs) {
      expect(leg.bytesRead).toBeGreaterThan(0);
      expect(leg.bytesRead).toBeLessThan(1.5 * MIB);
      expect(leg.reads).toBeLessThan(20);
    }
  },
);
