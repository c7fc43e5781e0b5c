// A machine of its own for a scenario: user-mode-linux with systemd, whose disk outlives its boots.
import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import {
  appendFileSync,
  closeSync,
  existsSync,
  ftruncateSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  realpathSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';

import { ROOT } from '../../support/root.ts';
import { copySparse, imageFolder, LOG_FOLDER, PACKAGE, PREPARED, umlEnvironment } from './image.ts';
import { Silence } from './silence.ts';

/**
 * A machine that runs the tests may have other work, so no boot has a limit of its own: one whose
 * console has been silent for so long, though it had a processor, stands still.
 */
const SILENCE_LIMIT_MS = 600_000;

/** Of each leg. */
const LEG_BYTES = 384 * 2 ** 20;
/** Of the disk of a dirty log. */
const LOG_BYTES = 2 ** 20;

export interface BootOptions {
  /** Extra words of the kernel's command line. */
  readonly words?: readonly string[];
  readonly memory?: string;
  /** Longest silence of the console. */
  readonly silenceMs?: number;
}

export interface Boot {
  /** The job's exit code; null: the machine ended without telling one. */
  readonly code: number | null;
  readonly console: string;
}

/** A boot that goes on while the test looks at it. */
export class RunningBoot {
  console = '';
  private readonly child: ChildProcess;
  private readonly ended: Promise<void>;
  private readonly log: string;
  private isEnded = false;
  private readonly silence: Silence;

  constructor(child: ChildProcess, log: string) {
    this.child = child;
    this.log = log;
    this.silence = new Silence(child.pid ?? 0);
    const heard = (data: Buffer): void => {
      this.console += data.toString();
      this.silence.heard();
      appendFileSync(log, data);
    };
    child.stdout?.on('data', heard);
    child.stderr?.on('data', heard);
    this.ended = new Promise((tell) => {
      child.on('close', () => {
        this.isEnded = true;
        tell();
      });
      child.on('error', (error) => {
        this.console += `FAILED: ${error.message}\n`;
        this.isEnded = true;
        tell();
      });
    });
  }

  /** Waits for words on the console; a machine that ends or stands still without them is an error. */
  async until(words: RegExp): Promise<void> {
    while (!words.test(this.console)) {
      if (this.isEnded || this.silence.isLongerThan(SILENCE_LIMIT_MS)) {
        throw new Error(`no ${String(words)} on the console:\n${this.console.slice(-3000)}`);
      }
      await sleep(20);
    }
  }

  /** Pulls the plug: nothing the machine holds in memory is written. */
  async powerOff(): Promise<void> {
    this.killAll();
    await this.ended;
  }

  /** Waits for the machine's own end; one that stands still is ended, and the console says so. */
  async end(silenceMs = SILENCE_LIMIT_MS): Promise<void> {
    while (!this.isEnded && !this.silence.isLongerThan(silenceMs)) {
      await Promise.race([this.ended, sleep(1000)]);
    }
    if (this.isEnded) return;
    const words = `\nFAILED: silent for ${silenceMs / 1000} s\n`;
    this.console += words;
    appendFileSync(this.log, words);
    await this.powerOff();
  }

  /** The kernel and the processes in it are one group here. */
  private killAll(): void {
    try {
      process.kill(-(this.child.pid ?? 0), 'SIGKILL');
    } catch {
      // It has ended meanwhile.
    }
  }
}

export class Guest {
  /** The host's folder that the guest sees as /host. */
  readonly share: string;
  private readonly folder: string;
  private readonly log: string;
  private readonly running = new Set<RunningBoot>();

  /** `name` is of the log, too. dmiod is installed, not configured. */
  constructor(name: string, legBytes = LEG_BYTES) {
    this.folder = mkdtempSync(join(process.env['DMIOD_VM_SCRATCH'] ?? tmpdir(), `${name}-`));
    this.share = join(this.folder, 'host');
    mkdirSync(this.share);
    mkdirSync(LOG_FOLDER, { recursive: true });
    this.log = join(LOG_FOLDER, `${name}.log`);
    writeFileSync(this.log, '');
    copySparse(PREPARED, join(this.folder, 'root.cow'));
    for (const leg of ['a', 'b']) this.makeDisk(leg, legBytes);
    this.makeDisk('log', LOG_BYTES);
  }

  /** Files that the guest has as /dev/ubdb, /dev/ubdc: its legs; /dev/ubdd: for a dirty log. */
  private makeDisk(name: string, bytes: number): void {
    const fd = openSync(this.disk(name), 'w');
    ftruncateSync(fd, bytes);
    closeSync(fd);
  }

  disk(name: string): string {
    return join(this.folder, `${name}.img`);
  }

  /** The package, as /host/dmiod.deb. */
  sharePackage(): void {
    copySparse(PACKAGE, join(this.share, 'dmiod.deb'));
  }

  /**
   * A copy of the repository, built, as /host/tree; the node and npm it was built with beside it. What only builds
   * it is left out, and its build does nothing: to look at a thousand files through the host's file system takes the
   * guest minutes.
   */
  shareTree(): void {
    const tree = join(this.share, 'tree');
    mkdirSync(tree);
    const left = new Set(['.git', 'var', 'node_modules', 'package.json']);
    for (const entry of readdirSync(ROOT)) {
      if (!left.has(entry)) copySparse(join(ROOT, entry), join(tree, entry));
    }
    for (const folder of productionFolders()) {
      mkdirSync(dirname(join(tree, folder)), { recursive: true });
      copySparse(join(ROOT, folder), join(tree, folder));
    }
    const manifest = readFileSync(join(ROOT, 'package.json'), 'utf8');
    const built = manifest.replace(/"build": "[^"]*"/, '"build": "true"');
    if (built === manifest) throw new Error('package.json has no script "build"');
    writeFileSync(join(tree, 'package.json'), built);
    copySparse(process.execPath, join(this.share, 'node'));
    // npm says to what it runs where it is.
    const npm = process.env['npm_execpath'];
    if (npm === undefined) throw new Error('this is run by npm run test:vm, with npm_execpath set');
    copySparse(dirname(dirname(realpathSync(npm))), join(this.share, 'npm'));
  }

  /** Boots, runs the script as root, powers off; with `orderly`, by `systemctl poweroff`. */
  async boot(script: string, options: BootOptions & { orderly?: boolean } = {}): Promise<Boot> {
    const orderly = join(this.share, 'orderly');
    if (options.orderly === true) writeFileSync(orderly, '');
    else rmSync(orderly, { force: true });
    const boot = this.start(script, options);
    await boot.end(options.silenceMs);
    const rc = join(this.share, 'rc');
    const code = existsSync(rc) ? Number(readFileSync(rc, 'utf8')) : null;
    return { code, console: boot.console };
  }

  /** As `boot`; the caller ends it. */
  start(script: string, { words = [], memory = '768M' }: BootOptions = {}): RunningBoot {
    rmSync(join(this.share, 'rc'), { force: true });
    writeFileSync(join(this.share, 'job.sh'), `${PRELUDE}\n${script}\n`);
    appendFileSync(this.log, `\n===== boot =====\n${script}\n=====\n`);
    const image = imageFolder();
    const uml = mkdtempSync(join(this.folder, 'uml-'));
    const child = spawn(
      join(image, 'uml/usr/bin/linux.uml'),
      [
        `ubd0=${join(this.folder, 'root.cow')},${join(image, 'root.img')}`,
        `ubdb=${this.disk('a')}`,
        `ubdc=${this.disk('b')}`,
        `ubdd=${this.disk('log')}`,
        ...['root=/dev/ubda', 'rw', `mem=${memory}`, 'quiet', 'loglevel=4'],
        ...['con=null', 'con0=null,fd:1', `uml_dir=${uml}`, 'umid=u', 'panic=-1'],
        ...['systemd.unit=guest.target', 'systemd.show_status=0'],
        ...['systemd.default_timeout_start_sec=600', `guest.share=${this.share}`, ...words],
      ],
      { stdio: ['ignore', 'pipe', 'pipe'], detached: true, env: umlEnvironment() },
    );
    const boot = new RunningBoot(child, this.log);
    this.running.add(boot);
    return boot;
  }

  /** Nothing runs any more, and nothing is left but the log. */
  async remove(): Promise<void> {
    for (const boot of this.running) await boot.powerOff();
    rmSync(this.folder, { recursive: true, force: true });
  }
}

/** The packages of node_modules that are not for development only. */
function productionFolders(): readonly string[] {
  const lock: unknown = JSON.parse(readFileSync(join(ROOT, 'package-lock.json'), 'utf8'));
  const { packages } = lock as { packages: Readonly<Record<string, { dev?: boolean }>> };
  return Object.entries(packages)
    .filter(([path, { dev }]) => /^node_modules\/(?!.*node_modules)/.test(path) && dev !== true)
    .map(([path]) => path)
    .filter((path) => existsSync(join(ROOT, path)));
}

/**
 * Stops at the first command that fails, and says which. `set -e` does not see a `! command` that
 * succeeds: `fails command` is for that, `refused CODE command` where the code matters. What was printed is on its
 * way through the journal; the machine does not end before it is on the console. `legs_equal [LEG LEG]` compares what
 * clients see of the legs: behind it may be metadata, which differs.
 */
const PRELUDE = `set -eu -o pipefail
refused() {
  local code=0
  "\${@:2}" || code=$?
  [ $code = $1 ] || { echo "FAILED: $code instead of $1: \${*:2}"; exit 1; }
}
legs_equal() { cmp -n $(cat /root/size) \${1:-/dev/ubdb} \${2:-/dev/ubdc}; }
attach() { dmio attach data "$@"; blockdev --getsize64 /dev/nbd0 > /root/size; }
fails() { if "$@"; then echo "FAILED: it succeeded: $*"; exit 1; fi; }
trap 'echo "FAILED: line $LINENO: $BASH_COMMAND"; journalctl -u dmiod --no-pager -o cat 2>/dev/null | tail -40' ERR
trap 'journalctl --sync || true' EXIT`;
