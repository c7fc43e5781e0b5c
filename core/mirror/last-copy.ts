import { STANDING, type Leg } from './leg.ts';

/** Some region could not be read from any other member: `leg` is the last that has it (I10). */
export function isLastCopyOfSome(legs: readonly Leg[], leg: Leg): boolean {
  if (leg.standing !== STANDING.MEMBER) return false;
  const others = legs.filter((one) => one !== leg && one.standing === STANDING.MEMBER);
  const [first] = others;
  if (first === undefined) return true;
  let region = first.outOfSync.next(0);
  while (region >= 0) {
    if (!leg.outOfSync.test(region) && isLackedByAll(others, region)) return true;
    region = first.outOfSync.next(region + 1);
  }
  return false;
}

function isLackedByAll(legs: readonly Leg[], region: number): boolean {
  return legs.every((leg) => leg.outOfSync.test(region));
}
