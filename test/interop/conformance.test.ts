// Every rule of proto.md that we check against any server, against ours: the real program, on a mirror of two files.
import { join } from 'node:path';

import { runChecks, tableOf } from '../nbd-conformance/run.ts';
import { engineInUse, startServe } from '../support/programs.ts';
import { blank } from '../support/remote-servers.ts';
import { tempDirectory } from '../support/temp.ts';

const SLOW = 240_000;
const dir = tempDirectory();

it(
  `dmiod has every row, engine ${engineInUse()}`,
  async () => {
    const legs = ['a.img', 'b.img'].map((name) => join(dir, name));
    for (const leg of legs) blank(leg, 2 ** 27);
    const mirror = ['--mirror', ...legs, '--assume-clean', '--name', 'disk'];
    const one = await startServe(dir, ...mirror, '--socket', 'nbd.sock');
    const verdicts = await runChecks(/at (\S+)/.exec(one.stdout)?.[1] ?? '');
    expect(verdicts.length).toBeGreaterThan(50);
    const short = verdicts.filter(({ result }) => result !== 'yes');
    expect(short.map(({ check, why }) => `${check.section}: ${check.text}: ${why}`)).toEqual([]);
    expect(tableOf(new Map([['dmiod', verdicts]])).split('\n')).toHaveLength(verdicts.length + 3);
  },
  SLOW,
);
