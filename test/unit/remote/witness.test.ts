// Who answers a new connection: the places that a server must show, and what their content is worth.
import { ERRNO } from '../../../core/base/errno.ts';
import { Prng } from '../../../core/base/prng.ts';
import { BioVec } from '../../../core/block/bio.ts';
import { REQ_FLAG, REQ_OP } from '../../../core/block/op.ts';
import { COMMAND, NBD_ERROR } from '../../../core/nbd/proto.ts';
import { Digest } from '../../../core/remote/digest.ts';
import { RemoteWorld } from '../../support/remote-world.ts';

describe('a digest', () => {
  it('is the same however the bytes are cut, and another one for other bytes', () => {
    const prng = new Prng(7);
    const bytes = Uint8Array.from({ length: 600 }, () => prng.below(256));
    const of = (cuts: readonly number[], from = bytes): Digest => {
      const ends = [...cuts, from.length];
      const vecs = ends.map((end, i) => {
        const start = i === 0 ? 0 : (ends[i - 1] ?? 0);
        return new BioVec(from, start, end - start);
      });
      const digest = new Digest();
      digest.take(vecs, 512);
      return digest;
    };
    const whole = of([]);
    for (let i = 0; i < 200; i += 1) {
      const cuts = [prng.below(600), prng.below(600), prng.below(600)].sort((a, b) => a - b);
      expect(of(cuts)).toEqual(whole);
    }
    for (let at = 0; at < 512; at += 1) {
      const other = bytes.slice();
      other[at] = (other[at] ?? 0) ^ 1;
      expect(of([], other).equals(whole)).toBe(false);
    }
    const behind = bytes.slice();
    behind[512] = (behind[512] ?? 0) ^ 1;
    expect(of([], behind)).toEqual(whole);
  });

  it('tells zeros', () => {
    const digest = new Digest();
    digest.take([new BioVec(new Uint8Array(512), 0, 512)], 512);
    expect(digest.isZero).toBe(true);
  });
});

/** One sector is written, with FUA unless told, and answered. */
function write(world: RemoteWorld, sector: number, flags: number = REQ_FLAG.FUA): void {
  world.submit(REQ_OP.WRITE, sector, 1, flags);
  world.wire().answer(world.wire().oldest());
  world.run();
}

function flush(world: RemoteWorld): void {
  world.submit(REQ_OP.FLUSH);
  world.wire().answer(world.wire().oldest());
  world.run();
}

/** The server goes away and another one, or the same, comes: what a READ ends with. */
function comeBack(world: RemoteWorld): number | undefined {
  world.wire().link.closed('gone');
  world.fenced(0);
  const read = world.submit(REQ_OP.READ, 100, 1);
  world.connect(0);
  world.run();
  if (world.device.isDead) return read.errno;
  world.wire().answer(world.wire().oldest(), 0, new Uint8Array(512));
  world.run();
  return read.errno;
}

