// What the kernel and the sockets say together: which /dev/nbdN somebody connected to this daemon.
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

import { attachedByHand, byHandWords } from '../../../daemon/attach/by-hand.ts';
import { NbdBlocks } from '../../../daemon/attach/nbd-block.ts';
import { tempDirectory } from '../../support/temp.ts';

const root = tempDirectory();

beforeAll(() => {
  for (const [index, pid] of [
    [0, 800],
    [1, 900],
    [2, 1000],
    [3, null],
  ] as const) {
    const folder = join(root, `sys/block/nbd${index}`);
    mkdirSync(folder, { recursive: true });
    if (pid !== null) writeFileSync(join(folder, 'pid'), `${pid}\n`);
  }
});

it('finds those whose process is connected to us, and not our own nor those of other servers', () => {
  const exports = new Map([
    [800, ['ours']],
    [900, ['data', 'data']],
  ]);
  const served = { exportsOf: (pid: number) => exports.get(pid) ?? [] };
  const found = attachedByHand(new NbdBlocks(root), served, (index) => index === 0);
  expect(found).toEqual([{ index: 1, name: 'data', connections: 2 }]);
  expect(found.map(byHandWords)).toEqual([
    'device data is attached as /dev/nbd1, by hand: nbd-client -d /dev/nbd1 detaches it',
  ]);
});
