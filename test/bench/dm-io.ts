// What a region costs: nanoseconds and bytes of garbage, for 1, 2, 8 and 64 regions of 4 KiB on memory
// devices, through `client.submit` and through `dmIoAsyncVm`. Numbers to read, not asserted here
// (test/perf/dm-io-alloc.test.ts asserts the bytes). Run: npm run bench:dm-io
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';

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
  type IoRegionSpec,
} from '../../core/index.ts';

setFlagsFromString('--expose-gc');
const collectGarbage = runInNewContext('gc') as () => void;

const SECTORS = 8;
const ROUNDS = 9;
const REGION_TOTAL = 256_000;

interface Path {
  readonly name: string;
  /** Submits one request and runs the loop until it has ended. */
  prepare(regions: readonly IoRegionSpec[], loop: Loop): () => void;
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
      for (const { device, sector, count } of regions) request.addRegion(device, sector, count);
      return () => {
        const before = counter.ended;
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

function measure(step: () => void, regions: number): { ns: number; bytes: number } {
  const steps = Math.ceil(REGION_TOTAL / regions);
  for (let i = 0; i < steps; i += 1) step();
  const ns: number[] = [];
  const bytes: number[] = [];
  for (let round = 0; round < ROUNDS; round += 1) {
    collectGarbage();
    const heap = process.memoryUsage().heapUsed;
    const start = process.hrtime.bigint();
    for (let i = 0; i < steps; i += 1) step();
    const end = process.hrtime.bigint();
    bytes.push((process.memoryUsage().heapUsed - heap) / steps / regions);
    ns.push(Number(end - start) / steps / regions);
  }
  return { ns: median(ns), bytes: median(bytes) };
}

function median(values: number[]): number {
  values.sort((a, b) => a - b);
  return values[values.length >> 1] ?? NaN;
}

function main(): void {
  console.log(`4 KiB a region, median of ${ROUNDS} rounds of ${REGION_TOTAL} regions`);
  console.log('path                       device  regions  ns/region  bytes of garbage/region');
  for (const path of paths) {
    for (const Device of [MemoryDevice, NullDevice]) {
      for (const count of [1, 2, 8, 64]) {
        const loop = new Loop({ wake: () => undefined, block: () => false });
        const regions = Array.from({ length: count }, () => ({
          device: new Device(loop, 1024),
          sector: 0,
          count: SECTORS,
        }));
        const { ns, bytes } = measure(path.prepare(regions, loop), count);
        console.log(
          path.name.padEnd(26),
          (Device === MemoryDevice ? 'memory' : 'null').padEnd(7),
          String(count).padStart(7),
          ns.toFixed(1).padStart(10),
          bytes.toFixed(2).padStart(12),
        );
      }
    }
  }
}

main();
