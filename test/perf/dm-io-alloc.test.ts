// The per-request path allocates nothing: bytes of garbage per request after warm-up, through the client
// and through the services, near and far on the device. A planted object is seen.
import { BioVec, type Bio } from '../../core/block/bio.ts';
import type { BlockDevice } from '../../core/block/device.ts';
import { Loop } from '../../core/block/loop.ts';
import { REQ_FLAG, REQ_OP } from '../../core/block/op.ts';
import { DmIoClient } from '../../core/dm-io/client.ts';
import type { IoRegionSpec } from '../../core/dm-io/region.ts';
import { DmIoRequest, type DmIoOwner } from '../../core/dm-io/request.ts';
import { DmIoServices, WRITE } from '../../core/dm-io/services.ts';
import { pages, pattern } from '../support/dm-io-fixture.ts';
import { garbagePerStep } from '../support/garbage.ts';
import { NullDevice } from '../support/null-device.ts';

const ALLOWED_BYTES = 2;
const REGIONS = [1, 2, 8, 64];
const NEAR = 8;
const DATA = pattern(8);
/** Past 2^31 sectors, 1 TiB, a number no longer fits a machine word of V8's. */
const FAR = 2 ** 40;

/** One that does what a hot path must not. */
class LitteringDevice extends NullDevice {
  litter: { readonly sector: number } | null = null;

  override submit(bio: Bio): void {
    this.litter = { sector: bio.sector };
    super.submit(bio);
  }
}

class Counter implements DmIoOwner {
  ended = 0;

  dmIoDone(): void {
    this.ended += 1;
  }
}

function makeLoop(): Loop {
  return new Loop({ wake: () => undefined, block: () => false });
}

function clientGarbage(device: BlockDevice, count: number, sector: number, flags: number): number {
  const client = new DmIoClient(device.loop, 64, 64);
  const request = new DmIoRequest();
  const owner = new Counter();
  request.op = REQ_OP.WRITE;
  request.flags = flags;
  request.owner = owner;
  request.memory.setBytes(new Uint8Array(4096), 0);
  const bytes = garbagePerStep(() => {
    request.clearRegions();
    for (let i = 0; i < count; i += 1) request.addRegion(device, sector, 8);
    client.submit(request);
    device.loop.run();
    if (request.inFlight) device.loop.run();
  });
  expect(owner.ended).toBeGreaterThan(0);
  expect(client.biosInFlight).toBe(0);
  return bytes;
}

type Submit = (
  services: DmIoServices,
  regions: readonly IoRegionSpec[],
  fn: (bits: unknown, context: Counter) => void,
  counter: Counter,
) => void;

function serviceGarbage(count: number, submit: Submit): number {
  const loop = makeLoop();
  const device = new NullDevice(loop);
  const services = new DmIoServices();
  services.get(1, loop);
  const regions = Array.from({ length: count }, () => ({ device, sector: NEAR, count: 8 }));
  const counter = new Counter();
  const fn = (_bits: unknown, context: Counter): void => context.dmIoDone();
  const bytes = garbagePerStep(() => {
    submit(services, regions, fn, counter);
    loop.run();
  });
  expect(counter.ended).toBeGreaterThan(0);
  expect(services.underWay).toBe(0);
  return bytes;
}

describe('garbage per request', () => {
  it.each(REGIONS)('%d regions, client.submit', (count) => {
    expect(clientGarbage(new NullDevice(makeLoop()), count, NEAR, 0)).toBeLessThan(ALLOWED_BYTES);
  });

  it.each([1, 64])('%d regions, with PREFLUSH', (count) => {
    const device = new NullDevice(makeLoop());
    expect(clientGarbage(device, count, NEAR, REQ_FLAG.PREFLUSH)).toBeLessThan(ALLOWED_BYTES);
  });

  it.each([1, 64])('%d regions behind 1 TiB', (count) => {
    expect(clientGarbage(new NullDevice(makeLoop()), count, FAR, 0)).toBeLessThan(ALLOWED_BYTES);
  });

  it.each(REGIONS)('%d regions, dmIoAsyncVm', (count) => {
    const bytes = serviceGarbage(count, (services, regions, fn, counter) => {
      services.asyncVm(regions, WRITE, DATA, fn, counter);
    });
    expect(bytes).toBeLessThan(ALLOWED_BYTES);
  });

  it('two regions, dmIoAsyncBvec and dmIoAsync', () => {
    const vecs = [new BioVec(DATA, 0, 1024), new BioVec(DATA, 1024, 3072)];
    const bvec = serviceGarbage(2, (services, regions, fn, counter) => {
      services.asyncBvec(regions, WRITE, vecs, fn, counter);
    });
    const list = pages([DATA, DATA]);
    const pageList = serviceGarbage(2, (services, regions, fn, counter) => {
      services.async(regions, WRITE, list, 512, fn, counter);
    });
    expect(Math.max(bvec, pageList)).toBeLessThan(ALLOWED_BYTES);
  });

  it('is seen when it is there', () => {
    const littered = clientGarbage(new LitteringDevice(makeLoop()), 2, NEAR, 0);
    expect(littered).toBeGreaterThan(2 * 16);
  });
});
