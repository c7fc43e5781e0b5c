import { assert, AssertionError, unreachable } from '../../../../core/base/assert.ts';
import { ERRNO, errnoName } from '../../../../core/base/errno.ts';
import { ErrorBits } from '../../../../core/base/error-bits.ts';
import { Pool } from '../../../../core/base/pool.ts';
import { Prng } from '../../../../core/base/prng.ts';
import { Ring } from '../../../../core/base/ring.ts';
import {
  bytesOfSectors,
  formatBytes,
  isPowerOfTwo,
  MAX_SECTORS,
  parseSize,
  sectorsCeil,
  sectorsFloor,
} from '../../../../core/base/units.ts';
import { SEED } from '../../../conformance/block-device.ts';

describe('assert', () => {
  it('throws its text, and only then', () => {
    expect(() => assert(true, 'never')).not.toThrow();
    expect(() => assert(false, 'the text')).toThrow(new AssertionError('the text'));
    expect(() => unreachable(7 as never)).toThrow('impossible value 7');
  });
});

describe('errno', () => {
  it('has the numbers of Linux, and a name for each', async () => {
    const { constants } = await import('node:os');
    for (const [name, number] of Object.entries(ERRNO)) {
      expect(errnoName(number)).toBe(name);
      const linux = (constants.errno as Record<string, number>)[name];
      if (linux !== undefined) expect([name, number]).toEqual([name, linux]);
    }
    expect(errnoName(4095)).toBe('errno 4095');
  });
});

describe(`ErrorBits (seed ${SEED})`, () => {
  it('is a set of 0..63, as a bigint would be', () => {
    const prng = new Prng(SEED);
    for (let round = 0; round < 200; round += 1) {
      const bits = new ErrorBits();
      let model = 0n;
      for (let i = prng.below(20); i > 0; i -= 1) {
        const index = prng.below(64);
        bits.set(index);
        model |= 1n << BigInt(index);
      }
      expect(bits.toBigInt()).toBe(model);
      expect(bits.isEmpty).toBe(model === 0n);
      expect(bits.count()).toBe(model.toString(2).replaceAll('0', '').length);
      for (let i = 0; i < 64; i += 1) expect(bits.test(i)).toBe(((model >> BigInt(i)) & 1n) === 1n);
      const copy = new ErrorBits();
      copy.copyFrom(bits);
      bits.clear();
      expect([copy.toBigInt(), bits.toBigInt()]).toEqual([model, 0n]);
    }
  });

  it.each([0, 31, 32, 63])('has bit %i alone', (index) => {
    const bits = new ErrorBits();
    bits.set(index);
    expect(bits.toBigInt()).toBe(1n << BigInt(index));
  });

  it.each([-1, 64, 1000])('has no bit %i', (index) => {
    expect(() => new ErrorBits().set(index)).toThrow('error bit outside 0..63');
    expect(() => new ErrorBits().test(index)).toThrow('error bit outside 0..63');
  });
});

describe('Pool', () => {
  it('makes its reserve at once, more on demand, never more than its limit', () => {
    let made = 0;
    const pool = new Pool(2, 4, () => ({ id: (made += 1) }));
    expect(made).toBe(2);
    const items = [pool.get(), pool.get(), pool.get(), pool.get()];
    expect([made, pool.inUse, pool.isEmpty, pool.get()]).toEqual([4, 4, true, undefined]);
    expect(new Set(items).size).toBe(4);
    for (const item of items) if (item !== undefined) pool.put(item);
    expect([pool.inUse, pool.isEmpty]).toEqual([0, false]);
    expect(items).toContain(pool.get());
    expect(made).toBe(4);
  });

  it('refuses more than it gave, and limits that make no sense', () => {
    const pool = new Pool(1, 1, () => 'item');
    expect(() => pool.put('other')).toThrow('more records returned than handed out');
    expect(() => new Pool(0, 1, () => 1)).toThrow('pool reserve below 1');
    expect(() => new Pool(2, 1, () => 1)).toThrow('pool limit below its reserve');
  });
});

describe(`Ring (seed ${SEED})`, () => {
  it('is a queue, whatever its capacity was', () => {
    for (const capacity of [1, 2, 8, 64]) {
      const prng = new Prng(SEED + capacity);
      const ring = new Ring<number>(capacity);
      const model: number[] = [];
      for (let step = 0; step < 3000; step += 1) {
        // Long rises and falls, so that it both grows and wraps.
        if (prng.ratio(step % 600 < 300 ? 3 : 1, 4)) {
          ring.push(step);
          model.push(step);
        } else {
          expect(ring.shift()).toBe(model.shift());
        }
        expect([ring.length, ring.peek()]).toEqual([model.length, model[0]]);
      }
    }
  });

  it('has a capacity that is a power of two', () => {
    expect(() => new Ring(3)).toThrow('ring capacity is not a power of two');
  });
});

