import { setTimeout as delay } from 'node:timers/promises';
import type { Readable, Writable } from 'node:stream';

import { assert } from '../../core/base/assert.ts';
import { SILENT_LOG, type Log } from '../../core/base/ports.ts';
import { Arena } from '../../core/block/arena.ts';
import type { Loop } from '../../core/block/loop.ts';
import type { Offer } from '../../core/export/offer.ts';
import type { ExportTable } from '../../core/export/export-table.ts';
import { LIMIT } from '../../core/nbd/proto.ts';
import { createNodeLoop } from '../node-loop.ts';
import { alignedMemory } from '../sys/aligned-memory.ts';
import { addressText, type ListenAddress } from './address.ts';
import { TLS_MODE } from '../../core/nbd/directory.ts';
import type { TlsTerminator } from '../tls/terminator.ts';
import { AccessPolicy } from './access.ts';
import { identityOf, limitKeyOf, STDIO_CLIENT, type ClientIdentity } from './client.ts';
import { DEFAULT_LIMITS, type ServerLimits } from './limits.ts';
import { listen, type Listener } from './listener.ts';
import { NodeConnection, stdioStreams, type ConnectionContext } from './node-stream.ts';

export interface NbdServerOptions {
  readonly exports: ExportTable;
  /** Tells sessions that the memory they waited for is theirs. Default: a loop of its own. */
  readonly loop?: Loop;
  readonly log?: Log;
  /** Memory for payloads of all connections, a power of two, 64 MiB (the default) to 1 GiB. */
  readonly arenaBytes?: number;
  /** What is not given is as in DEFAULT_LIMITS. */
  readonly limits?: Partial<ServerLimits>;
  /** Who may what, and whether TLS is offered. Default: everybody everything, in the clear. */
  readonly policy?: AccessPolicy;
  /** Needed by a policy with TLS. Closed with the server. */
  readonly tls?: TlsTerminator;
}

const DEFAULTS = {
  arenaBytes: 64 * 2 ** 20,
  drainMs: 5000,
} as const;

/** How often a draining server looks whether everyone has got their answers. */
const DRAIN_POLL_MS = 10;
/** Looks per stall time-out at who holds others up. */
const STALL_LOOKS = 4;

/** How clients of `listenFor` and `serve` that are the kernel's are named. */
const KERNEL_PEER = '/dev/nbd';

/** A client in transmission, for `status` and for those who ask whether an export is busy. */
export interface ConnectionInfo {
  readonly peer: string;
  readonly exportName: string;
  readonly connectedSinceMs: number;
}

type Defaulted = 'loop' | 'log' | 'arenaBytes';
type ServerOptions = NbdServerOptions & Required<Pick<NbdServerOptions, Defaulted>>;

/** Serves the exports of a table on any number of listeners. */
export class NbdServer {
  private readonly options: ServerOptions;
  private policy: AccessPolicy;
  /** Connections by client. */
  private readonly byClient = new Map<string, number>();
  private readonly context: ConnectionContext;
  private readonly listeners: Listener[] = [];
  private readonly connections = new Set<NodeConnection>();
  private limits: ServerLimits;
  private stallTimer: NodeJS.Timeout;
  /** What `activity` was at the last look, and for how many looks. */
  private readonly stalled = new Map<NodeConnection, { activity: number; looks: number }>();
  private closed: Promise<void> | undefined;

  constructor(options: NbdServerOptions) {
    this.options = { ...DEFAULTS, log: SILENT_LOG, loop: createNodeLoop(), ...options };
    const { arenaBytes, exports, log, loop } = this.options;
    this.limits = { ...DEFAULT_LIMITS, ...options.limits };
    this.policy = options.policy ?? new AccessPolicy();
    assert(
      this.policy.tls === TLS_MODE.OFF || options.tls !== undefined,
      'a policy with TLS on a server without',
    );
    // An unaligned 32 MiB request needs a little more than its payload, and slots are powers of two.
    assert(
      arenaBytes >= 2 * LIMIT.PAYLOAD_BYTES,
      'an arena below 64 MiB cannot serve all requests',
    );
    const arena = new Arena(alignedMemory(arenaBytes), loop);
    const arenaBuffer = Buffer.from(arena.bytes.buffer, arena.bytes.byteOffset, arenaBytes);
    this.context = {
      exports,
      arena,
      arenaBuffer,
      log,
      limitsNow: () => this.limits,
      rulesFor: (client) => this.policy.rulesFor(client),
      tls: options.tls,
      connectionEnded: (connection) => {
        this.connections.delete(connection);
        this.countClient(connection.identity, -1);
        this.stalled.delete(connection);
      },
    };
    this.stallTimer = this.watchForStalls();
  }

