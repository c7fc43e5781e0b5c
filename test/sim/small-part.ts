// All small stories in parts, each played in a process of its own: Jest's two workers share them.
import { PATIENCE_MS, sim } from './cli.ts';
import { smallBases, storiesOf } from './exhaustive.ts';

const REQUESTS = 3;
const FAULTS = 2;
/** A part takes a minute of processor time: far from PATIENCE_MS. */
const PARTS = 8;

/** Every story of up to three requests and two faults, on two legs and three: every second part of them. */
export function holdsInEverySecondPart(first: 1 | 2): void {
  const parts = Array.from({ length: PARTS / 2 }, (_, i) => first + 2 * i);
  describe('the mirror, in every small story', () => {
    it.each(parts)(
      `holds: part %i of ${PARTS}`,
      (part) => {
        const stories = storiesIn(part);
        const { status, stdout } = sim(
          ...['--small', String(REQUESTS), '--faults', String(FAULTS)],
          ...['--part', `${part}/${PARTS}`],
        );
        const held = `^${stories} small stories, \\d+ cases, \\d+ of them played, 0 failed$`;
        expect(stdout).toMatch(new RegExp(held, 'm'));
        expect(stories).toBeGreaterThan(0);
        expect(status).toBe(0);
      },
      PATIENCE_MS,
    );
  });
}

/** By arithmetic: that all of them together are 85,824 is asserted by small.test.ts. */
function storiesIn(part: number): number {
  let stories = 0;
  let bases = 0;
  for (const base of smallBases(REQUESTS)) {
    bases += 1;
    if (bases % PARTS === part - 1) stories += storiesOf(base, FAULTS);
  }
  return stories;
}