describe('Prng', () => {
  it('means the same by a seed for ever', () => {
    const draw = (seed: number): number[] => {
      const prng = new Prng(seed);
      return [prng.u32(), prng.u32(), prng.u32()];
    };
    expect(draw(0)).toEqual(draw(0));
    expect(draw(1)).not.toEqual(draw(0));
    expect(draw(2 ** 32)).not.toEqual(draw(0));
    expect(draw(0)).toEqual([3809008728, 1133695204, 53579671]);
    expect(draw(4711)).toEqual([373818564, 3425125948, 3221030044]);
  });

  it('stays in its bounds and reaches all of them', () => {
    const prng = new Prng(7);
    const seen = new Set<number>();
    for (let i = 0; i < 2000; i += 1) seen.add(prng.between(3, 9));
    expect([...seen].sort()).toEqual([3, 4, 5, 6, 7, 8, 9]);
    for (let i = 0; i < 100; i += 1) expect(prng.below(1)).toBe(0);
    expect(prng.below(2 ** 32)).toBeLessThan(2 ** 32);
    expect(() => prng.below(0)).toThrow('prng bound outside 1..2^32');
    expect(() => prng.pick([])).toThrow('prng pick from nothing');
    expect(() => new Prng(-1)).toThrow('not a safe integer');
  });

  it('draws evenly enough', () => {
    const prng = new Prng(11);
    let hits = 0;
    for (let i = 0; i < 40000; i += 1) if (prng.ratio(1, 4)) hits += 1;
    expect(hits).toBeGreaterThan(9700);
    expect(hits).toBeLessThan(10300);
    const items = Array.from({ length: 50 }, (_, i) => i);
    prng.shuffle(items);
    expect(items).not.toEqual([...items].sort((a, b) => a - b));
    expect(new Set(items).size).toBe(50);
  });
});

describe('units', () => {
  it.each([
    ['4096', 4096],
    ['64KiB', 65536],
    ['64K', 65536],
    ['64k', 65536],
    ['1GiB', 2 ** 30],
    ['1 G', 2 ** 30],
    [' 1g ', 2 ** 30],
    ['8s', 4096],
    ['0', 0],
    ['7P', 7 * 2 ** 50],
    ['9007199254740991', 2 ** 53 - 1],
  ])('reads %j as %d bytes', (text, bytes) => {
    expect(parseSize(text)).toBe(bytes);
  });

  it.each(['', 'K', '-1', '1.5G', '1KB', '1e3', '0x10', '1 2', '8P', '9007199254740992', '1GG'])(
    'does not read %j',
    (text) => {
      expect(parseSize(text)).toBeUndefined();
    },
  );

  it('writes sizes for people', () => {
    const sizes = [0, 512, 1024, 1536, 1610612736, 2 ** 40 + 1, 20.25 * 2 ** 20, 2 ** 60];
    expect(sizes.map(formatBytes)).toEqual([
      '0 B',
      '512 B',
      '1 KiB',
      '1.50 KiB',
      '1.50 GiB',
      '1.00 TiB',
      '20.3 MiB',
      '1024 PiB',
    ]);
  });

  it('turns sectors into bytes exactly, up to the last', () => {
    expect(bytesOfSectors(MAX_SECTORS)).toBeLessThanOrEqual(Number.MAX_SAFE_INTEGER);
    expect(sectorsFloor(bytesOfSectors(MAX_SECTORS))).toBe(MAX_SECTORS);
    expect([sectorsFloor(1023), sectorsCeil(1), sectorsCeil(512), sectorsCeil(0)]).toEqual([
      1, 1, 1, 0,
    ]);
  });

  it.each([1, 2, 512, 2 ** 40, 2 ** 52])('knows %d as a power of two', (value) => {
    expect(isPowerOfTwo(value)).toBe(true);
  });

  it.each([0, -2, 3, 1.5, 2 ** 40 + 1, 2 ** 52 - 1, 2 ** 53 - 1, NaN, Infinity])(
    'knows that %d is none',
    (value) => {
      expect(isPowerOfTwo(value)).toBe(false);
    },
  );
});
