// What /sys and /proc say of nbd devices, planted.
import { mkdirSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';

import { NbdBlocks, nbdIndexOf } from '../../../daemon/attach/nbd-block.ts';
import { connectArguments, findProgram, mayAdminister } from '../../../daemon/attach/nbd-client.ts';
import { tempDirectory } from '../../support/temp.ts';

const root = tempDirectory();
const blocks = new NbdBlocks(root);

function plant(path: string, text: string): void {
  mkdirSync(dirname(join(root, path)), { recursive: true });
  writeFileSync(join(root, path), text);
}

beforeAll(() => {
  for (const index of [0, 1, 10]) plant(`sys/block/nbd${index}/dev`, `43:${16 * index}\n`);
  plant('sys/block/nbd0/pid', '812\n');
  plant('sys/block/nbd0/size', '2048\n');
  plant('sys/block/nbd0/nbd0p1/dev', '43:1\n');
  plant('sys/block/nbd10/pid', '900\n');
  mkdirSync(join(root, 'sys/block/nbd10/holders/dm-3'), { recursive: true });
  mkdirSync(join(root, 'sys/block/sda'), { recursive: true });
  plant(
    'proc/self/mountinfo',
    [
      '22 1 254:0 / / rw - ext4 /dev/vda rw',
      '40 22 43:1 / /srv/with\\040blank rw,relatime shared:5 - ext4 /dev/nbd0p1 rw',
      '41 22 0:33 / /srv/btrfs rw shared:6 - btrfs /dev/nbd0 rw',
    ].join('\n'),
  );
  plant('proc/swaps', 'Filename Type Size Used Priority\n/dev/nbd1 partition 1024 0 -2\n');
});

it('lists nbd devices in the order of their numbers, and who has connected them', () => {
  expect(blocks.indexes()).toEqual([0, 1, 10]);
  expect([0, 1, 10].map((index) => blocks.pidOf(index))).toEqual([812, null, 900]);
  expect(blocks.sizeBytesOf(0)).toBe(1048576);
  expect(new NbdBlocks(join(root, 'nothing')).isLoaded).toBe(false);
});

it('finds mounts of the device and of its partitions, by number and by name', () => {
  expect(blocks.mountsOf(0)).toEqual(['/srv/with blank', '/srv/btrfs']);
  expect(blocks.mountsOf(1)).toEqual([]);
});

it('finds everything that would lose the device', () => {
  expect(blocks.usersOf(0)).toEqual(['mounted on /srv/with blank', 'mounted on /srv/btrfs']);
  expect(blocks.usersOf(1)).toEqual(['swap on /dev/nbd1']);
  expect(blocks.usersOf(10)).toEqual(['used by dm-3']);
});

it.each([
  ['/dev/nbd0', 0],
  ['nbd15', 15],
  ['/dev/nbd0p1', undefined],
  ['/dev/nbd01', undefined],
  ['/dev/nbd', undefined],
  ['/dev/sda', undefined],
  ['data', undefined],
])('%s is number %s', (text, index) => {
  expect(nbdIndexOf(text)).toBe(index);
});

it('reads the capability to administer, bit 21', () => {
  expect(mayAdminister('CapEff:\t0000000000200000\n')).toBe(true);
  expect(mayAdminister('CapPrm:\t0000000000200000\nCapEff:\t00000000ffdfffff\n')).toBe(false);
  expect(mayAdminister('')).toBe(false);
});

it('tells nbd-client all it must know', () => {
  const plan = { index: 2, exportName: 'data', socketPath: '/run/s', connections: 3 };
  expect(connectArguments({ ...plan, timeoutSeconds: 10, blockBytes: 4096 }).join(' ')).toBe(
    '-unix /run/s -name data -connections 3 -timeout 10 -block-size 4096 /dev/nbd2',
  );
});

it('finds programs in sbin, too', () => {
  expect(findProgram('sh', '')).toMatch(/bin\/sh$/);
  expect(findProgram('no-such-program-here', '/usr/bin')).toBeUndefined();
});