describe('a remote device whose server comes back', () => {
  it('goes on when it shows what was flushed', () => {
    const world = new RemoteWorld();
    write(world, 40);
    write(world, 41, REQ_FLAG.NONE);
    flush(world);
    expect(comeBack(world)).toBe(0);
  });

  it.each([
    ['a write with FUA', REQ_FLAG.FUA],
    ['a write and a FLUSH', REQ_FLAG.NONE],
  ])('refuses it, for good, when it comes back empty after %s', (_, flags) => {
    const world = new RemoteWorld();
    write(world, 40, flags);
    flush(world);
    world.content.fill(0);
    expect(comeBack(world)).toBe(ERRNO.ESTALE);
    expect([world.device.isDead, world.device.isStale]).toEqual([true, true]);
    // It is not connected again, and a failed FLUSH brings nothing back.
    const late = world.submit(REQ_OP.FLUSH);
    world.fenced(0);
    world.run();
    expect([late.errno, world.asked, world.device.isDead]).toEqual([ERRNO.ESTALE, [], true]);
  });

  it('refuses one that lacks the last write only', () => {
    const world = new RemoteWorld();
    for (let sector = 0; sector < 200; sector += 1) write(world, sector);
    const older = world.content.slice();
    write(world, 300, REQ_FLAG.NONE);
    flush(world);
    world.content.set(older);
    expect(comeBack(world)).toBe(ERRNO.ESTALE);
  });

  it('refuses one that has again what was zeroed', () => {
    const world = new RemoteWorld();
    write(world, 40);
    const older = world.content.slice();
    world.submit(REQ_OP.WRITE_ZEROES, 40, 8, REQ_FLAG.FUA);
    world.wire().answer(world.wire().oldest());
    world.run();
    world.content.set(older);
    expect(comeBack(world)).toBe(ERRNO.ESTALE);
  });

  it('refuses one of which it has only seen what was there at first', () => {
    const world = new RemoteWorld({}, 1, true, (content) => content.fill(3, 0, 4096));
    world.content.fill(0);
    expect(comeBack(world)).toBe(ERRNO.ESTALE);
  });

  it('takes the old and the new of a write that is under way', () => {
    for (const hasLanded of [false, true]) {
      const world = new RemoteWorld();
      write(world, 40);
      world.submit(REQ_OP.WRITE, 40, 1, REQ_FLAG.NONE, 0x77);
      expect(world.wire().oldest().type).toBe(COMMAND.WRITE);
      if (hasLanded) world.content.fill(0x77, 40 * 512, 41 * 512);
      world.wire().link.closed('gone');
      world.fenced(0);
      world.connect(0);
      expect(world.device.isStale).toBe(false);
    }
  });

  it('believes nothing that a FLUSH that failed may have lost', () => {
    const world = new RemoteWorld();
    write(world, 40, REQ_FLAG.NONE);
    world.submit(REQ_OP.FLUSH);
    world.wire().answer(world.wire().oldest(), NBD_ERROR.EIO);
    world.run();
    flush(world);
    world.content.fill(0);
    expect(comeBack(world)).toBe(0);
  });

  it('is not put off by a sector that cannot be read', () => {
    const world = new RemoteWorld();
    write(world, 40);
    world.wire().link.closed('gone');
    world.fenced(0);
    const wire = world.connect(0, false);
    for (let i = 0; world.device.isLooking(0); i += 1) {
      if (i > 0) world.show(wire);
      else wire.answer(wire.oldest(), NBD_ERROR.EIO);
    }
    expect(world.device.isDead).toBe(false);
  });

  it('gives up one that does not show it in time, and connects again when it is asked for something', () => {
    const world = new RemoteWorld();
    write(world, 40);
    world.wire().link.closed('gone');
    world.fenced(0);
    world.connect(0, false);
    world.tick(9);
    expect([world.device.isDead, world.wire().isAbandoned]).toEqual([true, true]);
    world.fenced(0);
    world.connect(0, false);
    world.tick(9);
    world.fenced(0);
    expect(world.asked).toEqual([]);
    expect(world.device.inFlight).toBe(0);
    world.submit(REQ_OP.READ, 0, 1);
    expect(world.asked).toEqual(['connect 0']);
    world.connect(0);
    expect(world.device.isDead).toBe(false);
  });

  it.each([
    ['with FUA', REQ_FLAG.FUA],
    ['with a FLUSH behind them', REQ_FLAG.NONE],
  ])('believes neither of two writes that were under way together, %s', (_, flags) => {
    // The first write's only sector is the second's only one, its last one, its first one.
    for (const [sector, sectors] of [
      [40, 1],
      [33, 8],
      [40, 8],
    ] as const) {
      const world = new RemoteWorld({}, 2);
      world.submit(REQ_OP.WRITE, 40, 1, flags, 0x11);
      world.submit(REQ_OP.WRITE, sector, sectors, flags, 0x22);
      const sent = [...world.wire(0).requests(), ...world.wire(1).requests()];
      expect(sent.length).toBe(2);
      // The server does the second one first, and answers it last.
      sent.forEach((one, slot) => world.wire(slot).answer(one));
      world.content.fill(0x11, 40 * 512, 41 * 512);
      world.run();
      const flushed = world.submit(REQ_OP.FLUSH);
      for (const slot of [0, 1]) {
        for (const one of world.wire(slot).requests()) world.wire(slot).answer(one);
      }
      world.run();
      expect(flushed.errno).toBe(0);
      world.wire(1).link.closed('gone');
      for (const one of world.wire(0).requests()) world.wire(0).answer(one);
      world.run();
      world.fenced(1);
      world.connect(1);
      expect(world.device.isStale).toBe(false);
    }
  });

  it('looks at each connection of several', () => {
    const world = new RemoteWorld({}, 3);
    write(world, 40);
    world.wire(2).link.closed('gone');
    world.fenced(2);
    world.content.fill(0);
    world.connect(2);
    expect(world.device.isStale).toBe(true);
  });

  it('hands over what it knows', () => {
    const first = new RemoteWorld();
    write(first, 40);
    const remembered = first.device.remember();
    const same = new RemoteWorld({}, 1, true, (content) => content.set(first.content), remembered);
    expect(same.device.isStale).toBe(false);
    const other = new RemoteWorld({}, 1, false, () => undefined, remembered);
    expect(other.device.isStale).toBe(true);
  });
});
