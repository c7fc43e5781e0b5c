// The buddy allocator and its line of waiters.
import { Prng } from '../../../core/base/prng.ts';
import { Arena, NO_SLOT, SlotWait } from '../../../core/block/arena.ts';
import { createManualLoop, runUntilIdle } from '../../support/manual-loop.ts';

const KIB = 1024;
const MIB = 1024 * KIB;

function arenaOf(bytes: number): Arena {
  return new Arena(new Uint8Array(bytes), createManualLoop());
}

describe('slots', () => {
  it.each([
    [1, 4 * KIB],
    [4 * KIB, 4 * KIB],
    [4 * KIB + 1, 8 * KIB],
    [100 * KIB, 128 * KIB],
    [MIB, MIB],
  ])('of %d bytes have %d, and are aligned to that', (asked, length) => {
    const arena = arenaOf(MIB);
    const slot = arena.allocate(asked);
    expect(arena.slotBytes(slot)).toBe(length);
    expect(slot % length).toBe(0);
    expect(arena.usedBytes).toBe(length);
    arena.release(slot);
    expect(arena.usedBytes).toBe(0);
  });

  it('are refused when they could never be, and NO_SLOT when they cannot be now', () => {
    const arena = arenaOf(MIB);
    expect(() => arena.allocate(MIB + 1)).toThrow('impossible length');
    expect(() => arena.allocate(0)).toThrow('impossible length');
    const small = arena.allocate(1);
    expect(arena.allocate(MIB)).toBe(NO_SLOT);
    arena.release(small);
    expect(arena.allocate(MIB)).toBe(0);
  });

  it('are given back once, and only by their start', () => {
    const arena = arenaOf(MIB);
    const slot = arena.allocate(8 * KIB);
    expect(() => arena.release(slot + 4 * KIB)).toThrow('not a slot');
    arena.release(slot);
    expect(() => arena.release(slot)).toThrow('not a slot');
  });

  it('never overlap, and join again to the whole arena', () => {
    const seed = 20261122;
    const prng = new Prng(seed);
    const arena = arenaOf(4 * MIB);
    const held = new Map<number, number>();
    for (let step = 0; step < 20_000; step += 1) {
      if (prng.ratio(held.size, 200)) {
        const slot = prng.pick([...held.keys()]);
        arena.release(slot);
        held.delete(slot);
        continue;
      }
      const slot = arena.allocate(2 ** prng.between(8, 19));
      if (slot !== NO_SLOT) held.set(slot, arena.slotBytes(slot));
      if (step % 500 === 0) expectDisjoint(held, seed);
    }
    for (const slot of held.keys()) arena.release(slot);
    expect(arena.allocate(4 * MIB)).toBe(0);
  });
});

function expectDisjoint(held: ReadonlyMap<number, number>, seed: number): void {
  let end = 0;
  for (const [slot, length] of [...held].sort(([a], [b]) => a - b)) {
    if (slot < end) throw new Error(`seed ${seed}: two slots overlap at ${slot}`);
    end = slot + length;
  }
  expect(end).toBeLessThanOrEqual(4 * MIB);
}

describe('the line', () => {
  class Waiter {
    readonly wait = new SlotWait();
    slot = NO_SLOT;

    constructor(arena: Arena, lengthBytes: number, granted: Waiter[]) {
      this.wait.owner = {
        slotGranted: (wait) => {
          this.slot = wait.slot;
          granted.push(this);
        },
      };
      arena.wait(this.wait, lengthBytes);
    }
  }

  it('is served in order, from the loop, and nobody passes it', () => {
    const loop = createManualLoop();
    const arena = new Arena(new Uint8Array(MIB), loop);
    const granted: Waiter[] = [];
    const slots = [arena.allocate(512 * KIB), arena.allocate(512 * KIB)];
    const large = new Waiter(arena, MIB, granted);
    const small = new Waiter(arena, 4 * KIB, granted);
    expect(arena.waiters).toBe(2);

    arena.release(slots[0] ?? 0);
    // There is room for the small one now, but the large one was first.
    expect(arena.allocate(4 * KIB)).toBe(NO_SLOT);
    arena.release(slots[1] ?? 0);
    expect(granted).toEqual([]);
    runUntilIdle(loop);
    expect(granted).toEqual([large]);

    arena.release(large.slot);
    runUntilIdle(loop);
    expect(granted).toEqual([large, small]);
    expect(arena.waiters).toBe(0);
  });

  it('may be left, which lets those behind go on', () => {
    const loop = createManualLoop();
    const arena = new Arena(new Uint8Array(MIB), loop);
    const granted: Waiter[] = [];
    arena.allocate(512 * KIB);
    const large = new Waiter(arena, MIB, granted);
    const small = new Waiter(arena, 4 * KIB, granted);
    expect(arena.cancel(large.wait)).toBe(true);
    // Granted but not told yet: too late.
    expect(arena.cancel(small.wait)).toBe(false);
    runUntilIdle(loop);
    expect(granted).toEqual([small]);
    expect(large.slot).toBe(NO_SLOT);
  });
});

describe('memory set aside', () => {
  /** A wait in the line, and where its slot is when it has one. */
  function waitFor(arena: Arena, bytes: number): SlotWait {
    const wait = new SlotWait();
    wait.owner = { slotGranted: () => undefined };
    arena.wait(wait, bytes);
    return wait;
  }

  it('bars who needs it, and nobody behind him', () => {
    const loop = createManualLoop();
    const arena = new Arena(new Uint8Array(64 * KIB), loop);
    const late = arena.allocate(4 * KIB);
    const whole = waitFor(arena, 64 * KIB);
    const small = waitFor(arena, 4 * KIB);
    runUntilIdle(loop);
    // What is under way ends, so the line is strict.
    expect([whole.queued, small.queued]).toEqual([true, true]);
    expect(arena.allocate(4 * KIB)).toBe(NO_SLOT);
    arena.setAside(late);
    runUntilIdle(loop);
    expect([whole.queued, small.queued]).toEqual([true, false]);
    const next = arena.allocate(4 * KIB);
    expect(next).not.toBe(NO_SLOT);
    expect(arena.asideBytes).toBe(4 * KIB);
    // A half is free of it: that is only a matter of time.
    arena.release(small.slot);
    arena.release(next);
    const half = arena.allocate(32 * KIB);
    expect(half).not.toBe(NO_SLOT);
    const other = waitFor(arena, 32 * KIB);
    expect(arena.allocate(4 * KIB)).toBe(NO_SLOT);
    arena.release(half);
    runUntilIdle(loop);
    expect(other.queued).toBe(false);
    // It is back: who kept his place is first again.
    arena.release(late);
    expect(arena.asideBytes).toBe(0);
    expect(arena.allocate(4 * KIB)).toBe(NO_SLOT);
    arena.release(other.slot);
    runUntilIdle(loop);
    expect(whole.queued).toBe(false);
    arena.release(whole.slot);
    expect(arena.usedBytes).toBe(0);
  });
});
