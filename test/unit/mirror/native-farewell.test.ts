// The last word to a leg that has left: started alone it must not be believed, and whatever becomes of
// that word, on time, torn, too late or never, it must do no harm.
import { REQ_OP } from '../../../core/block/op.ts';
import { detachDevice, failLeg, readdLeg, removeLeg } from '../../../core/mirror/leg-changes.ts';
import { SUPERBLOCK_SECTORS } from '../../../core/mirror/native-layout.ts';
import { at } from '../../sim/at.ts';
import { NativeWorld } from './native-world.ts';

const SUPERBLOCK = { op: REQ_OP.WRITE, place: 'superblock' } as const;
const REFUSED = /no leg in sync is there/;

function started(legs = 2): NativeWorld {
  const world = new NativeWorld(1000, { legs });
  world.write(900);
  world.sent = [];
  return world;
}

/** The operator takes leg 1 out. */
function fail(world: NativeWorld): void {
  const told: number[] = [];
  expect(failLeg(world.set, at(world.set.legs, 1), (errno) => told.push(errno))).toBe(true);
  world.settle();
  expect(told).toEqual([0]);
}

describe('a leg that has left', () => {
  it('is not believed alone when an operator has taken it out', () => {
    const world = started();
    fail(world);
    expect(() => world.start([1])).toThrow(REFUSED);
    world.start([0, 1]);
    expect(world.standings()).toBe('member stale');
  });

  it('is not believed alone when it has missed a write', () => {
    const world = started();
    at(world.legs, 1).fails = { op: REQ_OP.WRITE, place: 'data' };
    expect(world.write(3)).toBe(0);
    expect(() => world.start([1])).toThrow(REFUSED);
  });

  it('is told in both copies, after both copies of those that stay', () => {
    const world = started();
    fail(world);
    const order = world.sent.filter(({ place }) => place === 'superblock').map(({ leg }) => leg);
    expect(order).toEqual([0, 0, 1, 1]);
    const sectors = world.sent.filter(({ leg }) => leg === 1).map(({ sector }) => sector);
    expect(new Set(sectors).size).toBe(2);
  });

  it('stands against a leg that stayed and is put back to the day before', () => {
    const world = started(3);
    const before = world.image(at(world.legs, 2));
    fail(world);
    world.putBack(at(world.legs, 2), before);
    expect(() => world.start([1, 2])).toThrow(REFUSED);
  });

  it('comes back by a delta, in the same life and in the next', () => {
    for (const isNext of [false, true]) {
      const world = started();
      fail(world);
      expect(world.write(3)).toBe(0);
      if (isNext) world.start([0, 1]);
      const leg = at(world.set.legs, 1);
      const lacking = leg.outOfSync.count;
      expect(lacking).toBeGreaterThan(0);
      expect(lacking).toBeLessThan(20);
      detachDevice(leg);
      readdLeg(world.set, leg, at(world.legs, 1), true, () => undefined);
      world.settle();
      expect(world.standings()).toBe('member member');
      world.start([1]);
      expect(world.standings()).toBe('missing member');
    }
  });

  it('is told once, and again when it has left again', () => {
    const world = started();
    fail(world);
    world.sent = [];
    world.write(3);
    world.pass(20_000);
    expect(world.sent.filter(({ leg }) => leg === 1)).toEqual([]);
    const leg = at(world.set.legs, 1);
    detachDevice(leg);
    readdLeg(world.set, leg, at(world.legs, 1), true, () => undefined);
    world.settle();
    fail(world);
    expect(() => world.start([1])).toThrow(REFUSED);
  });
});

describe('a farewell', () => {
  it('that fails changes nothing: the set goes on, the leg is what it was', () => {
    const world = started();
    at(world.legs, 1).fails = SUPERBLOCK;
    fail(world);
    expect(world.write(3)).toBe(0);
    expect(world.standings()).toBe('member failed');
    expect(world.stop()).toBe(0);
    at(world.legs, 1).fails = null;
    world.start([0, 1]);
    expect(world.standings()).toBe('member stale');
  });

  it('that is late keeps the leg from coming back, and a set from settling, until it has landed', () => {
    const world = started();
    at(world.legs, 1).holds = 'superblock';
    fail(world);
    const leg = at(world.set.legs, 1);
    expect(at(world.legs, 1).held.length).toBe(1);
    expect(leg.inFlight).toBe(1);
    expect(() => readdLeg(world.set, leg, at(world.legs, 1), true, () => undefined)).toThrow(
      'requests of its earlier life',
    );
    const told: number[] = [];
    world.set.stop((errno) => told.push(errno));
    world.settle();
    expect(told).toEqual([]);
    at(world.legs, 1).release();
    world.settle();
    expect(told).toEqual([0]);
    expect(leg.inFlight).toBe(0);
    expect(() => world.start([1])).toThrow(REFUSED);
  });

  it('that never comes, as the daemon dies before, leaves a leg that those who stayed call stale', () => {
    const world = started();
    at(world.legs, 1).holds = 'superblock';
    fail(world);
    at(world.legs, 1).holds = null;
    world.start([0, 1]);
    expect(world.standings()).toBe('member stale');
  });

  it('that is torn leaves the copy before it', () => {
    const world = started();
    const leg = at(world.legs, 1);
    leg.holds = 'superblock';
    fail(world);
    const image = world.image(leg);
    const sector = at(leg.held, 0).sector;
    image.fill(0x5a, (sector + 1) * 512, (sector + SUPERBLOCK_SECTORS) * 512);
    leg.holds = null;
    world.putBack(leg, image);
    world.start([0, 1]);
    expect(world.standings()).toBe('member stale');
    world.start([1]);
    expect(world.standings()).toBe('missing member');
  });

  it('is not said to a leg that is being removed: that one is wiped', () => {
    const world = started(3);
    const told: number[] = [];
    expect(removeLeg(world.set, at(world.set.legs, 1), (errno) => told.push(errno))).toBe(true);
    world.settle();
    expect(told).toEqual([0]);
    expect(() => world.start([1])).toThrow('no leg carries metadata');
  });
});
