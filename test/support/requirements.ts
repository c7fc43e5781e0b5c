// The programs the tests run, and the Debian package each comes in. A missing one is never a silent
// skip: as root it is installed, otherwise the run stops with the apt-get line to type.
import { spawnSync } from 'node:child_process';
import { accessSync, constants, statSync } from 'node:fs';
import { join } from 'node:path';

export interface Requirement {
  readonly command: string;
  readonly debian: string;
  readonly why: string;
}

export const REQUIREMENTS: readonly Requirement[] = [
  { command: 'nbdinfo', debian: 'libnbd-bin', why: 'reads our handshake as a second opinion' },
  {
    command: 'nbdcopy',
    debian: 'libnbd-bin',
    why: 'copies whole exports, many requests in flight',
  },
  { command: 'nbdfuse', debian: 'libnbd-bin', why: 'an export as a file, without kernel NBD' },
  { command: 'nbdsh', debian: 'python3-libnbd', why: 'single NBD commands with chosen flags' },
  { command: 'nbdkit', debian: 'nbdkit', why: 'a remote leg, and legs with injected errors' },
  { command: 'qemu-img', debian: 'qemu-utils', why: 'maps, compares and converts exports' },
  { command: 'qemu-io', debian: 'qemu-utils', why: 'pattern writes and verified reads' },
  { command: 'qemu-nbd', debian: 'qemu-utils', why: 'a second NBD server to mirror to' },
  { command: 'nbd-server', debian: 'nbd-server', why: 'a third, as a remote leg' },
  { command: 'nbd-client', debian: 'nbd-client', why: 'the handshake that /dev/nbdN is made with' },
  {
    command: 'openssl',
    debian: 'openssl',
    why: 'certificates, and a TLS client that knows no NBD',
  },
  { command: 'certtool', debian: 'gnutls-bin', why: "lists of revoked certificates, GnuTLS's" },
  { command: 'fio', debian: 'fio', why: 'load with verification, and the benchmark' },
  { command: 'mke2fs', debian: 'e2fsprogs', why: 'a real file system on a mirror' },
  { command: 'e2fsck', debian: 'e2fsprogs', why: 'and the proof that it survived' },
  { command: 'mkfs.xfs', debian: 'xfsprogs', why: 'another real file system' },
  { command: 'losetup', debian: 'mount', why: 'mounts it as a block device' },
  { command: 'ip', debian: 'iproute2', why: 'hosts of their own, in network namespaces' },
  { command: 'tc', debian: 'iproute2', why: 'packets that are lost on the way to them' },
  { command: 'fusermount3', debian: 'fuse3', why: 'nbdfuse mounts through it' },
];

/** Where Debian keeps programs; sbin is not on every user's PATH, and the tests call mke2fs by name. */
export function searchPath(path: string | undefined): readonly string[] {
  const folders = (path ?? '').split(':').filter((folder) => folder !== '');
  return [...new Set([...folders, '/usr/local/sbin', '/usr/sbin', '/sbin', '/usr/bin', '/bin'])];
}

export function pathOf(command: string, folders: readonly string[]): string | undefined {
  return folders.map((folder) => join(folder, command)).find(isExecutable);
}

function isExecutable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return statSync(path).isFile();
  } catch {
    return false;
  }
}

export function missingOf(
  requirements: readonly Requirement[],
  folders: readonly string[],
): readonly Requirement[] {
  return requirements.filter(({ command }) => pathOf(command, folders) === undefined);
}

export type Plan =
  | { readonly kind: 'ready' }
  | { readonly kind: 'install'; readonly says: string; readonly commands: readonly string[][] }
  | { readonly kind: 'stop'; readonly says: string };

/** Who asks, in the two sentences of a plan. */
interface Purpose {
  readonly who: string;
  readonly again: string;
}
const TESTS: Purpose = { who: 'The tests need', again: 'run the tests again' };

/** What to do about the missing programs. Nothing is run here, so a test can read the whole answer. */
export function planFor(
  missing: readonly Requirement[],
  isRoot: boolean,
  { who, again }: Purpose = TESTS,
): Plan {
  if (missing.length === 0) return { kind: 'ready' };

  const packages = [...new Set(missing.map(({ debian }) => debian))].sort();
  const install = ['install', '-y', '--no-install-recommends', ...packages];
  const wanted = missing.map(({ command, debian, why }) => `  ${command} (${debian}): ${why}`);
  const says = `${who} programs that are not installed:\n${wanted.join('\n')}`;

  if (!isRoot) {
    const line = `sudo apt-get update && sudo apt-get ${install.join(' ')}`;
    return { kind: 'stop', says: `${says}\nInstall them, then ${again}:\n${line}` };
  }
  return {
    kind: 'install',
    says: `${says}\nInstalling as root: apt-get ${install.join(' ')}`,
    commands: [['update'], install],
  };
}

/** Makes every requirement present, or says why not. True when the tests may run. */
export function ensure(requirements: readonly Requirement[], purpose: Purpose = TESTS): boolean {
  const folders = searchPath(process.env['PATH']);
  const plan = planFor(missingOf(requirements, folders), process.getuid?.() === 0, purpose);

  switch (plan.kind) {
    case 'ready':
      return true;
    case 'stop':
      console.error(plan.says);
      return false;
    case 'install':
      console.error(plan.says);
      for (const args of plan.commands) {
        if (!aptGet(args)) return false;
      }
      return isReady(requirements, folders);
  }
}

function aptGet(args: readonly string[]): boolean {
  const env = { ...process.env, DEBIAN_FRONTEND: 'noninteractive' };
  // Debian's own talk goes to stderr too: stdout belongs to the tests.
  const { status, error } = spawnSync('apt-get', args, { stdio: ['ignore', 2, 2], env });
  if (status === 0) return true;
  console.error(`apt-get ${args.join(' ')} failed: ${error?.message ?? `exit ${String(status)}`}`);
  return false;
}

function isReady(requirements: readonly Requirement[], folders: readonly string[]): boolean {
  const still = missingOf(requirements, folders);
  for (const { command, debian } of still) {
    console.error(`${command} is still missing after installing ${debian}`);
  }
  return still.length === 0;
}

// `node dist/test/support/requirements.js`: the step of `npm test` before everything that runs a test.
if (process.argv[1] === import.meta.filename && !ensure(REQUIREMENTS)) process.exitCode = 1;