  private watchForStalls(): NodeJS.Timeout {
    return setInterval(() => this.dropStalled(), this.limits.stallTimeoutMs / STALL_LOOKS).unref();
  }

  /**
   * Returns the address as bound (port 0 becomes the port taken).
   * @throws ListenError one line that says why not
   */
  async listen(address: ListenAddress): Promise<ListenAddress> {
    assert(this.closed === undefined, 'a closed server was told to listen');
    const listener = await listen(address, (socket, peer) => {
      this.accept(socket, socket, peer, identityOf(socket));
    });
    this.listeners.push(listener);
    const on = addressText(listener.address);
    const socket = address.kind === 'fd' ? address.name : undefined;
    this.options.log.info({ address: on, ...(socket !== undefined && { socket }) }, 'listening');
    return listener.address;
  }

  /**
   * A unix socket for clients that are known beforehand: they are named `peer`, and `ended` is
   * told of each that goes. The caller closes it.
   * @throws ListenError
   */
  listenFor(path: string, peer: string, ended: () => void): Promise<Listener> {
    // Whom the daemon itself invites, no access rule turns away: who may attach, the control socket says.
    return listen({ kind: 'unix', path, mode: 0o600 }, (socket) => {
      void this.accept(socket, socket, peer, STDIO_CLIENT)?.ended.then(ended);
    });
  }

  /** Clients in transmission that were accepted under this name. */
  connectionsFrom(peer: string): number {
    let count = 0;
    for (const one of this.connections) {
      if (one.peer === peer && one.target !== undefined && !one.isClosing) count += 1;
    }
    return count;
  }

  /** Of the connections in transmission that a process of this machine made by a unix socket: the exports. */
  exportsOf(pid: number): readonly string[] {
    return [...this.connections].flatMap(({ identity, target, isClosing }) =>
      target !== undefined && !isClosing && identity.credentials?.pid === pid ? [target.name] : [],
    );
  }

  /** Serves one client on any pair of streams; fulfilled when it is gone. */
  serve(input: Readable, output: Writable, peer: string): Promise<void> {
    return this.accept(input, output, peer, STDIO_CLIENT)?.ended ?? Promise.resolve();
  }

  /** For options to come; what clients have chosen already they keep. */
  setPolicy(policy: AccessPolicy): void {
    this.policy = policy;
  }

  /** For clients to come; nobody who is served loses his place. */
  setLimits(limits: ServerLimits): void {
    this.limits = limits;
    clearInterval(this.stallTimer);
    if (this.closed === undefined) this.stallTimer = this.watchForStalls();
  }

  /** Serves one client on stdin and stdout; fulfilled when it is gone. */
  serveStdio(): Promise<void> {
    const { input, output } = stdioStreams();
    return this.serve(input, output, 'stdio');
  }

  /** Payload memory in use, all connections together. */
  get arenaUsedBytes(): number {
    return this.context.arena.usedBytes;
  }

  /** Clients in transmission on this export. */
  connectionsOf(one: Offer): readonly ConnectionInfo[] {
    return this.connectionsTo(one).map(({ peer, connectedSinceMs }) => ({
      peer,
      exportName: one.name,
      connectedSinceMs,
    }));
  }

  /**
   * Takes an export away: new clients do not find it, requests are answered ESHUTDOWN, those in
   * flight end (waited for at most `drainMs`), its connections close. False: there was none.
   */
  async removeExport(name: string, drainMs: number = DEFAULTS.drainMs): Promise<boolean> {
    const one = name === '' ? undefined : this.options.exports.find(name);
    if (one === undefined) return false;
    this.options.exports.remove(name);
    await this.drain(one.beginShutdown(), () => this.connectionsTo(one), drainMs);
    return true;
  }

  /** Ends everything: no new clients, ESHUTDOWN, drain for at most `drainMs`, then disconnect. */
  close(drainMs: number = DEFAULTS.drainMs): Promise<void> {
    this.closed ??= this.closeAll(drainMs);
    return this.closed;
  }

