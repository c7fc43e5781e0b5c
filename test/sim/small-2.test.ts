// Every small story of up to two requests under way at once, with up to two faults and a crash after every
// event, on four regions and two or three legs: the other half. And a part of those of three
// requests: all of them take half an hour of processor time (README.md).
import { PATIENCE_MS } from './cli.ts';
import { allHeld, playSmallPart } from './small-part.ts';

describe('the mirror, in every small story', () => {
  it.each([
    [2, 2, 2],
    [3, 62, 80],
  ])(
    'holds: up to %i requests, part %i of %i',
    (requests, part, parts) => {
      const { stories, status, stdout } = playSmallPart(requests, part, parts);
      expect(stdout).toMatch(allHeld(stories));
      expect(stories).toBeGreaterThan(0);
      expect(status).toBe(0);
    },
    PATIENCE_MS,
  );
});
