/** What on this machine helps or hinders, each with its remedy. Changes nothing. */
import { existsSync, readFileSync } from 'node:fs';
import { release } from 'node:os';
import { errnoName, ERRNO } from '../core/base/errno.ts';
import { NbdBlocks } from './attach/nbd-block.ts';
import { findProgram, mayAdminister } from './attach/nbd-client.ts';
import { probeUring } from './engine.ts';
import { PR_GET_IO_FLUSHER, processCalls } from './sys/process-calls.ts';

/** `bad`: something does not work here; `warn`: it works, but not as well. */
type Verdict = 'ok' | 'warn' | 'bad';

export interface Check {
  readonly name: string;
  readonly verdict: Verdict;
  readonly finding: string;
  /** What helps; null when nothing needs help. */
  readonly remedy: string | null;
}

/** Descriptors: a mirror of 64 legs twice over, 256 clients, and the rest. */
const MIN_OPEN_FILES = 1024;
/** io_uring's memory for one device. */
const MIN_LOCKED_BYTES = 8 * 2 ** 20;

export async function examineMachine(): Promise<readonly Check[]> {
  return [
    node(),
    nativeCalls(),
    kernelCheck(release()),
    nbdModule(),
    nbdClient(),
    privileges(),
    ioFlusher(),
    await ioUring(),
    limit('open files', 'Max open files', MIN_OPEN_FILES, 'LimitNOFILE=65536, or ulimit -n 65536'),
    limit(
      'locked memory',
      'Max locked memory',
      MIN_LOCKED_BYTES,
      'LimitMEMLOCK=infinity, or ulimit -l unlimited',
    ),
    systemd(),
  ];
}

function node(): Check {
  const [major = 0, minor = 0] = process.versions.node.split('.').map(Number);
  const isFit = major > 20 || (major === 20 && minor >= 19);
  const finding = `Node ${process.version}`;
  return check('node', isFit ? 'ok' : 'bad', finding, 'Node 20.19 or later is needed');
}

function nativeCalls(): Check {
  const calls = processCalls();
  if (typeof calls !== 'string') return check('native calls', 'ok', 'koffi is loaded', null);
  return check(
    'native calls',
    'bad',
    calls,
    'npm ci on this machine: koffi brings a binary for it',
  );
}

/** `6.1.0-18-amd64`: since 5.7 the kernel sends again what was under way on the only connection of a device. */
export function kernelCheck(words: string): Check {
  const [, major, minor] = /^(\d+)\.(\d+)/.exec(words) ?? [];
  const isFit = Number(major) > 5 || (Number(major) === 5 && Number(minor) >= 7);
  return check(
    'kernel',
    isFit ? 'ok' : 'warn',
    `Linux ${words}`,
    'Linux 5.7 or later; before, attach with --connections 2: with one, I/O under way fails when the daemon is killed',
  );
}

function nbdModule(): Check {
  const name = 'nbd module';
  const blocks = new NbdBlocks();
  if (blocks.isLoaded) {
    return check(name, 'ok', `loaded, ${blocks.indexes().length} devices`, null);
  }
  const folder = `/lib/modules/${release()}`;
  const modules = ['modules.dep', 'modules.builtin'].map((file) => textOf(`${folder}/${file}`));
  if (modules.some((text) => text?.includes('/nbd.ko') === true)) {
    return check(name, 'warn', 'not loaded', 'modprobe nbd; dmiod.service does it by itself');
  }
  const finding = `this kernel (${release()}) has none, so there is no attach`;
  return check(name, 'bad', finding, 'a kernel with CONFIG_BLK_DEV_NBD; NBD clients work without');
}

function nbdClient(): Check {
  const path = findProgram('nbd-client');
  if (path !== undefined) return check('nbd-client', 'ok', path, null);
  return check(
    'nbd-client',
    'bad',
    'not installed, so there is no attach',
    'apt-get install nbd-client',
  );
}

function privileges(): Check {
  const uid = process.getuid?.() ?? -1;
  if (mayAdminister()) return check('privileges', 'ok', `uid ${uid}, CAP_SYS_ADMIN`, null);
  const finding = `uid ${uid} without CAP_SYS_ADMIN: a daemon like this can serve, not attach`;
  return check('privileges', 'warn', finding, 'run dmiod as root: systemctl enable --now dmiod');
}

function ioFlusher(): Check {
  const name = 'memory flushing';
  const calls = processCalls();
  const result = typeof calls === 'string' ? -ERRNO.ENOSYS : calls.prctl(PR_GET_IO_FLUSHER, 0);
  if (result >= 0) return check(name, 'ok', 'PR_SET_IO_FLUSHER is allowed', null);
  const finding = `PR_SET_IO_FLUSHER: ${errnoName(-result)}; a device attached on this machine may stop it when memory runs out`;
  return check(
    name,
    'warn',
    finding,
    'CAP_SYS_RESOURCE (dmiod.service has it), Linux 5.6 or later',
  );
}

async function ioUring(): Promise<Check> {
  const found = await probeUring();
  if (found.problem === undefined) return check('io_uring', 'ok', `allowed (${found.ring})`, null);
  return check('io_uring', 'warn', found.problem, 'not needed: --engine node does without');
}

function limit(name: string, row: string, least: number, remedy: string): Check {
  const line = (textOf('/proc/self/limits') ?? '').split('\n').find((one) => one.startsWith(row));
  const soft = line?.slice(row.length).trim().split(/\s+/)[0] ?? 'unknown';
  const isFit = soft === 'unlimited' || Number(soft) >= least;
  return check(name, isFit ? 'ok' : 'warn', soft, remedy);
}

function systemd(): Check {
  if (existsSync('/run/systemd/system')) return check('systemd', 'ok', 'running', null);
  return check(
    'systemd',
    'warn',
    'not running',
    'start dmiod by what does run here, and restart it when it dies',
  );
}

/** What is well needs no remedy. */
function check(name: string, verdict: Verdict, finding: string, remedy: string | null): Check {
  return { name, verdict, finding, remedy: verdict === 'ok' ? null : remedy };
}

function textOf(path: string): string | undefined {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return undefined;
  }
}
