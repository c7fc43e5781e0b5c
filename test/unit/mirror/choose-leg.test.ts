// Which leg answers: write-mostly legs only where no other is good, whatever the policy.
import type { BlockDevice } from '../../../core/block/device.ts';
import { chooseLeg, ReadCursor } from '../../../core/mirror/choose-leg.ts';
import { Leg, MAX_LEGS, STANDING } from '../../../core/mirror/leg.ts';
import type { ReadPolicy } from '../../../core/mirror/options.ts';

function at(legs: readonly Leg[], index: number): Leg {
  const leg = legs[index];
  if (leg === undefined) throw new Error('no such leg');
  return leg;
}

const DEVICE = {} as BlockDevice;
const POLICIES: readonly ReadPolicy[] = [
  { kind: 'least-pending' },
  { kind: 'round-robin' },
  { kind: 'prefer', leg: 0 },
];

/** Slots run backwards: a leg is not where its slot says. */
function legsOf(...writeMostly: readonly boolean[]): Leg[] {
  return writeMostly.map((flag, i) => {
    const slot = writeMostly.length - 1 - i;
    return new Leg(i, `leg${i}`, 0, DEVICE, STANDING.MEMBER, 8, slot, flag);
  });
}

function choose(legs: readonly Leg[], policy: ReadPolicy, tried: readonly Leg[] = []): string {
  const flags = new Uint8Array(MAX_LEGS);
  for (const leg of tried) flags[leg.slot] = 1;
  return chooseLeg(legs, policy, new ReadCursor(), 2, 3, flags)?.name ?? 'none';
}

describe.each(POLICIES)('by the policy $kind', (policy) => {
  it('a write-mostly leg is not read while another is good, however busy', () => {
    const legs = legsOf(true, false);
    at(legs, 1).pendingReads = 1000;
    expect(choose(legs, policy)).toBe('leg1');
  });

  it('it is read where the others lack the region, were tried, or are out', () => {
    const lacking = legsOf(true, false);
    at(lacking, 1).outOfSync.setRange(3, 3);
    expect(choose(lacking, policy)).toBe('leg0');
    const legs = legsOf(true, false);
    expect(choose(legs, policy, [at(legs, 1)])).toBe('leg0');
    at(legs, 1).standing = STANDING.FAILED;
    expect(choose(legs, policy)).toBe('leg0');
  });

  it('none is chosen twice for one piece', () => {
    const legs = legsOf(true, false, false);
    expect(choose(legs, policy, legs)).toBe('none');
  });
});
