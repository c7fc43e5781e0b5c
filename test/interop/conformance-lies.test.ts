// A check that cannot fail is none: before a server that keeps the rules stands a proxy that breaks
// them, one at a time, and every check finds one of its lies.
import { join } from 'node:path';

import { PATIENCE, parseUri } from '../nbd-conformance/client.ts';
import { Liar } from '../nbd-conformance/liar.ts';
import { LIES } from '../nbd-conformance/lies.ts';
import { startDmiod } from '../nbd-conformance/peers.ts';
import { CHECKS, judge } from '../nbd-conformance/run.ts';
import { TEST_ENGINE } from '../support/programs.ts';
import type { FileServer } from '../support/remote-servers.ts';
import { tempDirectory } from '../support/temp.ts';

const SLOW = 300_000;
const dir = tempDirectory();
const place = parseUri(`nbd+unix:///disk?socket=${join(dir, 'liar')}`);
const patience = PATIENCE.ms;
let honest: FileServer;
let liar: Liar;

beforeAll(async () => {
  // A liar that says nothing is not to be waited for long.
  PATIENCE.ms = 400;
  honest = await startDmiod(dir, TEST_ENGINE);
  liar = new Liar(new URL(honest.uri).searchParams.get('socket') ?? '');
  await liar.listen(join(dir, 'liar'));
}, SLOW);
afterAll(async () => {
  PATIENCE.ms = patience;
  liar.close();
  await honest.stop();
});

/** Nobody needs more than a few of them; the rest is there for others. */
const names = CHECKS.map((check) => ({ name: `${check.section}: ${check.text}`, check }));

it.each(names)(
  '$name: finds a lie',
  async ({ check }) => {
    let found: string | null = null;
    for (const [name, lie] of Object.entries(LIES)) {
      liar.tell(lie);
      const { result } = await judge(check, place);
      if (result === 'no') found = name;
      if (found !== null) break;
    }
    expect(found).not.toBeNull();
  },
  SLOW,
);
