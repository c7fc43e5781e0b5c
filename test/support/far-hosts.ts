// Hosts in network namespaces: one where the daemon runs, and others each at the end of a cable of its
// own. Cables are pulled, packets lost, machines switched off. Nothing of the machine's own network is
// touched, so addresses and ports are fixed.
import { spawn, spawnSync, type ChildProcess } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';

import { ENVIRONMENT } from './run.ts';

const START_LIMIT_MS = 60_000;
const LISTENING = '0A';

function sh(...argv: readonly string[]): void {
  const [command = '', ...args] = argv;
  const { status, stderr, error } = spawnSync(command, args, {
    encoding: 'utf8',
    env: ENVIRONMENT,
  });
  if (status === 0) return;
  const why = error?.message ?? stderr.trim();
  throw new Error(
    `hosts in network namespaces need root and a kernel that has them: ${argv.join(' ')}: ${why}`,
  );
}

/** The daemon's host, and the cables to all others. */
export class FarNetwork {
  private readonly prefix = `dmiod-${process.pid.toString(36)}`;
  private readonly hosts: FarHost[] = [];

  /** @throws Error with one line when the machine cannot have namespaces */
  constructor() {
    sh('ip', 'netns', 'add', this.home);
    sh('ip', '-n', this.home, 'link', 'set', 'lo', 'up');
  }

  get home(): string {
    return `${this.prefix}-home`;
  }

  /** What runs a program on the daemon's host. */
  get inHome(): readonly string[] {
    return ['ip', 'netns', 'exec', this.home];
  }

  addHost(): FarHost {
    const place = this.hosts.length + 1;
    const host = new FarHost(this.home, `${this.prefix}-${place}`, place);
    this.hosts.push(host);
    return host;
  }

  async close(): Promise<void> {
    for (const host of this.hosts) await host.close();
    sh('ip', 'netns', 'del', this.home);
  }
}

export class FarHost {
  readonly address: string;
  private readonly home: string;
  private readonly name: string;
  private readonly cable: string;
  private readonly servers: FarServer[] = [];

  constructor(home: string, name: string, place: number) {
    this.home = home;
    this.name = name;
    this.address = `10.77.${place}.2`;
    this.cable = `far${place}`;
    sh('ip', 'netns', 'add', name);
    sh(
      ...['ip', '-n', home, 'link', 'add', this.cable, 'type', 'veth'],
      ...['peer', 'name', 'eth0', 'netns', name],
    );
    sh('ip', '-n', home, 'addr', 'add', `10.77.${place}.1/24`, 'dev', this.cable);
    sh('ip', '-n', name, 'addr', 'add', `${this.address}/24`, 'dev', 'eth0');
    sh('ip', '-n', name, 'link', 'set', 'lo', 'up');
    sh('ip', '-n', name, 'link', 'set', 'eth0', 'up');
    sh('ip', '-n', home, 'link', 'set', this.cable, 'up');
    for (const end of this.cableEnds('qdisc', 'add')) sh('tc', ...end, 'clsact');
  }

  /** A server on this host; the URI of its export. */
  server(port: number, folder: string, ...argv: readonly string[]): FarServer {
    const inside = ['ip', 'netns', 'exec', this.name, ...argv];
    const server = new FarServer(`nbd://${this.address}:${port}`, port, folder, inside);
    this.servers.push(server);
    return server;
  }

  /** No carrier at either end. */
  pullCable(): void {
    sh('ip', '-n', this.name, 'link', 'set', 'eth0', 'down');
  }

  plugIn(): void {
    sh('ip', '-n', this.name, 'link', 'set', 'eth0', 'up');
  }

  /**
   * So many packets of IP are lost on the cable, at random, both ways; 1: all, and nobody is told. A
   * classic BPF program: this needs neither netem, which kernels may lack, nor iptables.
   */
  lose(share: number): void {
    const kept = Math.floor((1 - share) * 0xffffffff);
    // A = random; A > kept: drop (TC_ACT_SHOT), else go on (TC_ACT_OK).
    const program = `4,32 0 0 4294963256,37 1 0 ${kept},6 0 0 0,6 0 0 2,`;
    const all = '1,6 0 0 2,';
    for (const end of this.cableEnds('filter', 'add')) {
      const bytecode = share >= 1 ? all : program;
      sh('tc', ...end, 'ingress', 'protocol', 'ip', 'bpf', 'da', 'bytecode', bytecode);
    }
  }

  loseNothing(): void {
    for (const end of this.cableEnds('filter', 'del')) sh('tc', ...end, 'ingress');
  }

  /**
   * Lost where they arrive: who sends must not know. (A packet dropped on its way out is "local
   * congestion" to TCP, which then asks again twice a second and gives up after 15 times.)
   */
  private cableEnds(...verb: readonly string[]): readonly (readonly string[])[] {
    return [
      ['-n', this.home, ...verb, 'dev', this.cable],
      ['-n', this.name, ...verb, 'dev', 'eth0'],
    ];
  }

  async close(): Promise<void> {
    for (const server of this.servers) await server.kill();
    sh('ip', 'netns', 'del', this.name);
  }
}

/** A program on a far host that listens on a port of TCP. */
export class FarServer {
  readonly uri: string;
  private child: ChildProcess | null = null;
  private readonly port: number;
  private readonly folder: string;
  private readonly argv: readonly string[];

  constructor(uri: string, port: number, folder: string, argv: readonly string[]) {
    this.uri = uri;
    this.port = port;
    this.folder = folder;
    this.argv = argv;
  }

  async start(): Promise<this> {
    const [command = '', ...args] = this.argv;
    const options = { cwd: this.folder, env: ENVIRONMENT, stdio: 'ignore' } as const;
    const child = spawn(command, args, options);
    this.child = child;
    const end = performance.now() + START_LIMIT_MS;
    while (!this.isListening(child.pid ?? 0)) {
      if (child.exitCode !== null || performance.now() > end) {
        throw new Error(`does not serve: ${this.argv.join(' ')}`);
      }
      await sleep(20);
    }
    return this;
  }

  async kill(): Promise<void> {
    const { child } = this;
    if (child === null || child.exitCode !== null || child.signalCode !== null) return;
    const gone = new Promise((done) => child.once('exit', done));
    child.kill('SIGKILL');
    await gone;
  }

  /** As its namespace tells: nobody outside can connect. */
  private isListening(pid: number): boolean {
    const port = this.port.toString(16).toUpperCase().padStart(4, '0');
    try {
      return readFileSync(`/proc/${pid}/net/tcp`, 'ascii')
        .split('\n')
        .some((line) => {
          const [, local = '', , state] = line.trim().split(/\s+/);
          return local.endsWith(`:${port}`) && state === LISTENING;
        });
    } catch {
      return false;
    }
  }
}
