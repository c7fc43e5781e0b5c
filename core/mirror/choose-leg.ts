import type { Leg } from './leg.ts';
import type { ReadPolicy } from './options.ts';

/** Where round-robin stands. */
export class ReadCursor {
  next = 0;
}

function isGoodFor(leg: Leg, first: number, last: number, tried: Uint8Array): boolean {
  return tried[leg.slot] === 0 && leg.canRead(first, last);
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
      const isGood = preferred !== undefined && isGoodFor(preferred, first, last, tried);
      if (isGood && !preferred.writeMostly && preferred.unsettled === 0) return preferred;
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
    if (!isGoodFor(leg, first, last, tried)) continue;
    if (best === null || isBetter(leg, best)) best = leg;
  }
  return best;
}

/**
 * An unsettled leg, whose answer would have to wait, is never better than one that is not; then, a
 * write-mostly leg.
 */
function isBetter(leg: Leg, best: Leg): boolean {
  if (leg.unsettled > 0 !== best.unsettled > 0) return best.unsettled > 0;
  if (leg.writeMostly !== best.writeMostly) return best.writeMostly;
  return leg.pendingReads < best.pendingReads;
}

/** The next in turn; a write-mostly or unsettled leg only when there is no other. */
function roundRobin(
  legs: readonly Leg[],
  cursor: ReadCursor,
  first: number,
  last: number,
  tried: Uint8Array,
): Leg | null {
  let spare: Leg | null = null;
  for (let i = 0; i < legs.length; i += 1) {
    const index = (cursor.next + i) % legs.length;
    const leg = legs[index]!;
    if (!isGoodFor(leg, first, last, tried)) continue;
    if (leg.writeMostly || leg.unsettled > 0) {
      if (spare === null || (spare.unsettled > 0 && leg.unsettled === 0)) spare = leg;
      continue;
    }
    cursor.next = index + 1;
    return leg;
  }
  return spare;
}
