// A part of all small stories, played in a process of its own, so that several can share them.
import { sim } from './cli.ts';
import { smallBases, storiesOf } from './exhaustive.ts';

const FAULTS = 2;

/** Of up to so many requests and two faults: every story of the part is played, and how it went. */
export function playSmallPart(requests: number, part: number, parts: number): SmallPart {
  let stories = 0;
  let bases = 0;
  for (const base of smallBases(requests)) {
    bases += 1;
    if (bases % parts === part - 1) stories += storiesOf(base, FAULTS);
  }
  const { status, stdout } = sim(
    ...['--small', String(requests), '--faults', String(FAULTS), '--part', `${part}/${parts}`],
  );
  return { stories, status, stdout };
}

export interface SmallPart {
  /** How many there are, by arithmetic. */
  readonly stories: number;
  readonly status: number | null;
  readonly stdout: string;
}

export function allHeld(stories: number): RegExp {
  return new RegExp(`^${stories} small stories, \\d+ cases, \\d+ of them played, 0 failed$`, 'm');
}
