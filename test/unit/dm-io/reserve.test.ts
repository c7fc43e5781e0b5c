// R21 and R24: the reserve guarantees progress, get and put balance, and a completion routine that
// throws corrupts no count.
import { READ, WRITE, DmIoServices, MAX_PAGES } from '../../../core/dm-io/services.ts';
import {
  dmIoAsync,
  dmIoAsyncBvec,
  dmIoAsyncVm,
  dmIoGet,
  dmIoPut,
  dmIoReserve,
  dmIoSync,
  dmIoSyncBvec,
  dmIoSyncVm,
} from '../../../core/index.ts';
import { BioVec } from '../../../core/block/bio.ts';
import { Prng } from '../../../core/base/prng.ts';
import { DmIoClient } from '../../../core/dm-io/client.ts';
import { DmIoRequest } from '../../../core/dm-io/request.ts';
import { REQ_OP } from '../../../core/block/op.ts';
import { Disk, DiskWorld } from '../../support/dm-io-disk.ts';
import { Fixture, pages, pattern, whole } from '../../support/dm-io-fixture.ts';

const MANY = 10_000;

describe('R21: the reserve', () => {
  it.each([null, 5])('with the smallest, ten thousand at once all finish (order %p)', (seed) => {
    const world = new DiskWorld(seed === null ? null : new Prng(seed));
    const services = new DmIoServices();
    services.get(1, world.loop);
    const disks = [new Disk(world, 8), new Disk(world, 8).fail(REQ_OP.WRITE, 3, 4)];
    const calls = new Uint8Array(MANY);
    let most = 0;
    let failed = 0;
    for (let i = 0; i < MANY; i += 1) {
      services.asyncVm(
        disks.map(whole),
        WRITE,
        pattern(8),
        (bits, context: number) => {
          calls[context] = (calls[context] ?? 0) + 1;
          if (bits.toBigInt() === 0b10n) failed += 1;
        },
        i,
      );
      most = Math.max(most, services.underWay);
    }
    expect([most, services.waitingCount]).toEqual([4, MANY - 4]);
    world.settle();
    expect(calls.every((count) => count === 1)).toBe(true);
    expect([failed, services.underWay, services.waitingCount]).toEqual([MANY, 0, 0]);
  });

  it('requests beyond it go first come, first served', () => {
    const f = new Fixture();
    const order: number[] = [];
    for (let i = 0; i < 20; i += 1) {
      const region = { device: f.disk(), sector: 0, count: 1 };
      f.services.asyncVm([region], WRITE, pattern(1), (_bits, n: number) => order.push(n), i);
    }
    f.world.settle();
    expect(order).toEqual(Array.from({ length: 20 }, (_, i) => i));
  });

  it('a routine may submit again with the reserve taken and others waiting', () => {
    const f = new Fixture();
    const regions = [whole(f.disk(8))];
    let ended = 0;
    const routine = (_bits: unknown, again: number): void => {
      ended += 1;
      if (again > 0) f.services.asyncVm(regions, WRITE, pattern(8), routine, again - 1);
    };
    for (let i = 0; i < 100; i += 1) {
      f.services.asyncVm(regions, WRITE, pattern(8), routine, 9);
    }
    f.world.settle();
    expect(ended).toBe(1000);
    expect([f.services.underWay, f.services.waitingCount]).toEqual([0, 0]);
  });

  it('a synchronous call goes behind the requests that wait, and ends', () => {
    const f = new Fixture();
    const disk = f.disk(8);
    let ended = 0;
    for (let i = 0; i < 50; i += 1) {
      f.services.asyncVm([whole(disk)], WRITE, pattern(8, i), () => (ended += 1), null);
    }
    expect(f.services.syncVm([whole(disk)], WRITE, pattern(8, 99)).ret).toBe(0);
    expect(ended).toBeGreaterThanOrEqual(47);
    f.world.settle();
    expect([ended, f.services.underWay]).toEqual([50, 0]);
  });

  it('each page is worth four requests, of all users together', () => {
    const f = new Fixture();
    expect(f.services.reserve).toBe(4);
    f.services.get(3);
    expect(f.services.reserve).toBe(16);
    for (let i = 0; i < 20; i += 1) {
      f.services.asyncVm([whole(f.disk())], WRITE, pattern(16), () => undefined, null);
    }
    expect([f.services.underWay, f.services.waitingCount]).toEqual([16, 4]);
    f.services.get(1);
    expect([f.services.underWay, f.services.waitingCount]).toEqual([20, 0]);
    f.world.settle();
  });

  it('get and put balance or are refused, and a refusal changes nothing', () => {
    const f = new Fixture();
    f.services.get(2);
    expect(() => f.services.put(4)).toThrow(/^pages: /);
    expect(() => f.services.put(1.5)).toThrow(/^pages: /);
    expect(() => f.services.put(0)).toThrow(/^pages: /);
    expect(() => f.services.get(MAX_PAGES - 2)).toThrow(/^pages: /);
    expect(f.services.reserve).toBe(12);
    f.services.put(1);
    f.services.put(2);
    expect([f.services.reserve, f.services.isTornDown]).toEqual([0, true]);
    expect(() => f.services.put(1)).toThrow(/^pages: /);
  });
});

