// What a region costs: nanoseconds and bytes of garbage, for 1, 2, 8 and 64 regions of 4 KiB on memory
// devices, through `client.submit` and through `dmIoAsyncVm`. Processor time, so that a busy machine
// distorts it less. Numbers to read, not asserted here
// (test/perf/dm-io-alloc.test.ts asserts the bytes). Run: npm run bench:dm-io
import {
  DmIoClient,
  DmIoRequest,
  DmIoServices,
  Loop,
  MemoryDevice,
  REQ_OP,
  WRITE,
  type BlockDevice,
  type DmIoOwner,
  IoRegion,
} from '../../core/index.ts';
import { garbagePerStep } from '../support/garbage.ts';

const SECTORS = 8;
const COUNTS = [1, 2, 8, 64];
const ROUNDS = 40;
const REGION_TOTAL = 64_000;
/** Chunks of 4 KiB that a path goes round, on all devices together: every count meets one cache. */
const FOOTPRINT = 256;

interface Path {
  readonly name: string;
  /** Submits one request and runs the loop until it has ended. */
  prepare(regions: readonly IoRegion[], loop: Loop): () => void;
}

class Counter implements DmIoOwner {
  ended = 0;

  dmIoDone(): void {
    this.ended += 1;
  }
}

const paths: readonly Path[] = [
  {
    name: 'client.submit, contiguous',
    prepare(regions, loop) {
      const client = new DmIoClient(loop, 64, 64);
      const request = new DmIoRequest();
      const counter = new Counter();
      request.owner = counter;
      request.op = REQ_OP.WRITE;
      request.memory.setBytes(new Uint8Array(SECTORS * 512), 0);
      return () => {
        const before = counter.ended;
        moveOn(regions);
        request.clearRegions();
        for (let i = 0; i < regions.length; i += 1) {
          const { device, sector, count } = regions[i] as IoRegion;
          request.addRegion(device, sector, count);
        }
        client.submit(request);
        while (counter.ended === before) loop.run();
      };
    },
  },
  {
    name: 'dmIoAsyncVm',
    prepare(regions, loop) {
      const services = new DmIoServices();
      const data = new Uint8Array(SECTORS * 512);
      const counter = new Counter();
      const count = (_bits: unknown, context: Counter): void => context.dmIoDone();
      services.get(1, loop);
      return () => {
        const before = counter.ended;
        moveOn(regions);
        services.asyncVm(regions, WRITE, data, count, counter);
        while (counter.ended === before) loop.run();
      };
    },
  },
];

/** A device that moves nothing: what is left is dm-io's own. */
class NullDevice extends MemoryDevice {
  override submit(bio: Parameters<BlockDevice['submit']>[0]): void {
    bio.error = 0;
    this.loop.defer(bio);
  }
}

function moveOn(regions: readonly IoRegion[]): void {
  const end = (FOOTPRINT / regions.length) * SECTORS;
  for (let i = 0; i < regions.length; i += 1) {
    const region = regions[i] as IoRegion;
    region.sector = (region.sector + SECTORS) % end;
  }
}

/** Processor nanoseconds a region, of one round. */
function time(step: () => void, regions: number): number {
  const steps = Math.ceil(REGION_TOTAL / regions);
  const start = process.cpuUsage();
  for (let i = 0; i < steps; i += 1) step();
  const { user, system } = process.cpuUsage(start);
  return ((user + system) * 1000) / steps / regions;
}

function prepare(path: Path, Device: typeof MemoryDevice, count: number): () => void {
  const loop = new Loop({ wake: () => undefined, block: () => false });
  const regions = Array.from({ length: count }, () => {
    return new IoRegion(new Device(loop, FOOTPRINT * SECTORS), 0, SECTORS);
  });
  return path.prepare(regions, loop);
}

/** The counts take turns, so that a busy neighbour slows all of them or none. */
function measure(path: Path, Device: typeof MemoryDevice): void {
  const rows = COUNTS.map((count) => {
    const step = prepare(path, Device, count);
    return { count, step, bytes: garbagePerStep(step) / count, ns: Infinity };
  });
  for (let round = 0; round < ROUNDS; round += 1) {
    for (const row of rows) row.ns = Math.min(row.ns, time(row.step, row.count));
  }
  for (const { count, ns, bytes } of rows) {
    const device = Device === MemoryDevice ? 'memory' : 'null';
    const figures = ns.toFixed(1).padStart(11) + bytes.toFixed(2).padStart(13);
    console.log(path.name.padEnd(26) + device.padEnd(7) + String(count).padStart(8) + figures);
  }
}

function main(): void {
  console.log(`4 KiB a region, best of ${ROUNDS} rounds of ${REGION_TOTAL} regions`);
  console.log('path                      device  regions  ns/region  bytes of garbage/region');
  for (const path of paths) {
    for (const Device of [MemoryDevice, NullDevice]) measure(path, Device);
  }
}

main();
