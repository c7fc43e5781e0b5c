// The everyday run meets real file systems: ext4 and xfs of this machine's kernel, over a loop device, over nbdfuse.
import { mkdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { setTimeout as sleep } from 'node:timers/promises';

import { startDaemon } from '../support/programs.ts';
import { Place } from '../support/place.ts';
import { describeAsRoot, runProgram } from '../support/root-only.ts';
import { run } from '../support/run.ts';

const SLOW = 180_000;
const place = new Place();

const FILE_SYSTEMS = [
  { name: 'ext4', make: ['mkfs.ext4', '-q'], check: ['e2fsck', '-fn'] },
  { name: 'xfs', make: ['mkfs.xfs', '-q'], check: ['xfs_repair', '-n'] },
];

const FIO = ['--name=x', '--size=24M', '--bsrange=512-128k', '--rw=randwrite', '--ioengine=psync'];
const VERIFY = ['--direct=1', '--end_fsync=1', '--verify=crc32c', '--verify_fatal=1'];

/** Undone in reverse after each test, whatever has happened. */
const undo: (() => void)[] = [];
let fuse: ChildProcess | undefined;

afterEach(() => {
  for (const step of undo.splice(0).reverse()) step();
  fuse = undefined;
});

/** Does `command`, and remembers what takes it back; a step that is not needed any more fails silently. */
function must(
  command: readonly [string, ...string[]],
  back?: readonly [string, ...string[]],
): string {
  const [program, ...args] = command;
  const ran = run(place.folder, program, ...args);
  expect([command.join(' '), ran.stderr.split('\n').at(-2) ?? '', ran.code]).toEqual([
    command.join(' '),
    expect.any(String),
    0,
  ]);
  if (back !== undefined) {
    const [undoer, ...undoArgs] = back;
    undo.push(() => void run(place.folder, undoer, ...undoArgs));
  }
  return ran.stdout.trim();
}

/** The export as a file of this machine: nbdfuse, which opens several connections. */
async function asFile(uri: string): Promise<string> {
  const folder = place.path('fuse');
  mkdirSync(folder);
  fuse = spawn('nbdfuse', [join(folder, 'nbd'), uri], { stdio: 'ignore' });
  undo.push(() => {
    run(place.folder, 'umount', '-l', folder);
    fuse?.kill();
  });
  const end = Date.now() + 20_000;
  while (run(place.folder, 'mountpoint', '-q', folder).code !== 0) {
    if (Date.now() > end) throw new Error('nbdfuse mounts nothing');
    await sleep(50);
  }
  return join(folder, 'nbd');
}

describeAsRoot('a file system of the kernel, mounted', () => {
  it.each(FILE_SYSTEMS)(
    '$name: made, written and verified by fio, unmounted; fsck is clean, the legs are identical',
    async ({ make, check }) => {
      const daemon = await startDaemon(place.folder);
      place.ok('create', 'data', '--mirror', 'a.img', 'b.img', '--size', '400M');
      const file = await asFile(place.uriOf('data'));
      const loop = runProgram('losetup', '-f', '--show', '--direct-io=on', file);
      undo.push(() => void run(place.folder, 'losetup', '-d', loop));
      const mount = place.path('mnt');
      mkdirSync(mount);

      must([make[0] ?? '', ...make.slice(1), loop]);
      must(['mount', loop, mount], ['umount', '-l', mount]);
      must(['fio', ...FIO, ...VERIFY, `--directory=${mount}`]);
      must(['cp', '-r', place.path('state'), join(mount, 'tree')]);
      must(['umount', mount]);
      must(['mount', loop, mount]);
      const record = 'devices/data.json';
      expect(readFileSync(join(mount, 'tree', record))).toEqual(
        readFileSync(place.path(`state/${record}`)),
      );
      must(['umount', mount]);
      must([check[0] ?? '', ...check.slice(1), loop]);
      must(['losetup', '-d', loop]);
      must(['umount', place.path('fuse')]);

      expect(await daemon.stop()).toBe(0);
      must(['cmp', 'a.img', 'b.img']);
      must([check[0] ?? '', ...check.slice(1), 'b.img']);
    },
    SLOW,
  );
});
