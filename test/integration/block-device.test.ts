// Block devices as legs: two loop devices with blocks of 4096 bytes under a client that writes bytes.
import { truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

import { dmio, startServe } from '../support/programs.ts';
import { run } from '../support/run.ts';
import { describeAsRoot, runProgram } from '../support/root-only.ts';
import { tempDirectory } from '../support/temp.ts';

const folder = tempDirectory();
const loops: string[] = [];

function loopDevice(name: string): string {
  const path = join(folder, name);
  writeFileSync(path, '');
  truncateSync(path, 16 * 2 ** 20);
  const device = runProgram('losetup', '-f', '--show', '--sector-size', '4096', path);
  loops.push(device);
  return device;
}

afterAll(() => {
  for (const device of loops) runProgram('losetup', '-d', device);
});

describeAsRoot('a mirror of two block devices', () => {
  it('takes bytes at any place, and regions of whole blocks only', async () => {
    const [a, b] = [loopDevice('a.img'), loopDevice('b.img')];
    const small = dmio(
      folder,
      'serve',
      '--mirror',
      a,
      b,
      '--region-size',
      '1K',
      '--socket',
      'n.sock',
    );
    expect([small.code, small.stdout]).toEqual([1, '']);
    expect(small.stderr).toBe(
      `dmio: table line 1: regions of 1024 bytes on leg ${a}, whose blocks have 4096: at least one block is wanted\n`,
    );

    const serve = await startServe(folder, '--mirror', a, b, '--socket', 'n.sock');
    const uri = `nbd+unix:///?socket=${folder}/n.sock`;
    const commands = [
      '-c',
      'write -P 4 100 5000',
      '-c',
      'read -P 4 100 5000',
      '-c',
      'read -P 0 0 100',
    ];
    const ran = run(folder, 'qemu-io', '-f', 'raw', ...commands, uri);
    expect([ran.code, ran.stdout.includes('failed')]).toEqual([0, false]);
    expect(await serve.stop()).toBe(0);
    expect(run(folder, 'cmp', '-n', '65536', a, b)).toMatchObject({ code: 0 });
  }, 60_000);
});
