import { join } from 'node:path';
import { ERRNO } from '../../core/base/errno.ts';
import { Prng } from '../../core/base/prng.ts';
import { bytesOfSectors } from '../../core/base/units.ts';
import type { QueueLimits } from '../../core/block/limits.ts';
import { NODE_CLOCK } from '../../daemon/clock.ts';
import { withExternal } from '../../daemon/devices/external-metadata.ts';
import { openFileDevice } from '../../daemon/fsio/engine.ts';
import { createNodeLoop } from '../../daemon/node-loop.ts';
import { createManualLoop } from '../support/manual-loop.ts';
import { mapDevice } from '../support/mapped.ts';
import { mirrorOf } from '../support/mirror.ts';
import { MemoryDevice } from '../support/memory-device.ts';
import { tempDirectory } from '../support/temp.ts';
import { suite } from './block-device.ts';
import type { DeviceFactory } from './block-device.ts';
import type { Supports } from './checks.ts';

const SECTORS = 1024;

const DISK: Supports = { storesData: true, startsZeroed: true, readOnly: true, sync: false };

const directory = tempDirectory();
let files = 0;

function newPath(): string {
  files += 1;
  return join(directory, `leg-${files}.img`);
}

/** A disk of memory, slow and out of order by the seed. */
function memory(limits: Partial<QueueLimits> = {}, sectors = SECTORS): DeviceFactory {
  return ({ readOnly, seed }) => {
    const prng = new Prng(seed);
    const loop = createManualLoop();
    const options = { loop, sectors, prng, maxDelayTurns: 3 };
    const device = new MemoryDevice({ ...options, limits: { ...limits, readOnly } });
    return { device, close: () => expect(device.inFlight).toBe(0) };
  };
}

/** A table over a memory device of `sectors` called `disk`. */
function overMemory(
  table: string,
  sectors: number,
  limits: Partial<QueueLimits> = {},
): DeviceFactory {
  return ({ seed }) => {
    const loop = createManualLoop();
    const prng = new Prng(seed);
    const disk = new MemoryDevice({ loop, sectors, limits, prng, maxDelayTurns: 3 });
    const device = mapDevice(table, { loop, devices: { disk }, clock: NODE_CLOCK });
    return { device, close: () => expect([disk.inFlight, device.splitsInFlight]).toEqual([0, 0]) };
  };
}

const file: DeviceFactory = async ({ readOnly }) => {
  const loop = createNodeLoop();
  const path = newPath();
  const create = { sizeBytes: bytesOfSectors(SECTORS) };
  const made = await openFileDevice(path, { loop, readOnly: false, create, exclusive: true });
  if (!readOnly) return { device: made, close: () => made.close() };
  await made.close();
  const device = await openFileDevice(path, { loop, readOnly, exclusive: true });
  return { device, close: () => device.close() };
};

const directFile: DeviceFactory = async ({ readOnly }) => {
  const loop = createNodeLoop();
  const create = { sizeBytes: bytesOfSectors(SECTORS) };
  const path = newPath();
  const options = { loop, exclusive: true, cache: 'none' } as const;
  const made = await openFileDevice(path, { ...options, readOnly: false, create });
  if (!readOnly) return { device: made, close: () => made.close() };
  await made.close();
  const device = await openFileDevice(path, { ...options, readOnly });
  return { device, close: () => device.close() };
};

/** A leg and the metadata behind it, both slow and out of order by the seed. */
const legWithExternal: DeviceFactory = ({ seed }) => {
  const loop = createManualLoop();
  const prng = new Prng(seed);
  const disk = (sectors: number): MemoryDevice =>
    new MemoryDevice({ loop, sectors, prng, maxDelayTurns: 3 });
  // The leg ends inside a unit.
  const [leg, metadata] = [disk(SECTORS - 131), disk(8 + 131)];
  const device = withExternal(leg, metadata, loop);
  return { device, close: () => expect([leg.inFlight, metadata.inFlight]).toEqual([0, 0]) };
};

