// A part of all small stories as a test, so that several processes can share them.
import { PATIENCE_MS, sim } from './cli.ts';
import { smallBases, storiesOf } from './exhaustive.ts';

const REQUESTS = 3;
const FAULTS = 2;

export function testSmallPart(part: number, parts: number): void {
  it(
    `holds in part ${part} of ${parts} of all small stories`,
    () => {
      let stories = 0;
      let bases = 0;
      for (const base of smallBases(REQUESTS)) {
        bases += 1;
        if (bases % parts === part - 1) stories += storiesOf(base, FAULTS);
      }
      const { status, stdout } = sim(
        ...['--small', String(REQUESTS), '--faults', String(FAULTS), '--part', `${part}/${parts}`],
      );
      const all = new RegExp(
        `^${stories} small stories, \\d{6} cases, \\d{6} of them played, 0 failed$`,
        'm',
      );
      expect(stdout).toMatch(all);
      expect(status).toBe(0);
    },
    PATIENCE_MS,
  );
}
