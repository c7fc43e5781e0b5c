// Servers of other people, and ours, that serve one file: what a remote leg stands on.
import { spawn, type ChildProcess } from 'node:child_process';
import { existsSync, readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { connect, createServer } from 'node:net';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';

import { TestAuthority } from './certificates.ts';
import { ENVIRONMENT, run } from './run.ts';
import { DMIO } from './running.ts';

const START_LIMIT_MS = 20_000;

/** A program behind a unix socket, started and stopped as often as a test wants. */
export class SocketServer {
  private child: ChildProcess | undefined;
  private readonly folder: string;
  private readonly socket: string;
  private readonly command: string;
  private readonly args: readonly string[];

  constructor(folder: string, socket: string, command: string, ...args: readonly string[]) {
    this.folder = folder;
    this.socket = socket;
    this.command = command;
    this.args = args;
  }

  async start(): Promise<this> {
    rmSync(this.socket, { force: true });
    const options = { cwd: this.folder, env: ENVIRONMENT, stdio: 'ignore' } as const;
    this.child = spawn(this.command, this.args, options);
    const { child } = this;
    // qemu's socket is there a moment before it listens.
    const end = Date.now() + START_LIMIT_MS;
    while (!(await isListening(this.socket))) {
      const isLate = Date.now() > end;
      if (child.exitCode !== null || isLate) {
        throw new Error(`${this.command} does not serve: ${this.args.join(' ')}`);
      }
      await sleep(10);
    }
    return this;
  }

  signal(signal: NodeJS.Signals): void {
    this.child?.kill(signal);
  }

  async kill(): Promise<void> {
    const { child } = this;
    if (child === undefined || child.exitCode !== null || child.signalCode !== null) return;
    const gone = new Promise((done) => child.once('exit', done));
    child.kill('SIGKILL');
    child.kill('SIGCONT');
    await gone;
  }
}

/** nbdkit over `args` behind a socket called NAME.sock. */
export function nbdkit(folder: string, name: string, ...args: readonly string[]): SocketServer {
  const socket = join(folder, `${name}.sock`);
  return new SocketServer(folder, socket, 'nbdkit', '-f', '-U', socket, ...args);
}

export interface FileServer {
  readonly uri: string;
  stop(): Promise<void>;
}

/** Every server we know, over a file. */
export const FILE_SERVERS: Readonly<
  Record<string, (folder: string, file: string) => Promise<FileServer>>
> = {
  nbdkit: (folder, file) =>
    behindSocket(folder, 'nbdkit', '', (socket) => ['nbdkit', '-f', '-U', socket, 'file', file]),
  'nbdkit without structured replies and zeroes': (folder, file) =>
    behindSocket(folder, 'nbdkit-bare', '', (socket) => [
      ...['nbdkit', '-f', '-U', socket, '--no-sr', '--filter=nozero'],
      ...['file', file],
    ]),
  'nbdkit in blocks of 4096': (folder, file) =>
    behindSocket(folder, 'nbdkit-4k', '', (socket) => [
      ...['nbdkit', '-f', '-U', socket, '--filter=blocksize-policy', 'file', file],
      ...['blocksize-minimum=4096', 'blocksize-preferred=4096', 'blocksize-maximum=1M'],
      'blocksize-error-policy=error',
    ]),
  'qemu-nbd': (folder, file) =>
    behindSocket(folder, 'qemu', '', (socket) => [
      ...['qemu-nbd', '--persistent', '--shared=0', '--format=raw', '--discard=unmap'],
      ...[`--socket=${socket}`, file],
    ]),
  'nbdkit behind TLS': (folder, file) => {
    const authority = new TestAuthority(join(folder, 'pki'));
    const certificates = authority.issue('server', 'server', '/CN=localhost');
    const mine = authority.issue('client', 'client', '/CN=dmiod');
    const tls = ['--tls=require', `--tls-certificates=${certificates}`, '--tls-verify-peer'];
    return behindSocket(
      folder,
      'nbdkit-tls',
      '',
      (socket) => ['nbdkit', '-f', '-U', socket, ...tls, 'file', file],
      `&tls-certificates=${mine}`,
    );
  },
  'qemu-nbd behind a pre-shared key': (folder, file) => {
    const keys = join(folder, 'keys.psk');
    writeFileSync(keys, `carol:${'0123456789abcdef'.repeat(4)}\n`);
    return behindSocket(
      folder,
      'qemu-tls',
      '',
      (socket) => [
        ...['qemu-nbd', '--persistent', '--shared=0', '--format=raw', '--discard=unmap'],
        ...[`--object=tls-creds-psk,id=tls,endpoint=server,dir=${folder}`, '--tls-creds=tls'],
        ...[`--socket=${socket}`, file],
      ],
      `&tls-psk-file=${keys}`,
      'carol@',
    );
  },
  'nbd-server': (folder, file) => nbdServer(folder, file, ['flush', 'fua', 'trim']),
  'nbd-server with no more than FLUSH': (folder, file) => nbdServer(folder, file, ['flush']),
  dmiod: (folder, file) =>
    behindSocket(folder, 'dmiod', 'data', (socket) => [
      ...[process.execPath, DMIO, 'serve', '--linear', file, '--socket', socket],
      ...['--engine', 'node'],
    ]),
};

async function behindSocket(
  folder: string,
  name: string,
  exportName: string,
  argv: (socket: string) => readonly string[],
  query = '',
  user = '',
): Promise<FileServer> {
  const socket = join(folder, `${name}.sock`);
  const [command = '', ...args] = argv(socket);
  const server = await new SocketServer(folder, socket, command, ...args).start();
  const scheme = query === '' ? 'nbd' : 'nbds';
  const uri = `${scheme}+unix://${user}/${exportName}?socket=${socket}${query}`;
  return { uri, stop: () => server.kill() };
}

/** It makes itself a daemon: its -d serves one connection and ends. */
async function nbdServer(
  folder: string,
  file: string,
  features: readonly string[],
): Promise<FileServer> {
  const port = await freePort();
  const [config, pid] = [join(folder, `nbd-${port}.conf`), join(folder, `nbd-${port}.pid`)];
  const generic = ['[generic]', 'listenaddr = 127.0.0.1', `port = ${port}`];
  const device = ['[data]', `exportname = ${file}`, ...features.map((one) => `${one} = true`)];
  writeFileSync(config, [...generic, ...device, ''].join('\n'));
  run(folder, 'nbd-server', '-C', config, '-p', pid);
  await until(() => existsSync(pid) && readFileSync(pid, 'utf8').trim() !== '', 'nbd-server');
  const id = Number(readFileSync(pid, 'utf8'));
  return {
    uri: `nbd://127.0.0.1:${port}/data`,
    stop: async () => {
      process.kill(id, 'SIGTERM');
      await until(() => !existsSync(`/proc/${id}`), 'the end of nbd-server');
    },
  };
}

/** Zeros, whoever has it open. */
export function blank(file: string, sizeBytes: number): void {
  writeFileSync(file, '', { flag: 'a' });
  truncateSync(file, 0);
  truncateSync(file, sizeBytes);
}

function isListening(path: string): Promise<boolean> {
  return new Promise((done) => {
    const socket = connect(path, () => {
      socket.destroy();
      done(true);
    });
    socket.on('error', () => done(false));
  });
}

function freePort(): Promise<number> {
  return new Promise((done) => {
    const server = createServer().listen(0, '127.0.0.1', () => {
      const address = server.address();
      const port = typeof address === 'object' && address !== null ? address.port : 0;
      server.close(() => done(port));
    });
  });
}

async function until(isReady: () => boolean, what: string): Promise<void> {
  const end = Date.now() + START_LIMIT_MS;
  while (!isReady()) {
    if (Date.now() > end) throw new Error(`${what}: not ready`);
    await sleep(10);
  }
}
