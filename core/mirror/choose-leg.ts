import type { Leg } from './leg.ts';
import type { ReadPolicy } from './options.ts';

/** Where round-robin stands. */
export class ReadCursor {
  next = 0;
}

/** A leg that is good for the regions first..last and not in `tried`, as the policy says; or null. */
export function chooseLeg(
  legs: readonly Leg[],
  policy: ReadPolicy,
  cursor: ReadCursor,
  first: number,
  last: number,
  tried: Uint8Array,
): Leg | null {
  switch (policy.kind) {
    case 'round-robin':
      return roundRobin(legs, cursor, first, last, tried);
    case 'prefer': {
      const preferred = legs[policy.leg];
      if (preferred !== undefined && tried[policy.leg] === 0 && preferred.canRead(first, last)) {
        return preferred;
      }
      return leastPending(legs, first, last, tried);
    }
    case 'least-pending':
      return leastPending(legs, first, last, tried);
  }
}

function leastPending(
  legs: readonly Leg[],
  first: number,
  last: number,
  tried: Uint8Array,
): Leg | null {
  let best: Leg | null = null;
  for (let i = 0; i < legs.length; i += 1) {
    const leg = legs[i]!;
    if (tried[i] !== 0 || !leg.canRead(first, last)) continue;
    if (best === null || leg.pendingReads < best.pendingReads) best = leg;
  }
  return best;
}

function roundRobin(
  legs: readonly Leg[],
  cursor: ReadCursor,
  first: number,
  last: number,
  tried: Uint8Array,
): Leg | null {
  for (let i = 0; i < legs.length; i += 1) {
    const index = (cursor.next + i) % legs.length;
    const leg = legs[index]!;
    if (tried[index] !== 0 || !leg.canRead(first, last)) continue;
    cursor.next = index + 1;
    return leg;
  }
  return null;
}
