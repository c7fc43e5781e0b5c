// npm run test:vm: requirements, image, package, a guest with the package installed; then jest.
import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import {
  copyFileSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

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
/** Everything of this run that is temporary; what runs in it at the end was left by a test cut short. */
const scratch = mkdtempSync(join(tmpdir(), 'dmiod-vm-'));
process.env['DMIOD_VM_SCRATCH'] = scratch;
process.on('exit', () => {
  endMachines();
  for (const folder of [runFolder, scratch]) rmSync(folder, { recursive: true, force: true });
});
/** The tests, once they run; they end their machines themselves. */
let tests: ChildProcess | null = null;
for (const signal of ['SIGTERM', 'SIGINT'] as const) {
  process.on(signal, () => {
    if (tests === null) process.exit(1);
    tests.kill(signal);
  });
}
const { buildImage, buildPackage, imageFolder, LOG_FOLDER, PACKAGE, PREPARED, umlEnvironment } =
  await import('./image.ts');
const { RunningBoot } = await import('./guest.ts');

/** A machine is many processes, which outlive the test that was to end them. */
function endMachines(): void {
  for (const pid of readdirSync('/proc').filter((name) => /^\d+$/.test(name))) {
    try {
      const command = readFileSync(`/proc/${pid}/cmdline`, 'utf8');
      if (command.includes(`=${scratch}/`)) process.kill(Number(pid), 'SIGKILL');
    } catch {
      // It has ended meanwhile.
    }
  }
}

function mkdirOf(path: string): string {
  mkdirSync(path, { recursive: true });
  return path;
}

/** Installs the package in the guest, as its owner would. */
async function prepare(deb: string): Promise<void> {
  const folder = mkdtempSync(join(scratch, 'prepare-'));
  try {
    copyFileSync(deb, join(folder, 'dmiod.deb'));
    const job = 'set -e\nexport DEBIAN_FRONTEND=noninteractive\ndpkg -i /host/dmiod.deb\n';
    const check = 'systemctl is-active dmiod.service\nsystemctl is-enabled dmiod.service\n';
    const clean = 'systemctl stop dmiod.socket dmiod.service\nsync\n';
    writeFileSync(join(folder, 'job.sh'), job + check + clean);
    writeFileSync(join(folder, 'orderly'), '');
    const image = imageFolder();
    const child = spawn(
      join(image, 'uml/usr/bin/linux.uml'),
      [
        `ubd0=${PREPARED},${join(image, 'root.img')}`,
        ...['root=/dev/ubda', 'rw', 'mem=1G', 'quiet', 'loglevel=4', 'con=null', 'con0=null,fd:1'],
        ...[`uml_dir=${folder}`, 'umid=u', 'panic=-1', 'systemd.unit=guest.target'],
        ...['systemd.show_status=0', 'systemd.default_timeout_start_sec=600'],
        `guest.share=${folder}`,
      ],
      { stdio: ['ignore', 'pipe', 'pipe'], detached: true, env: umlEnvironment() },
    );
    const boot = new RunningBoot(child, join(mkdirOf(LOG_FOLDER), 'prepare.log'));
    await boot.end();
    const { console } = boot;
    if (!console.includes('GUEST-RC=0'))
      throw new Error(`the package did not install:\n${console}`);
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
await prepare(PACKAGE);

const jest = join(ROOT, 'node_modules/jest/bin/jest.js');
const flags = [
  '--experimental-vm-modules',
  '--enable-source-maps',
  '--disable-warning=ExperimentalWarning',
];
tests = spawn(
  process.execPath,
  [...flags, jest, '--config', 'jest.vm.config.js', ...process.argv.slice(2)],
  { cwd: ROOT, stdio: 'inherit' },
);
tests.on('close', (code) => {
  process.exitCode = code ?? 1;
});
