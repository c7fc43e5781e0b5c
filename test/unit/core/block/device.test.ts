import { ERRNO } from '../../../../core/base/errno.ts';
import { Bio } from '../../../../core/block/bio.ts';
import { bioError } from '../../../../core/block/device.ts';
import { DEFAULT_LIMITS, stackLimits } from '../../../../core/block/limits.ts';
import type { QueueLimits } from '../../../../core/block/limits.ts';
import { Loop } from '../../../../core/block/loop.ts';
import { isWriteOp, opName, REQ_OP } from '../../../../core/block/op.ts';
import type { ReqOp } from '../../../../core/block/op.ts';
import { createManualLoop } from '../../../support/manual-loop.ts';

function errorOf(limits: Partial<QueueLimits>, op: ReqOp, sector: number, sectors: number): number {
  const bio = Object.assign(new Bio(), { op, sector, sectors });
  const device = { name: 'd', sectors: 64, loop: createManualLoop(), submit: () => undefined };
  return bioError({ ...device, limits: { ...DEFAULT_LIMITS, ...limits } }, bio);
}

describe('bioError', () => {
  const ops = Object.values(REQ_OP);

  it.each(ops)('lets op %i in when it fits', (op) => {
    expect(errorOf({}, op, 0, 64)).toBe(0);
    expect(errorOf({}, op, 63, 1)).toBe(0);
  });

  it.each(ops.filter((op) => op !== REQ_OP.FLUSH))('keeps op %i inside the device', (op) => {
    expect(errorOf({}, op, 63, 2)).toBe(ERRNO.EIO);
    expect(errorOf({}, op, 64, 1)).toBe(ERRNO.EIO);
    expect(errorOf({}, op, 2 ** 44, 1)).toBe(ERRNO.EIO);
    expect(errorOf({ logicalBlockSize: 4096 }, op, 4, 8)).toBe(ERRNO.EINVAL);
    expect(errorOf({ logicalBlockSize: 4096 }, op, 8, 4)).toBe(ERRNO.EINVAL);
    expect(errorOf({ readOnly: true }, op, 0, 1)).toBe(isWriteOp(op) ? ERRNO.EROFS : 0);
  });

  it('asks a FLUSH nothing', () => {
    const strict = { readOnly: true, logicalBlockSize: 4096 };
    expect(errorOf(strict, REQ_OP.FLUSH, 99, 3)).toBe(0);
  });

  it('refuses what the limits put at 0', () => {
    const none = { maxDiscardSectors: 0, maxWriteZeroesSectors: 0 };
    expect(errorOf(none, REQ_OP.DISCARD, 0, 1)).toBe(ERRNO.EOPNOTSUPP);
    expect(errorOf(none, REQ_OP.WRITE_ZEROES, 0, 1)).toBe(ERRNO.EOPNOTSUPP);
  });
});

describe('stackLimits', () => {
  it('takes the strictest of those below', () => {
    const a = { ...DEFAULT_LIMITS, logicalBlockSize: 4096, discardZeroes: false };
    const b = { ...DEFAULT_LIMITS, maxDiscardSectors: 0, readOnly: true, maxSectors: 8 };
    expect(stackLimits([])).toEqual(DEFAULT_LIMITS);
    expect(stackLimits([a, b])).toEqual({
      ...DEFAULT_LIMITS,
      logicalBlockSize: 4096,
      discardZeroes: false,
      maxDiscardSectors: 0,
      slowZeroes: false,
      readOnly: true,
    });
    expect(stackLimits([{ ...a, slowZeroes: true }, b]).slowZeroes).toBe(true);
  });
});

describe('Bio', () => {
  it('keeps a table of its own, made piece by piece', () => {
    const bio = new Bio();
    const page = new Uint8Array(1024);
    bio.setBuffer(page, 512, 512);
    expect([bio.vecs, bio.vecCount]).toEqual([bio.ownVecs, 1]);
    const second = bio.ownVec(1);
    expect(bio.ownVec(1)).toBe(second);
    expect(bio.ownVecs[0]).toMatchObject({ page, offset: 512, length: 512 });
    expect(() => bio.complete()).toThrow('a bio without an owner has ended');
  });

  it('has names for its operations', () => {
    expect(Object.values(REQ_OP).map(opName)).toEqual(Object.keys(REQ_OP));
  });
});

describe('Loop', () => {
  it('wakes its driver once for many endings, and runs what was there when it began', () => {
    let wakes = 0;
    const loop = new Loop({ wake: () => (wakes += 1), block: () => false });
    const order: string[] = [];
    const again = { complete: () => order.push('again') };
    const first = {
      complete: () => {
        order.push('first');
        expect(loop.isRunning).toBe(true);
        expect(loop.run()).toBe(0);
        loop.defer(again);
      },
    };
    loop.defer(first);
    loop.defer({ complete: () => order.push('second') });
    expect([wakes, order]).toEqual([1, []]);
    expect(loop.run()).toBe(2);
    expect([wakes, order]).toEqual([2, ['first', 'second']]);
    expect(loop.run()).toBe(1);
    expect([loop.run(), wakes, order.at(-1)]).toEqual([0, 2, 'again']);
  });

  it('goes on after a completion that throws', () => {
    const loop = createManualLoop();
    let ended = 0;
    loop.defer({
      complete: () => {
        throw new Error('broken');
      },
    });
    loop.defer({ complete: () => (ended += 1) });
    expect(() => loop.run()).toThrow('broken');
    loop.run();
    expect([ended, loop.isRunning]).toEqual([1, false]);
  });

  it('polls: runs what waits, else blocks, else says that nothing can end', () => {
    const endings: (() => void)[] = [];
    const block = (): boolean => {
      const end = endings.shift();
      end?.();
      return end !== undefined;
    };
    const loop: Loop = new Loop({ wake: () => undefined, block });
    let ended = 0;
    const completion = { complete: () => (ended += 1) };
    loop.defer(completion);
    expect([loop.poll(), ended]).toEqual([true, 1]);
    endings.push(() => loop.defer(completion));
    expect([loop.poll(), ended]).toEqual([true, 2]);
    expect([loop.poll(), ended]).toEqual([false, 2]);
    loop.defer({ complete: () => loop.poll() });
    expect(() => loop.run()).toThrow('a completion must not wait for another');
  });
});