const overTwoFiles: DeviceFactory = async () => {
  const loop = createNodeLoop();
  const create = { sizeBytes: bytesOfSectors(SECTORS) };
  const options = { loop, readOnly: false, create, exclusive: true };
  const a = await openFileDevice(newPath(), options);
  const b = await openFileDevice(newPath(), options);
  const device = mapDevice('0 301 linear a 7\n301 723 linear b 100\n', { loop, devices: { a, b } });
  return {
    device,
    close: async () => {
      await a.close();
      await b.close();
    },
  };
};

/** Stripes of memory, each slow and out of order in its own way. */
function striped(table: string, limits: Partial<QueueLimits> = {}): DeviceFactory {
  return ({ seed }) => {
    const loop = createManualLoop();
    const [a, b, c] = [0, 1, 2].map((n) => {
      const prng = new Prng(seed + n);
      return new MemoryDevice({ loop, sectors: 600, limits, prng, maxDelayTurns: 3 });
    });
    if (a === undefined || b === undefined || c === undefined) throw new Error('three are made');
    const device = mapDevice(table, { loop, devices: { a, b, c } });
    return {
      device,
      close: () => expect([a.inFlight, b.inFlight, c.inFlight]).toEqual([0, 0, 0]),
    };
  };
}

/** Three legs of memory, each slow and out of order in its own way. */
const mirror: DeviceFactory = ({ seed }) => {
  const loop = createManualLoop();
  const legs = [0, 1, 2].map((n) => {
    const prng = new Prng(seed + n);
    return new MemoryDevice({ loop, sectors: SECTORS, prng, maxDelayTurns: 3 });
  });
  return {
    device: mirrorOf(legs),
    close: () => expect(legs.map(({ inFlight }) => inFlight)).toEqual([0, 0, 0]),
  };
};

const MAPPED: Supports = { ...DISK, readOnly: false };

suite('memory', memory(), DISK);
suite('memory in blocks of 4096', memory({ logicalBlockSize: 4096 }), DISK);
suite('memory that cannot zero', memory({ maxDiscardSectors: 0, maxWriteZeroesSectors: 0 }), DISK);
suite('memory that forgets what is discarded', memory({ discardZeroes: false }), DISK);
suite('a file', file, { ...DISK, sync: true });
suite('a file with cache=none', directFile, { ...DISK, sync: true });
suite('linear over memory', overMemory('0 1000 linear disk 24\n', 1024), MAPPED);
suite(
  'linear over memory in blocks of 4096',
  overMemory('0 1000 linear disk 24\n', 1024, { logicalBlockSize: 4096, maxSectors: 16 }),
  MAPPED,
);
suite('two lines over two files', overTwoFiles, { ...MAPPED, sync: true });
suite(
  'three lines, cut small, over memory of few pieces',
  overMemory('0 9 linear disk 500\n9 7 linear disk 600\n16 400 linear disk 0\n', 1024, {
    maxSegments: 3,
    maxSectors: 8,
  }),
  MAPPED,
);
suite('a leg and its metadata file', legWithExternal, MAPPED);
suite('a mirror of three disks of memory', mirror, MAPPED);
suite('three stripes of 3 sectors', striped('0 900 striped 3 3 a 7 b 0 c 300\n'), MAPPED);
suite(
  'two stripes in blocks of 4096, behind a line',
  striped('0 8 linear c 0\n8 800 striped 2 16 a 8 b 0\n', { logicalBlockSize: 4096 }),
  MAPPED,
);
suite('delay of a millisecond', overMemory('0 1000 delay disk 24 1\n', 1024), MAPPED);
suite('delay by kind', overMemory('0 1000 delay disk 24 0 disk 24 1 disk 24 2\n', 1024), MAPPED);
suite('flakey that is up', overMemory('0 1000 flakey disk 24 60 0\n', 1024), MAPPED);
suite(
  'flakey that is down and corrupts what nobody sends',
  overMemory('0 1000 flakey disk 24 0 60 5 corrupt_bio_byte 1 r 1 32\n', 1024),
  MAPPED,
);
suite('dust without bad blocks', overMemory('0 1000 dust disk 24 512\n', 1024), MAPPED);
suite('zero', overMemory('0 1024 zero\n', 1), { ...MAPPED, storesData: false, sync: true });
suite('error', overMemory('0 1024 error\n', 1), {
  ...MAPPED,
  storesData: false,
  startsZeroed: false,
  sync: true,
  alwaysErrno: ERRNO.EIO,
});
