// A real file system of thousands of files goes in through the mirror and comes back the same.
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

import { Prng } from '../../core/base/prng.ts';
import { dmio, startDaemon } from '../support/programs.ts';
import { run } from '../support/run.ts';
import { tempDirectory } from '../support/temp.ts';

const folder = tempDirectory();
const MEGABYTES = 96;

/** 3000 files of 0 bytes to 64 KiB in 60 folders. */
function plantTree(tree: string): void {
  const prng = new Prng(2026);
  for (let d = 0; d < 60; d += 1) {
    const branch = join(tree, `d${d}`, 'deeper');
    mkdirSync(branch, { recursive: true });
    for (let f = 0; f < 50; f += 1) {
      const bytes = Buffer.alloc(prng.ratio(1, 40) ? prng.below(65_536) : prng.below(3000));
      for (let i = 0; i + 4 <= bytes.length; i += 4) bytes.writeUInt32LE(prng.u32(), i);
      writeFileSync(join(branch, `file ${f}`), bytes);
    }
  }
}

it('an ext4 image copied in comes back identical, clean on each leg, and the legs are equal', async () => {
  plantTree(join(folder, 'tree'));
  const made = run(folder, 'mke2fs', '-q', '-t', 'ext4', '-d', 'tree', 'fs.img', `${MEGABYTES}M`);
  expect([made.stderr, made.code]).toEqual(['', 0]);

  const daemon = await startDaemon(folder);
  const create = ['create', 'data', '--mirror', 'a.img', 'b.img', '--size', `${MEGABYTES}M`];
  expect(dmio(folder, ...create)).toMatchObject({ stderr: '', code: 0 });
  const uri = `nbd+unix:///data?socket=${folder}/nbd.sock`;
  expect(run(folder, 'nbdcopy', '--flush', 'fs.img', uri)).toMatchObject({ stderr: '', code: 0 });
  expect(run(folder, 'nbdcopy', uri, 'back.img')).toMatchObject({ stderr: '', code: 0 });
  const image = readFileSync(join(folder, 'fs.img'));
  expect(readFileSync(join(folder, 'back.img')).equals(image)).toBe(true);
  const compared = run(folder, 'qemu-img', 'compare', '-f', 'raw', '-F', 'raw', 'fs.img', uri);
  expect(compared.stdout).toContain('Images are identical.');

  expect(await daemon.stop()).toBe(0);
  for (const leg of ['a.img', 'b.img']) {
    expect(readFileSync(join(folder, leg)).equals(image)).toBe(true);
    expect(run(folder, 'e2fsck', '-fn', leg)).toMatchObject({ code: 0 });
  }
}, 120_000);
