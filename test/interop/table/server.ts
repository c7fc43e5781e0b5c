// The daemon that the table's tools talk to: one for all cells, with an export for each kind of question.
import { mkdirSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

import { TestAuthority } from '../../support/certificates.ts';
import { DAEMON_ARGS, dmio, isReady } from '../../support/programs.ts';
import { run, runBeside } from '../../support/run.ts';
import { Running } from '../../support/running.ts';

export const MIB = 2 ** 20;
export const SIZE = 64 * MIB;
/** A name as people give them. */
export const ODD = 'Größe ☂ 1';

export class TableServer {
  readonly folder: string;
  /** Folder with alice's certificate, and a file with carol's key. */
  readonly certificates: string;
  readonly keys: string;
  private readonly daemon: Running;

  private constructor(folder: string) {
    this.folder = folder;
    const authority = new TestAuthority(join(folder, 'pki'));
    const server = authority.issue('server', 'server', '/CN=localhost');
    this.certificates = authority.issue('alice', 'client', '/CN=alice');
    this.keys = join(folder, 'keys.psk');
    writeFileSync(this.keys, `carol:${'a5'.repeat(16)}\n`);
    for (const name of ['odd', 'ro', 'secret', 'grow']) this.blank(name, MIB);
    writeFileSync(join(folder, 'dmiod.toml'), configOf(server));
    const more = ['--config', 'dmiod.toml', '--listen', 'tcp:127.0.0.1:0'];
    this.daemon = new Running(folder, [...DAEMON_ARGS, ...more]);
  }

  static async start(root: string): Promise<TableServer> {
    const folder = join(root, 'table');
    mkdirSync(folder);
    const server = new TableServer(folder);
    await server.daemon.until(() => isReady(server.daemon));
    server.dmio('create', 'disk', '--mirror', 'a.img', 'b.img', '--size', String(SIZE));
    return server;
  }

  async stop(): Promise<void> {
    const code = await this.daemon.stop();
    if (code !== 0) throw new Error(`the daemon ended with ${code}: ${this.daemon.stderr}`);
  }

  get port(): number {
    return Number(/"address":"127\.0\.0\.1:(\d+)"/.exec(this.daemon.stderr)?.[1] ?? 0);
  }

  get socket(): string {
    return join(this.folder, 'nbd.sock');
  }

  /** On the unix socket. */
  uri(name = 'disk'): string {
    return `nbd+unix:///${encodeURIComponent(name)}?socket=${this.socket}`;
  }

  tcp(name = 'disk'): string {
    return `nbd://127.0.0.1:${this.port}/${encodeURIComponent(name)}`;
  }

  path(name: string): string {
    return join(this.folder, name);
  }

  blank(name: string, bytes: number): string {
    const path = this.path(name);
    writeFileSync(path, '');
    truncateSync(path, bytes);
    return path;
  }

  /** `disk` is all zeros and holes again. */
  async clear(): Promise<void> {
    await this.sh('nbdsh', '-u', this.uri(), '-c', `h.zero(${SIZE}, 0)`);
  }

  /** Data in MiB 1 and 3 of `disk`, holes elsewhere. */
  async striped(): Promise<void> {
    await this.clear();
    const write = (at: number): string => `h.pwrite(b"${at}" * ${MIB}, ${at * MIB})`;
    await this.sh('nbdsh', '-u', this.uri(), '-c', `${write(1)}\n${write(3)}`);
  }

  dmio(...args: readonly string[]): string {
    const ran = dmio(this.folder, ...args);
    if (ran.code !== 0) throw new Error(`dmio ${args.join(' ')}: ${ran.stderr}`);
    return ran.stdout;
  }

  /** How many of these `disk` has done for clients. */
  done(op: 'flush' | 'discard' | 'zeroes'): number {
    const { devices } = JSON.parse(this.dmio('stats', 'disk', '--json')) as {
      devices: { io: Record<string, { requests: number }> }[];
    };
    return devices[0]?.io[op]?.requests ?? -1;
  }

  /** What a file takes of the disk. */
  async kibibytes(name: string): Promise<number> {
    return Number((await this.sh('du', '-k', name)).split('\t')[0]);
  }

  /** What a program says on stdout, which must succeed. */
  async sh(command: string, ...args: readonly string[]): Promise<string> {
    const { code, stdout, stderr } = await runBeside(this.folder, command, ...args);
    if (code === 0) return stdout;
    throw new Error(`${command} ${args.join(' ')}: exit ${String(code)}\n${stdout}\n${stderr}`);
  }

  /** What it says on both, whatever becomes of it. */
  async said(command: string, ...args: readonly string[]): Promise<string> {
    const { stdout, stderr } = await runBeside(this.folder, command, ...args);
    return stdout + stderr;
  }

  /** The keys in a folder, under the name that qemu wants. */
  async keyFolder(): Promise<string> {
    await this.sh('mkdir', '-p', 'psk');
    await this.sh('cp', this.keys, 'psk/keys.psk');
    return this.path('psk');
  }

  /** `grow` has 1 MiB until somebody asks, then 2. */
  grown(): string {
    run(this.folder, 'truncate', '-s', '2M', 'grow');
    if (this.dmio('ls').includes('2 MiB')) return this.uri('grow');
    this.dmio('resize', 'grow');
    return this.uri('grow');
  }
}

function configOf(certificates: string): string {
  return `[tls]
mode = "selective"
certificates = "${certificates}"
psk-file = "keys.psk"
[device."${ODD}"]
linear = "odd"
[device.ro]
linear = "ro"
read-only = true
[device.secret]
linear = "secret"
tls = "required"
[device.grow]
linear = "grow"
`;
}
