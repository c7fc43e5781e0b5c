import { Prng } from '../../../../core/base/prng.ts';
import { RangeClaim, RangeLock } from '../../../../core/block/range-lock.ts';
import type { RangeOwner } from '../../../../core/block/range-lock.ts';
import { SEED } from '../../../conformance/block-device.ts';

/** What a claim is to the model: its place in the order of arrival, and what the lock said. */
interface Entry {
  readonly claim: RangeClaim;
  readonly order: number;
  granted: boolean;
}

function conflicts(a: RangeClaim, b: RangeClaim): boolean {
  return (a.exclusive || b.exclusive) && a.start < b.end && b.start < a.end;
}

/** The rule, said naively: a claim is held once no earlier claim stands in its way. */
class Model implements RangeOwner {
  readonly lock = new RangeLock();
  entries: Entry[] = [];
  private arrived = 0;

  acquire(start: number, sectors: number, exclusive: boolean): void {
    const claim = new RangeClaim();
    claim.start = start;
    claim.end = start + sectors;
    claim.exclusive = exclusive;
    claim.owner = this;
    const entry = { claim, order: this.arrived, granted: false };
    this.arrived += 1;
    const free = !this.entries.some((other) => conflicts(other.claim, claim));
    this.entries.push(entry);
    entry.granted = this.lock.acquire(claim);
    expect(entry.granted).toBe(free);
  }

  rangeGranted(claim: RangeClaim): void {
    const entry = this.entries.find((candidate) => candidate.claim === claim);
    expect(entry?.granted).toBe(false);
    if (entry !== undefined) entry.granted = true;
  }

  release(entry: Entry): void {
    expect(entry.granted).toBe(true);
    this.entries = this.entries.filter((candidate) => candidate !== entry);
    this.lock.release(entry.claim);
    this.check();
  }

  /** Exclusion, order and no lost wake-up in one sentence: granted if and only if free. */
  check(): void {
    expect(this.lock.length).toBe(this.entries.length);
    for (const entry of this.entries) {
      const blocked = this.entries.some(
        (other) => other.order < entry.order && conflicts(other.claim, entry.claim),
      );
      if (entry.granted === blocked) {
        throw new Error(`claim ${entry.order} is granted: ${entry.granted}, blocked: ${blocked}`);
      }
    }
  }
}

/** How claims are drawn: where they begin, how long they are, how many write. */
interface Shape {
  readonly span: number;
  readonly longest: number;
  readonly writes: number;
}

// A bucket has 2048 sectors, a claim over more than 16 of them is wide, and 1024 buckets wrap.
const SHAPES: Readonly<Record<string, Shape>> = {
  'narrow, in one bucket': { span: 64, longest: 16, writes: 50 },
  'narrow, over bucket borders': { span: 8192, longest: 4096, writes: 50 },
  'mostly readers': { span: 256, longest: 64, writes: 10 },
  'writers only': { span: 64, longest: 32, writes: 100 },
  'narrow and wide': { span: 2048 * 40, longest: 2048 * 30, writes: 40 },
  'far apart, in buckets that wrap': { span: 2 ** 33, longest: 4096, writes: 60 },
  'at the end of the largest device': { span: 2 ** 44, longest: 2048, writes: 60 },
};

describe(`RangeLock (seed ${SEED})`, () => {
  it.each(Object.entries(SHAPES))(
    'grants as the naive model does: %s',
    (_name, shape) => {
      for (let round = 0; round < 8; round += 1) {
        const prng = new Prng(SEED + round);
        const model = new Model();
        for (let step = 0; step < 400; step += 1) {
          const held = model.entries.filter(({ granted }) => granted);
          if (held.length > 0 && prng.ratio(model.entries.length, 40)) {
            model.release(prng.pick(held));
            continue;
          }
          const sectors = prng.between(1, shape.longest);
          const start = Math.floor((prng.u32() / 2 ** 32) * (shape.span - sectors));
          model.acquire(start, sectors, prng.ratio(shape.writes, 100));
        }
        while (model.entries.length > 0) {
          model.release(prng.pick(model.entries.filter(({ granted }) => granted)));
        }
      }
    },
    60_000,
  );

  it('takes claims again and again from inside a grant', () => {
    const lock = new RangeLock();
    const grants: number[] = [];
    const claims = Array.from({ length: 5 }, (_, i) => {
      const claim = new RangeClaim();
      claim.end = 10;
      claim.exclusive = true;
      claim.owner = {
        rangeGranted: (granted) => {
          grants.push(i);
          lock.release(granted);
          if (grants.length < 20 && !lock.acquire(granted)) return;
          if (granted.held) lock.release(granted);
        },
      };
      return claim;
    });
    const [first] = claims;
    expect(claims.map((claim) => lock.acquire(claim))).toEqual([true, false, false, false, false]);
    if (first !== undefined) lock.release(first);
    expect(grants.slice(0, 4)).toEqual([1, 2, 3, 4]);
    expect(lock.length).toBe(0);
  });

  it('grants several readers that one writer kept waiting, in order', () => {
    const lock = new RangeLock();
    const grants: number[] = [];
    const make = (exclusive: boolean, id: number): RangeClaim => {
      const claim = new RangeClaim();
      claim.end = 8;
      claim.exclusive = exclusive;
      claim.owner = { rangeGranted: () => grants.push(id) };
      return claim;
    };
    const writer = make(true, 0);
    expect(lock.acquire(writer)).toBe(true);
    const readers = [1, 2, 3].map((id) => make(false, id));
    for (const reader of readers) expect(lock.acquire(reader)).toBe(false);
    const last = make(true, 4);
    expect(lock.acquire(last)).toBe(false);
    lock.release(writer);
    expect(grants).toEqual([1, 2, 3]);
    for (const reader of readers) lock.release(reader);
    expect(grants).toEqual([1, 2, 3, 4]);
  });

  it('asserts what its users must keep', () => {
    const lock = new RangeLock();
    const claim = new RangeClaim();
    expect(() => lock.acquire(claim)).toThrow('a range claim is empty');
    expect(() => lock.release(claim)).toThrow('that was not granted');
    claim.end = 1;
    lock.acquire(claim);
    expect(() => lock.acquire(claim)).toThrow('a range claim is in use');
  });
});