describe('R21: put', () => {
  it('of one of two users leaves the other one at work', () => {
    const f = new Fixture();
    f.services.get(1);
    f.services.put(1);
    expect(f.services.isTornDown).toBe(false);
    expect(f.services.syncVm([whole(f.disk())], WRITE, pattern(16)).ret).toBe(0);
  });

  it('of the last waits for nothing, refuses new calls, lets accepted ones end, then tears down', () => {
    const f = new Fixture();
    const disk = f.disk();
    let ended = 0;
    for (let i = 0; i < 10; i += 1) {
      f.services.asyncVm([whole(disk)], WRITE, pattern(16), () => (ended += 1), null);
    }
    f.services.put(1);
    expect([ended, f.services.isTornDown]).toEqual([0, false]);
    expect(() => f.services.syncVm([whole(disk)], WRITE, pattern(16))).toThrow(/^reserve: /);
    f.world.settle();
    expect([ended, f.services.isTornDown]).toEqual([10, true]);
  });

  it('from the last routine tears down behind it; get starts afresh, on another loop too', () => {
    const f = new Fixture();
    let during: boolean | undefined;
    const routine = (): void => {
      f.services.put(1);
      during = f.services.isTornDown;
    };
    f.services.asyncVm([whole(f.disk())], WRITE, pattern(16), routine, null);
    f.world.settle();
    expect([during, f.services.isTornDown]).toEqual([true, true]);
    const other = new DiskWorld();
    f.services.get(1, other.loop);
    expect(f.services.syncVm([whole(new Disk(other, 4))], WRITE, pattern(4)).ret).toBe(0);
    f.services.put(1);
    expect(f.services.isTornDown).toBe(true);
  });

  it('then get, while the last requests still drain, keeps the services alive', () => {
    const f = new Fixture();
    let ended = 0;
    f.services.asyncVm([whole(f.disk())], WRITE, pattern(16), () => (ended += 1), null);
    f.services.put(1);
    f.services.get(1);
    f.world.settle();
    expect([ended, f.services.isTornDown]).toEqual([1, false]);
    expect(f.services.syncVm([whole(f.disk())], WRITE, pattern(16)).ret).toBe(0);
  });

  it('tears down after a read that rule 1 refused', () => {
    const f = new Fixture();
    f.services.asyncVm(
      [whole(f.disk()), whole(f.disk())],
      READ,
      pattern(16),
      () => undefined,
      null,
    );
    f.services.put(1);
    expect(f.services.isTornDown).toBe(false);
    f.world.settle();
    expect(f.services.isTornDown).toBe(true);
  });

  it('a user on another loop is refused while the first is there', () => {
    const f = new Fixture();
    expect(() => f.services.get(1, new DiskWorld().loop)).toThrow(/^loop: /);
    expect(f.services.reserve).toBe(4);
  });
});

