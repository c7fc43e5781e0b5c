// npm run test:vm: requirements, image, package, a guest with the package installed; then jest.
import { spawn } from 'node:child_process';
import { copyFileSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { spawnSync } from 'node:child_process';

import { ROOT } from '../../support/root.ts';
import { ensure } from '../../support/requirements.ts';
import type { Requirement } from '../../support/requirements.ts';

const REQUIREMENTS: readonly Requirement[] = [
  { command: 'mmdebstrap', debian: 'mmdebstrap', why: "makes the guest's root file system" },
  { command: 'mke2fs', debian: 'e2fsprogs', why: 'makes its disk' },
  { command: 'depmod', debian: 'kmod', why: "lists its kernel's modules" },
  { command: 'dpkg-deb', debian: 'dpkg', why: 'builds the package that is installed in it' },
];

const runFolder = mkdtempSync(join(mkdirOf(join(ROOT, 'var')), 'vm-run-'));
process.env['DMIOD_VM_RUN'] = runFolder;
process.on('exit', () => rmSync(runFolder, { recursive: true, force: true }));
const { buildImage, buildPackage, imageFolder, PACKAGE, PREPARED } = await import('./image.ts');

function mkdirOf(path: string): string {
  mkdirSync(path, { recursive: true });
  return path;
}

/** Installs the package in the guest, as its owner would. */
function prepare(deb: string): void {
  const folder = mkdtempSync(join(tmpdir(), 'dmiod-vm-prepare-'));
  try {
    copyFileSync(deb, join(folder, 'dmiod.deb'));
    const job = 'set -e\nexport DEBIAN_FRONTEND=noninteractive\ndpkg -i /host/dmiod.deb\n';
    const check = 'systemctl is-active dmiod.service\nsystemctl is-enabled dmiod.service\n';
    const clean = 'systemctl stop dmiod.socket dmiod.service\nsync\n';
    writeFileSync(join(folder, 'job.sh'), job + check + clean);
    writeFileSync(join(folder, 'orderly'), '');
    const image = imageFolder();
    const { stdout } = spawnSync(
      join(image, 'uml/usr/bin/linux.uml'),
      [
        `ubd0=${PREPARED},${join(image, 'root.img')}`,
        ...['root=/dev/ubda', 'rw', 'mem=1G', 'quiet', 'loglevel=4', 'con=null', 'con0=null,fd:1'],
        ...[`uml_dir=${folder}`, 'umid=u', 'panic=-1', 'systemd.unit=guest.target'],
        ...['systemd.show_status=0', `guest.share=${folder}`],
      ],
      { encoding: 'utf8', timeout: 180_000, stdio: ['ignore', 'pipe', 'inherit'] },
    );
    if (!stdout.includes('GUEST-RC=0')) throw new Error(`the package did not install:\n${stdout}`);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

const isReady = ensure(REQUIREMENTS, {
  who: 'The tests on a real kernel need',
  again: 'run npm run test:vm again',
});
if (!isReady) process.exit(1);
buildImage();
console.log('installing the package in the guest');
copyFileSync(buildPackage(), PACKAGE);
prepare(PACKAGE);

const jest = join(ROOT, 'node_modules/jest/bin/jest.js');
const flags = [
  '--experimental-vm-modules',
  '--enable-source-maps',
  '--disable-warning=ExperimentalWarning',
];
const child = spawn(
  process.execPath,
  [...flags, jest, '--config', 'jest.vm.config.js', ...process.argv.slice(2)],
  { cwd: ROOT, stdio: 'inherit' },
);
child.on('close', (code) => {
  process.exitCode = code ?? 1;
});
