// The parts of the native log where legs fail them: store, recorder, cleaner. What goes out in which
// order, who is put out, and who is told.
import { ERRNO } from '../../../core/base/errno.ts';
import { REQ_OP } from '../../../core/block/op.ts';
import { at } from '../../sim/at.ts';
import { NativeWorld, REGION } from './native-world.ts';

const WRITE = REQ_OP.WRITE;
const MAP = { op: WRITE, place: 'map' } as const;
const SUPERBLOCK = { op: WRITE, place: 'superblock' } as const;

/** Kinds of writes and flushes of a leg, in order, each run of one kind once. */
function story({ sent }: NativeWorld, leg: number): string {
  const kinds = sent
    .filter((bio) => bio.leg === leg && bio.op !== REQ_OP.READ)
    .map(({ op, place }) => (op === REQ_OP.FLUSH ? 'flush' : place));
  return kinds.filter((kind, i) => kind !== kinds[i - 1]).join(' ');
}

function started(legs = 2): NativeWorld {
  const world = new NativeWorld(1000, { legs });
  world.write(900);
  world.sent = [];
  return world;
}

describe('the store', () => {
  it('marks on every leg before data goes to any', () => {
    const world = started();
    expect(world.write(3)).toBe(0);
    expect(story(world, 0)).toBe('map data');
    expect(story(world, 1)).toBe('map data');
  });

  it('puts out a leg that does not take a mark; data waits until that is durable', () => {
    const world = started();
    at(world.legs, 1).fails = MAP;
    expect(world.write(3)).toBe(0);
    expect(world.standings()).toBe('member failed');
    expect(at(world.set.legs, 1).errors.write).toBe(1);
    expect(story(world, 0)).toBe('map superblock data');
    // The superblock is its farewell: no data goes to it any more.
    expect(story(world, 1)).toBe('map superblock');
  });

  it('tells the client where no leg takes a mark, writes nothing, and goes on when one does', () => {
    const world = started();
    for (const leg of world.legs) leg.fails = MAP;
    expect(world.write(3)).toBe(ERRNO.EIO);
    // What may be lost with the mark is written once more (D8); of the client's nothing goes out.
    expect(story(world, 0)).toMatch(/^map/);
    const data = world.sent.filter(({ op, place }) => op === WRITE && place === 'data');
    expect(data.map(({ sector }) => Math.floor(sector / REGION))).not.toContain(3);
    expect(world.standings()).toBe('member member');
    for (const leg of world.legs) leg.fails = null;
    expect(world.write(3)).toBe(0);
  });
});

describe('the recorder', () => {
  it('puts out a leg that does not take a superblock', () => {
    const world = started(3);
    at(world.legs, 2).fails = SUPERBLOCK;
    expect(world.set.failLegByHand(at(world.set.legs, 1))).toBe(true);
    expect(world.write(3)).toBe(0);
    expect(world.standings()).toBe('member failed failed');
  });

  it('lets nothing be acknowledged that a superblock nobody takes stands before', () => {
    const world = started(3);
    for (const leg of world.legs) leg.fails = SUPERBLOCK;
    expect(world.set.failLegByHand(at(world.set.legs, 1))).toBe(true);
    expect(world.write(900)).toBe(ERRNO.EIO);
    expect(world.standings()).toBe('member failed member');
    for (const leg of world.legs) leg.fails = null;
    expect(world.write(900)).toBe(0);
  });

  it('is believed after a stop by whoever starts on the legs in another order', () => {
    const world = started();
    expect(world.stop()).toBe(0);
    world.start([1, 0]);
    expect(world.standings()).toBe('member member');
    expect(world.set.doubt.count).toBe(0);
  });
});

describe('the cleaner', () => {
  it('flushes, then raises the generation, then makes it the cleared one, then clears', () => {
    const world = started();
    world.write(3);
    const { generation } = world.set.record();
    const cleared = world.set.clearedGeneration;
    world.sent = [];
    world.pass(20_000);
    expect(world.set.regionLog.dirty).toBe(0);
    expect(story(world, 0)).toBe('flush superblock map');
    // Each of the two goes to both copies.
    const superblocks = world.sent.filter((bio) => bio.leg === 0 && bio.place === 'superblock');
    expect(superblocks.length).toBe(4);
    expect(world.set.clearedGeneration).toBeGreaterThan(cleared);
    expect(world.set.clearedGeneration).toBeGreaterThan(generation);
  });

  it('leaves what is written again alone', () => {
    const world = started();
    for (let i = 0; i < 40; i += 1) {
      world.write(3);
      world.pass(500);
    }
    expect(world.set.regionLog.dirty).toBeGreaterThan(0);
    const flushes = world.sent.filter(({ op }) => op === REQ_OP.FLUSH);
    // The other group of regions, that of the first write, was cleaned.
    expect(flushes.length).toBeLessThanOrEqual(4);
  });

  it('tries later and later where no leg can flush', () => {
    const world = started();
    world.write(3);
    for (const leg of world.legs) leg.fails = { op: REQ_OP.FLUSH, place: 'data' };
    world.sent = [];
    world.pass(600_000, 5000);
    const flushes = world.sent.filter(({ op, leg }) => op === REQ_OP.FLUSH && leg === 0);
    expect(flushes.length).toBeGreaterThan(5);
    expect(flushes.length).toBeLessThan(40);
    expect(world.set.regionLog.dirty).toBeGreaterThan(0);
    for (const leg of world.legs) leg.fails = null;
    world.pass(120_000, 5000);
    expect(world.set.regionLog.dirty).toBe(0);
  });

  it('does not flush for a region that cannot be settled', () => {
    const world = started();
    world.write(3);
    world.set.putInDoubt(3, 3);
    for (const leg of world.legs) leg.fails = { op: REQ_OP.READ, place: 'data' };
    world.set.recovery.kick();
    world.pass(60_000, 5000);
    world.sent = [];
    world.pass(120_000, 5000);
    // Not at each turn: there are 72 of them.
    expect(world.sent.filter(({ op }) => op === REQ_OP.FLUSH).length).toBeLessThan(5);
  });
});
