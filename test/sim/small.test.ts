// What small-1.test.ts and small-2.test.ts leave out because it is a story that is played: it is that story.
import { BasePlayer, countStories, smallBases, storiesOf, type Plays } from './exhaustive.ts';

/** Of the stories of one request one in so many: they are played in Jest's slow sandbox. */
const STEP = 5;

describe('the mirror, in every small story', () => {
  it('leaves out only what is the same', () => {
    const plays: Plays = { stories: 0, cases: 0, played: 0, failed: 0 };
    const lines: string[] = [];
    for (const base of smallBases(1)) {
      if (base.seed % STEP !== 0) continue;
      new BasePlayer(base, 'core', plays, (line) => lines.push(line), true).play(2);
    }
    expect(lines).toEqual([]);
    expect(plays.failed).toBe(0);
    // All were played, left out or not.
    expect(plays.played).toBe(plays.cases);
    expect(plays.stories).toBeGreaterThan(100);
  });

  it('of up to three requests and two faults, is one of 85,824', () => {
    // README.md has the arithmetic.
    expect(countStories(3, 2)).toBe(85_824);
    let stories = 0;
    for (const base of smallBases(3)) stories += storiesOf(base, 2);
    expect(stories).toBe(85_824);
  });
});
