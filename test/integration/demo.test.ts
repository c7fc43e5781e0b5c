// `npm start`, and every client a user would point at it.
import { join } from 'node:path';

import { start } from '../support/programs.ts';
import { ROOT } from '../support/root.ts';
import { run } from '../support/run.ts';
import type { Running } from '../support/running.ts';
import { tempDirectory } from '../support/temp.ts';

const folder = tempDirectory();
const uri = `nbd+unix:///demo?socket=${folder}/var/nbd.sock`;

async function startDemo(): Promise<Running> {
  const demo = start(folder, join(ROOT, 'dist/daemon/demo.js'));
  return demo.until(() => demo.stdout.includes('Ctrl-C ends it'));
}

function well(command: string, ...args: readonly string[]): string {
  const ran = run(folder, command, ...args);
  expect({ command, code: ran.code, stderr: ran.stderr }).toEqual({ command, code: 0, stderr: '' });
  return ran.stdout;
}

it('the demo serves unmodified clients, and a second start finds the data', async () => {
  const first = await startDemo();
  expect(first.stdout).toContain(uri);
  expect(well('nbdinfo', uri)).toContain('export-size: 1073741824 (1G)');
  expect(well('nbdinfo', '--list', uri.replace('/demo', '/'))).toContain('export="demo"');
  expect(well('qemu-img', 'info', uri)).toContain('virtual size: 1 GiB');
  expect(well('qemu-img', 'bench', '-f', 'raw', '-c', '5000', '-d', '16', uri)).toContain('Run');
  const write = ['-c', 'write -P 7 1234567 99999', '-c', 'read -P 7 1234567 99999'];
  expect(well('qemu-io', '-f', 'raw', ...write, uri)).not.toContain('failed');
  const job = ['--name=x', '--ioengine=nbd', `--uri=${uri}`, '--rw=randwrite', '--bs=4k'];
  const four = ['--numjobs=4', '--size=4M', '--offset=16M', '--offset_increment=4M'];
  well('fio', ...job, ...four, '--iodepth=16', '--verify=crc32c', '--output=fio.log');
  well('nbdcopy', uri, 'copy.img');
  expect(await first.stop('SIGINT')).toBe(0);

  const second = await startDemo();
  expect(well('qemu-img', 'compare', '-f', 'raw', '-F', 'raw', 'copy.img', uri)).toContain(
    'Images are identical.',
  );
  expect(await second.stop()).toBe(0);
}, 120_000);