describe('R24: a routine that throws', () => {
  function settleThrough(world: DiskWorld): string[] {
    const thrown: string[] = [];
    for (;;) {
      try {
        world.settle();
        return thrown;
      } catch (error) {
        thrown.push((error as Error).message);
      }
    }
  }

  it('is thrown by the loop, and every other request ends all the same', () => {
    const f = new Fixture();
    const disk = f.disk(8);
    let ended = 0;
    const routine = (_bits: unknown, n: number): void => {
      ended += 1;
      if (n % 3 === 0) throw new Error(`routine ${n}`);
    };
    for (let i = 0; i < 30; i += 1) {
      f.services.asyncVm([whole(disk)], WRITE, pattern(8), routine, i);
    }
    const thrown = settleThrough(f.world);
    expect(thrown).toEqual(Array.from({ length: 10 }, (_, i) => `routine ${i * 3}`));
    expect([ended, f.services.underWay, f.services.waitingCount]).toEqual([30, 0, 0]);
    f.services.put(1);
    expect(f.services.isTornDown).toBe(true);
  });

  it('in the owner of a client with one bio, does not strand those that wait for it', () => {
    const f = new Fixture();
    const client = new DmIoClient(f.world.loop, 1, 1);
    let ended = 0;
    const requests = Array.from({ length: 5 }, () => new DmIoRequest());
    for (const made of requests) {
      made.op = REQ_OP.WRITE;
      made.memory.setBytes(pattern(8), 0);
      made.owner = {
        dmIoDone(): void {
          ended += 1;
          throw new Error('owner');
        },
      };
      made.addRegion(f.disk(8), 0, 8);
      client.submit(made);
    }
    expect(settleThrough(f.world)).toHaveLength(5);
    expect([ended, client.biosInFlight, client.requestsWaiting]).toEqual([5, 0, 0]);
  });

  it("does not reach a synchronous caller that runs the loop; the loop's next run throws it", () => {
    const f = new Fixture();
    const disk = f.disk(8);
    const routine = (): never => {
      throw new Error("another's");
    };
    for (let i = 0; i < 3; i += 1) {
      f.services.asyncVm([whole(disk)], WRITE, pattern(8), routine, null);
    }
    expect(f.services.syncVm([whole(disk)], WRITE, pattern(8)).ret).toBe(0);
    expect(settleThrough(f.world)).toEqual(["another's", "another's", "another's"]);
  });
});

describe('the shared reserve, by the kernel names', () => {
  it('serves all six and tears down', () => {
    const f = new Fixture();
    const regions = [whole(f.disk(8))];
    const list = pages([pattern(8)]);
    const vecs = [new BioVec(pattern(8), 0, 4096)];
    const bits: bigint[] = [];
    const fn = (errorBits: { toBigInt(): bigint }): void => void bits.push(errorBits.toBigInt());
    dmIoGet(1);
    expect(dmIoSync(regions, WRITE, list, 0).ret).toBe(0);
    expect(dmIoSyncBvec(regions, READ, vecs).ret).toBe(0);
    expect(dmIoSyncVm(regions, READ, pattern(8)).ret).toBe(0);
    expect(dmIoAsync(regions, WRITE, list, 0, fn, null)).toBe(0);
    expect(dmIoAsyncBvec(regions, WRITE, vecs, fn, null)).toBe(0);
    expect(dmIoAsyncVm(regions, WRITE, pattern(8), fn, null)).toBe(0);
    expect(dmIoReserve()).toEqual({ reserve: 4, underWay: 3, waiting: 0 });
    dmIoPut(1);
    f.world.settle();
    expect(bits).toEqual([0n, 0n, 0n]);
    expect(dmIoReserve()).toEqual({ reserve: 0, underWay: 0, waiting: 0 });
  });
});
