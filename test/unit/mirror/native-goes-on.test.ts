// What takes long goes on after a restart where it was: a scrub, and the filling of a leg.
import { REQ_OP } from '../../../core/block/op.ts';
import { detachDevice, readdLeg } from '../../../core/mirror/leg-changes.ts';
import type { ScrubRepair } from '../../../core/mirror/scrub-report.ts';
import { at } from '../../sim/at.ts';
import { NativeWorld, REGION } from './native-world.ts';

const REGIONS = 400;
const BYTES = REGION * 512;

/** The loop turns until so many regions have been checked; some more are under way. */
function check(world: NativeWorld, regions: number): number {
  for (let turn = 0; turn < 100_000; turn += 1) {
    const done = (world.set.scrub.status()?.doneBytes ?? 0) / BYTES;
    if (done >= regions) return done;
    world.loop.run();
  }
  throw new Error('the scrub stands still');
}

function begin(world: NativeWorld, repair: ScrubRepair = 'none'): void {
  world.sent = [];
  expect(world.set.scrub.begin(repair, false)).toBeNull();
}

/** Regions read of leg 0 by the scrub that begins now. */
function regionsRead(world: NativeWorld, repair: ScrubRepair = 'none'): number {
  begin(world, repair);
  world.settle();
  expect(world.set.scrub.status()).toMatchObject({ state: 'done' });
  return world.moved(0, REQ_OP.READ) / REGION;
}

describe('a scrub', () => {
  it('goes on after a clean restart, with its counts and its kind', () => {
    const world = new NativeWorld(REGIONS, { legs: 3 });
    at(world.legs, 1).overwrite(new Uint8Array(512).fill(9));
    begin(world, 'majority');
    check(world, 150);
    expect(world.stop()).toBe(0);
    world.start();
    const left = world.set.scrub.status();
    expect(left).toMatchObject({ state: 'stopped', repair: 'majority', mismatchedRanges: 1 });
    expect(left).toMatchObject({ mismatchedSectors: 1, repairedSectors: 1, mismatches: [] });
    const done = (left?.doneBytes ?? 0) / BYTES;
    expect(done).toBeGreaterThanOrEqual(150);
    expect(done).toBeLessThan(REGIONS);
    expect(regionsRead(world, 'majority')).toBe(REGIONS - done);
    // One that is done is not gone on with.
    expect(world.stop()).toBe(0);
    world.start();
    expect(world.set.scrub.status()).toBeNull();
    expect(regionsRead(world)).toBe(REGIONS);
  });

  it('goes on after a crash from where it was a minute before, never from further on', () => {
    const world = new NativeWorld(REGIONS);
    begin(world);
    check(world, 100);
    world.clock.advance(61_000);
    const told = check(world, 110);
    check(world, 300);
    // Nobody ends it: another life on the same legs.
    world.start();
    const done = (world.set.scrub.status()?.doneBytes ?? 0) / BYTES;
    expect(done).toBeGreaterThan(90);
    expect(done).toBeLessThanOrEqual(told + 16);
    expect(regionsRead(world)).toBe(REGIONS - done);
  });

  it('knows the leg that repairs again, and begins anew when another kind is asked for', () => {
    const world = new NativeWorld(REGIONS, { legs: 3 });
    begin(world, { fromLeg: 2 });
    check(world, 50);
    expect(world.stop()).toBe(0);
    world.start();
    expect(world.set.scrub.status()).toMatchObject({ state: 'stopped', fromLeg: 2 });
    // Another kind of scrub begins anew.
    expect(regionsRead(world)).toBe(REGIONS);
  });
});

describe('a leg that is being filled', () => {
  it('gets after a restart what it had not got, not all again', () => {
    const world = new NativeWorld(REGIONS);
    for (let region = 0; region < REGIONS; region += 1) world.write(region, 1);
    world.pass(20_000);
    const leg = at(world.set.legs, 1);
    expect(world.set.failLegByHand(leg)).toBe(true);
    world.settle();
    for (let region = 0; region < REGIONS; region += 1) world.write(region, 2);
    world.pass(20_000);
    const device = at(world.legs, 1);
    detachDevice(leg);
    world.sent = [];
    readdLeg(world.set, leg, device, true, () => undefined);
    for (let turn = 0; world.moved(1, REQ_OP.WRITE) < (REGIONS / 2) * REGION; turn += 1) {
      if (turn > 100_000) throw new Error('the copy stands still');
      world.loop.run();
    }
    // A clean stop flushes what was copied, and says so.
    expect(world.stop()).toBe(0);
    world.sent = [];
    world.start();
    const gotten = world.moved(1, REQ_OP.WRITE) / REGION;
    expect(gotten).toBeGreaterThan(0);
    expect(gotten).toBeLessThanOrEqual(REGIONS / 2);
    expect(world.standings()).toBe('member member');
    const [a, b] = world.legs.map((each) => Buffer.from(world.image(each, world.dataSectors)));
    expect(a?.equals(b ?? Buffer.alloc(0))).toBe(true);
  });
});
