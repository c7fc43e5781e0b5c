// The guest's image: built once from Debian packages, kept outside the repository.
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  statfsSync,
  statSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { ROOT } from '../../support/root.ts';

/** /var/cache when root; else below the repository, where .gitignore covers it. */
const CACHE =
  process.env['DMIOD_VM_CACHE'] ??
  (process.getuid?.() === 0 ? '/var/cache/dmiod-vm' : join(ROOT, 'var/vm'));
const BUILD = join(ROOT, 'test/vm/guest/build.sh');
export const LOG_FOLDER = join(ROOT, 'var/vm-logs');
/** What one run of the tests has prepared; `main.ts` makes it, and takes it away. */
const RUN_FOLDER = process.env['DMIOD_VM_RUN'] ?? join(ROOT, 'var');
/** The disk of a guest with dmiod installed. */
export const PREPARED = join(RUN_FOLDER, 'prepared.cow');
/** The package that is installed there. */
export const PACKAGE = join(RUN_FOLDER, 'dmiod.deb');

/** Of the script that builds it: another script, another image. */
export function imageFolder(): string {
  const hash = createHash('sha256').update(readFileSync(BUILD)).digest('hex').slice(0, 12);
  return join(CACHE, hash);
}

/** Two machines at a time, and room for others. */
const MEMORY_FILES = 3 * 2 ** 30;

/**
 * user-mode-linux keeps its memory in a file below TMPDIR; without one in /dev/shm, where it belongs. A container's
 * /dev/shm may be tiny, and a machine whose memory file cannot grow dies in the middle of its work.
 */
export function umlEnvironment(): NodeJS.ProcessEnv {
  const left = new Set(['TMPDIR', 'TMP', 'TEMP']);
  const kept = Object.entries(process.env).filter(([name]) => !left.has(name));
  return { ...Object.fromEntries(kept), ...(hasRoom('/dev/shm') ? {} : { TMPDIR: tmpdir() }) };
}

function hasRoom(folder: string): boolean {
  if (!existsSync(folder)) return false;
  const { bavail, bsize } = statfsSync(folder);
  return bavail * bsize >= MEMORY_FILES;
}

const DAY_MS = 86_400_000;

/** Builds the image unless it is there; images of former scripts go, but not under another run that uses them. */
export function buildImage(): void {
  const folder = imageFolder();
  if (existsSync(join(folder, 'root.img'))) return;
  mkdirSync(CACHE, { recursive: true });
  for (const old of readdirSync(CACHE).map((name) => join(CACHE, name))) {
    if (statSync(old).mtimeMs < Date.now() - DAY_MS) rmSync(old, { recursive: true, force: true });
  }
  console.log(`building the guest's image in ${folder}`);
  must('bash', BUILD, folder);
}

/** The package as `npm run package:deb` makes it; its path. */
export function buildPackage(): string {
  return must(process.execPath, join(ROOT, 'scripts/package-deb.js')).trim();
}

/** A file or a whole folder. */
export function copySparse(from: string, to: string): void {
  must('cp', '-a', '--sparse=always', from, to);
}

function must(command: string, ...args: readonly string[]): string {
  const { status, stdout, error } = spawnSync(command, args, {
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  if (status === 0) return stdout;
  throw new Error(`${command} ${args.join(' ')}: ${error?.message ?? `exit ${String(status)}`}`);
}