  private async closeAll(drainMs: number): Promise<void> {
    for (const listener of this.listeners) listener.close();
    clearInterval(this.stallTimer);
    const startMs = performance.now();
    for (const one of this.kernelConnections) one.standDown();
    while (this.kernelConnections.length > 0 && performance.now() - startMs < drainMs) {
      await delay(DRAIN_POLL_MS);
    }
    const idle = this.options.exports.beginShutdown();
    await this.drain(idle, () => [...this.connections], drainMs);
    await this.options.tls?.close();
  }

  /** Waits until the device has ended everything and clients have their answers; then hangs up. */
  private async drain(
    idle: Promise<void>,
    connections: () => readonly NodeConnection[],
    drainMs: number,
  ): Promise<void> {
    const deadlineMs = performance.now() + drainMs;
    await Promise.race([idle, delay(drainMs, undefined, { ref: false })]);
    while (connections().some(({ isQuiet }) => !isQuiet) && performance.now() < deadlineMs) {
      await delay(DRAIN_POLL_MS);
    }
    for (const connection of connections()) connection.close();
    while (connections().length > 0 && performance.now() < deadlineMs) await delay(DRAIN_POLL_MS);
    for (const connection of connections()) connection.drop('the server is shutting down');
  }

  private accept(
    input: Readable,
    output: Writable,
    peer: string,
    identity: ClientIdentity,
  ): NodeConnection | undefined {
    const { log } = this.options;
    const why = this.reasonToTurnAway(identity);
    if (why !== undefined) {
      log.warn({ peer, why }, 'client turned away');
      input.destroy();
      output.destroy();
      return undefined;
    }
    const connection = new NodeConnection(input, output, peer, identity, this.context);
    this.connections.add(connection);
    this.countClient(identity, 1);
    return connection;
  }

  /** Those of /dev/nbdN on this machine: an error there is an error of a file system. */
  private get kernelConnections(): readonly NodeConnection[] {
    return [...this.connections].filter(({ peer }) => peer.startsWith(KERNEL_PEER));
  }

  /**
   * Undefined: there is a place. Where there is none, whoever has been choosing an export for longest
   * gives up his: so a crowd that stands in the handshake keeps out nobody who knows what he wants.
   */
  private reasonToTurnAway(identity: ClientIdentity): string | undefined {
    const { maxConnections, maxConnectionsPerClient } = this.limits;
    if (this.closed !== undefined) return 'shutting down';
    const key = limitKeyOf(identity);
    const mine = this.byClient.get(key) ?? 0;
    if (mine >= maxConnectionsPerClient && !this.freePlace(key)) {
      return `${String(maxConnectionsPerClient)} connections of this client`;
    }
    if (this.connections.size < maxConnections || this.freePlace()) return undefined;
    return `${String(maxConnections)} clients`;
  }

  /** False: nobody (of this client) is in the handshake. */
  private freePlace(key?: string): boolean {
    // The oldest come first. Who was invited by the daemon itself is not in the way of others.
    for (const connection of this.connections) {
      const { identity, isNegotiating } = connection;
      if (!isNegotiating || identity.kind === 'stdio') continue;
      if (key !== undefined && limitKeyOf(identity) !== key) continue;
      connection.drop('its place was wanted, and it had chosen no export yet');
      return true;
    }
    return false;
  }

  private countClient(identity: ClientIdentity, change: number): void {
    const key = limitKeyOf(identity);
    const count = (this.byClient.get(key) ?? 0) + change;
    if (count > 0) this.byClient.set(key, count);
    else this.byClient.delete(key);
  }

  private connectionsTo(one: Offer): readonly NodeConnection[] {
    return [...this.connections].filter(({ target }) => target === one);
  }

  /** One after the other, until nobody waits any more: no more victims than it takes. */
  private dropStalled(): void {
    for (const connection of this.connections) {
      const before = this.stalled.get(connection);
      const { activity } = connection;
      const isScarce = this.context.arena.waiters > 0;
      if (!isScarce || !connection.isHoldingUp || before?.activity !== activity) {
        this.stalled.set(connection, { activity, looks: 0 });
      } else if (before.looks + 1 < STALL_LOOKS) {
        before.looks += 1;
      } else {
        connection.drop('it holds memory others wait for, and does not move');
      }
    }
  }
}
