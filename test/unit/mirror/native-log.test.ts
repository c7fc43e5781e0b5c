// What the native log costs, counted: how many writes touch it, and what a leg gets that comes back.
import { Prng } from '../../../core/base/prng.ts';
import { REQ_OP } from '../../../core/block/op.ts';
import { addLeg, detachDevice, readdLeg } from '../../../core/mirror/leg-changes.ts';
import { at } from '../../sim/at.ts';
import { uuidOf } from './native-fixture.ts';
import { NativeLeg, NativeWorld, REGION } from './native-world.ts';

/** Bios that wrote metadata of leg 0. */
const touches = ({ sent }: NativeWorld): number =>
  sent.filter(({ leg, op, place }) => leg === 0 && op === REQ_OP.WRITE && place !== 'data').length;

function areEqual(world: NativeWorld, one: NativeLeg, other: NativeLeg): boolean {
  const [a, b] = [one, other].map((leg) => Buffer.from(world.image(leg, world.dataSectors)));
  return a !== undefined && b !== undefined && a.equals(b);
}

/** The operator's re-add of leg 1, and all the copying that follows. */
function readd(world: NativeWorld): void {
  const leg = at(world.set.legs, 1);
  const device = at(world.legs, 1);
  if (leg.device !== null) detachDevice(leg);
  world.sent = [];
  const told: number[] = [];
  readdLeg(world.set, leg, device, true, (errno) => told.push(errno));
  world.settle();
  expect(told).toEqual([0]);
  expect(world.standings()).toBe('member member');
}

describe('how many writes touch the log', () => {
  it('is less than 1 % of 10,000 random ones, with those of the cleaner', () => {
    const world = new NativeWorld(1000);
    const prng = new Prng(1);
    world.sent = [];
    for (let i = 1; i <= 10_000; i += 1) {
      expect(world.write(prng.below(world.regions))).toBe(0);
      if (i % 500 === 0) world.pass(1000);
    }
    expect(touches(world)).toBeGreaterThan(0);
    expect(touches(world)).toBeLessThan(100);
  });

  it('is none in the steady state of a lone writer', () => {
    const world = new NativeWorld(1000);
    for (let i = 0; i < 10; i += 1) world.write(7);
    world.sent = [];
    for (let i = 0; i < 100; i += 1) {
      world.write(7);
      world.pass(500);
    }
    expect(touches(world)).toBe(0);
  });
});

describe('a leg that was absent for 1 % of the regions', () => {
  const ABSENT = [3, 90, 140, 141, 300, 512, 640, 777, 901, 999];

  function fill(world: NativeWorld): void {
    for (let region = 0; region < world.regions; region += 3) world.write(region, 1);
    world.pass(20_000);
  }

  it('gets 1 % when it is added again', () => {
    const world = new NativeWorld(1000);
    fill(world);
    expect(world.set.failLegByHand(at(world.set.legs, 1))).toBe(true);
    world.settle();
    for (const region of ABSENT) world.write(region, 2);
    readd(world);
    expect(world.moved(1, REQ_OP.WRITE)).toBe(ABSENT.length * REGION);
    expect(areEqual(world, at(world.legs, 0), at(world.legs, 1))).toBe(true);
  });

  it('gets 1 % after restarts on both sides of its absence, long after too', () => {
    const world = new NativeWorld(1000);
    fill(world);
    expect(world.stop()).toBe(0);
    world.start([0]);
    expect(world.standings()).toBe('member missing');
    for (const region of ABSENT) world.write(region, 2);
    world.pass(20_000);
    expect(world.stop()).toBe(0);
    world.start();
    expect(world.standings()).toBe('member stale');
    readd(world);
    expect(world.moved(1, REQ_OP.WRITE)).toBe(ABSENT.length * REGION);
  });
});

describe('regions that were never written', () => {
  const WRITTEN = [0, 40, 99];

  function withStranger(zeroed: boolean): NativeWorld {
    const world = new NativeWorld(100, { zeroed });
    for (const region of WRITTEN) world.write(region, 5);
    // What was marked ahead and not used is never-written again.
    world.pass(20_000);
    const stranger = new NativeLeg(world, 2);
    stranger.overwrite(new Uint8Array(stranger.sectors * 512).fill(0xee));
    world.sent = [];
    const told: number[] = [];
    addLeg(
      world.set,
      {
        name: 'leg2',
        startSector: 0,
        device: stranger,
        writeMostly: false,
        replaces: null,
        uuid: uuidOf(7),
      },
      (errno) => told.push(errno),
    );
    world.settle();
    expect(told).toEqual([0]);
    expect(world.standings()).toBe('member member member');
    expect(areEqual(world, at(world.legs, 0), stranger)).toBe(true);
    return world;
  }

  const read = (world: NativeWorld): number =>
    world.moved(0, REQ_OP.READ) + world.moved(1, REQ_OP.READ);

  it('are asked for as zeros, and not read, in a set that was made of zeros', () => {
    const world = withStranger(true);
    expect(read(world)).toBe(WRITTEN.length * REGION);
    expect(world.moved(2, REQ_OP.WRITE)).toBe(WRITTEN.length * REGION);
    expect(world.moved(2, REQ_OP.WRITE_ZEROES)).toBe((100 - WRITTEN.length) * REGION);
  });

  it('are read in any other set', () => {
    expect(read(withStranger(false))).toBe(100 * REGION);
  });

  it.each([
    [true, 7],
    [false, 100],
  ])('are not lacked by a leg put back to an earlier day, zeroed %p: %i', (zeroed, lacks) => {
    const world = new NativeWorld(100, { zeroed });
    for (const region of [1, 2, 3, 4, 50]) world.write(region, 1);
    expect(world.stop()).toBe(0);
    const one = at(world.legs, 1);
    const image = world.image(one);
    world.start();
    for (const region of [60, 70]) world.write(region, 2);
    expect(world.stop()).toBe(0);
    world.putBack(one, image);
    world.start();
    expect(world.standings()).toBe('member member');
    const gotten = world.moved(1, REQ_OP.WRITE) + world.moved(1, REQ_OP.WRITE_ZEROES);
    expect(gotten).toBe(lacks * REGION);
    expect(areEqual(world, at(world.legs, 0), one)).toBe(true);
  });
});
