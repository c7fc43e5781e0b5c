// The client from below: what a request leaves behind, and devices that are not as kind as a disk.
import type { Bio } from '../../../core/block/bio.ts';
import { BioVec } from '../../../core/block/bio.ts';
import { REQ_OP } from '../../../core/block/op.ts';
import { DmIoClient } from '../../../core/dm-io/client.ts';
import type { DmIoRequest } from '../../../core/dm-io/request.ts';
import { Disk, DiskWorld } from '../../support/dm-io-disk.ts';
import { Fixture, pattern } from '../../support/dm-io-fixture.ts';

let f: Fixture;

beforeEach(() => (f = new Fixture()));

function submitted(client: DmIoClient, disks: readonly Disk[], ended: () => void): DmIoRequest {
  const made = f.request(REQ_OP.WRITE, 0, pattern(8));
  made.owner = { dmIoDone: ended };
  for (const disk of disks) made.addRegion(disk, 0, 8);
  client.submit(made);
  return made;
}

describe('a request used again as it is', () => {
  it('begins without bits and errnos', () => {
    const client = new DmIoClient(f.world.loop);
    const disks = f.disks(3, 8).map((disk) => disk.fail(REQ_OP.WRITE));
    const made = submitted(client, disks, () => undefined);
    f.world.settle();
    expect(made.regions.map(({ error }) => error)).toEqual([5, 5, 5]);
    disks.forEach((disk) => (disk.faults = []));
    client.submit(made);
    expect(made.regions.map(({ error }) => error)).toEqual([0, 0, 0]);
    f.world.settle();
    expect(made.errorBits.isEmpty).toBe(true);
  });

  it('may not be submitted or changed while it is under way, even with nothing to send', () => {
    const client = new DmIoClient(f.world.loop);
    const empty = submitted(client, [], () => undefined);
    expect(empty.inFlight).toBe(true);
    expect(() => client.submit(empty)).toThrow('in flight');
    expect(() => empty.clearRegions()).toThrow('in flight');
    expect(() => empty.addRegion(f.disk(), 0, 1)).toThrow('in flight');
    f.world.settle();
    expect(empty.inFlight).toBe(false);
  });

  it('may be submitted again from its own end', () => {
    const client = new DmIoClient(f.world.loop, 1, 1);
    let rounds = 0;
    const made = submitted(client, f.disks(3, 8), () => {
      rounds += 1;
      if (rounds < 10) client.submit(made);
    });
    f.world.settle();
    expect(rounds).toBe(10);
  });
});

describe('what is behind a request', () => {
  it('a read of several regions, and a 65th region, break a promise', () => {
    const client = new DmIoClient(f.world.loop);
    const made = f.request(REQ_OP.READ, 0, pattern(8));
    for (let i = 0; i < 64; i += 1) made.addRegion(f.disk(8), 0, 8);
    expect(() => client.submit(made)).toThrow('a read of several regions');
    expect(() => made.addRegion(f.disk(8), 0, 8)).toThrow('more than 64 regions');
  });

  it('a table that fits the device is lent, not copied', () => {
    const disk = new Disk(f.world, 8, { maxSegments: 2 });
    const table = [new BioVec(pattern(3), 0, 1536), new BioVec(pattern(5, 4), 0, 2560)];
    let lent: unknown;
    disk.submit = (bio): void => {
      lent = bio.vecs;
      f.world.take(bio, disk);
    };
    f.services.syncBvec([{ device: disk, sector: 0, count: 8 }], 1, table);
    expect(lent).toBe(table);
    expect(disk.bytes).toEqual(pattern(8));
  });

  it('no vector table of the caller stays reachable from an ended bio', () => {
    const disk = f.disk(8);
    const bios: Bio[] = [];
    disk.submit = (bio): void => {
      bios.push(bio);
      f.world.take(bio, disk);
    };
    const table = [new BioVec(pattern(8), 0, 4096)];
    f.services.syncBvec([{ device: disk, sector: 0, count: 8 }], 1, table);
    expect(bios[0]?.vecs).not.toBe(table);
  });
});

describe('a device', () => {
  it('that ends a bio twice is found out', () => {
    const client = new DmIoClient(f.world.loop);
    const disk = f.disk(8);
    let ends = 0;
    disk.submit = (bio): void => {
      f.world.loop.defer(bio);
      f.world.loop.defer(bio);
    };
    submitted(client, [disk], () => (ends += 1));
    expect(() => f.world.settle()).toThrow('a dm-io bio ended twice');
    expect(ends).toBe(1);
  });

  it('may end other bios while it takes one: a request that waits is not sent from two places', () => {
    const world = new DiskWorld();
    const client = new DmIoClient(world.loop, 2, 2);
    const disk = new Disk(world, 8, { maxSectors: 1 });
    const held: Bio[] = [];
    const sectors: number[] = [];
    disk.submit = (bio): void => {
      sectors.push(bio.sector);
      bio.error = 0;
      // In completion context another bio may be ended on the spot; this one never.
      const other = world.loop.isRunning ? held.shift() : undefined;
      held.push(bio);
      other?.complete();
    };
    let ends = 0;
    submitted(client, [disk, disk, disk], () => (ends += 1));
    submitted(client, [disk, disk], () => (ends += 1));
    for (let bio = held.shift(); bio !== undefined; bio = held.shift()) {
      world.loop.defer(bio);
      world.loop.run();
    }
    const eight = [0, 1, 2, 3, 4, 5, 6, 7];
    expect([ends, client.biosInFlight, client.requestsWaiting]).toEqual([2, 0, 0]);
    expect(sectors).toEqual([eight, eight, eight, eight, eight].flat());
  });
});
