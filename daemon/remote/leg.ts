/** A leg that another server serves: opened, held, closed here; its data moves here or in a thread. */
import { realpathSync } from 'node:fs';
import { Socket } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';

import { assert } from '../../core/base/assert.ts';
import type { Clock, Log } from '../../core/base/ports.ts';
import type { Bio } from '../../core/block/bio.ts';
import type { BlockDevice } from '../../core/block/device.ts';
import type { QueueLimits } from '../../core/block/limits.ts';
import type { Loop } from '../../core/block/loop.ts';
import type { ZeroQuery } from '../../core/block/run.ts';
import type { ServerFacts } from '../../core/nbd/client-handshake.ts';
import { COMMAND, SIZE, TRANSMISSION_FLAG } from '../../core/nbd/proto.ts';
import { exportKey, parseNbdUri, type NbdUri } from '../../core/nbd/uri.ts';
import { RequestHeader, writeRequest } from '../../core/nbd/wire.ts';
import { RemoteDevice } from '../../core/remote/device.ts';
import { has, unfitness } from '../../core/remote/facts.ts';
import { RemoteLink } from '../../core/remote/link.ts';
import { RemoteReport } from '../../core/remote/report.ts';
import type { Remembered } from '../../core/remote/witness.ts';
import { OpenError } from '../fsio/open-error.ts';
import type { Fate } from '../tls/tunnel.ts';
import { connect, ConnectError, type Connected } from './connect.ts';
import { connectTimeoutMs, Dialer, type LinkUser } from './dialer.ts';
import { drained, fence, unfencedOf, type Remains } from './fence.ts';
import { NodeLink } from './node-link.ts';
import type { RemoteSocket } from './socket.ts';

export interface OpenRemoteOptions {
  readonly loop: Loop;
  readonly clock: Clock;
  readonly log: Log;
  readonly readOnly: boolean;
  /** What an earlier opening of the export knew of it. */
  readonly remembered?: readonly Remembered[];
  /** It has been shown not to hold that. */
  readonly isOther?: boolean;
}

/** A closed connection has this long to be acknowledged; what takes longer is seen to in the background. */
const CLOSE_MS = 2000;
/** How often a leg looks whether its own FLUSH has been answered. */
const SETTLE_MS = 5;

/** Exports that legs of this process hold: key -> the leg's name. There are no locks across NBD. */
let openings = 0;

const heldExports = new Map<string, string>();

/**
 * Connects to the export a URI names. What is refused leaves nothing behind.
 * @throws OpenError one sentence that names the URI
 */
export async function openRemoteLeg(text: string, options: OpenRemoteOptions): Promise<RemoteLeg> {
  const uri = parseNbdUri(text);
  if (typeof uri === 'string') throw new OpenError('uri', `${text}: ${uri}`);
  const key = keyOf(uri);
  refuseHeld(text, [key]);
  const old = unfencedOf(key);
  if (old > 0) {
    const connections = `${old} earlier connection${old === 1 ? '' : 's'}`;
    throw new OpenError(
      'busy',
      `${text} is in use: its server has not closed ${connections}, on which writes may be under way`,
    );
  }
  const made = await connectTo(text, uri);
  try {
    const why = unfitness(made.facts, options.readOnly);
    if (why !== undefined) {
      throw new OpenError(why === 'is read-only' ? 'read-only' : 'size', `${text} ${why}`);
    }
    const keys = [key, peerKey(made)].filter((each) => each !== undefined);
    refuseHeld(text, keys);
    for (const each of keys) heldExports.set(each, text);
    const leg = new RemoteLeg(text, uri, keys, made, options);
    await leg.settled();
    if (!leg.isStale) return leg;
    // It is opened all the same, as one of which nothing is known.
    options.log.warn({ leg: text }, 'the remote leg does not hold what it held when it was let go');
    await leg.close();
    const endMs = performance.now() + CLOSE_MS;
    while (unfencedOf(key) > 0 && performance.now() < endMs) await sleep(SETTLE_MS);
    return await openRemoteLeg(text, { ...options, remembered: [], isOther: true });
  } catch (error) {
    made.socket.destroy();
    throw error;
  }
}

/**
 * Refuses two URIs of one export, as far as words can tell.
 * @throws OpenError naming both
 */
export function checkDistinctExports(names: readonly string[]): void {
  const seen = new Map<string, string>();
  for (const name of names) {
    const uri = parseNbdUri(name);
    if (typeof uri === 'string') continue;
    const key = keyOf(uri);
    const twin = seen.get(key);
    if (twin !== undefined) {
      throw new OpenError('same-file', `${twin} and ${name} are the same export`);
    }
    seen.set(key, name);
  }
}

/** A socket's links and dots are not part of what it is. */
function keyOf(uri: NbdUri): string {
  const { address } = uri;
  if (address.kind !== 'unix') return exportKey(uri);
  try {
    return exportKey({ ...uri, address: { kind: 'unix', path: realpathSync(address.path) } });
  } catch {
    return exportKey(uri);
  }
}

/** A server answers there now, and has the export. */
export async function isExportThere(text: string): Promise<boolean> {
  const uri = parseNbdUri(text);
  if (typeof uri === 'string') return false;
  try {
    const { socket } = await connect(uri, connectTimeoutMs(uri)).connected;
    socket.destroy();
    return true;
  } catch {
    return false;
  }
}

/** By what the connection says: two names of one host, an export and the default that it is. */
function peerKey({ socket, facts }: Connected): string | undefined {
  const peer = socket.peer();
  return peer === undefined ? undefined : `peer:${peer}/${facts.canonicalName}`;
}

function refuseHeld(text: string, keys: readonly string[]): void {
  for (const key of keys) {
    const holder = heldExports.get(key);
    if (holder === undefined) continue;
    const as = holder === text ? '' : ` as ${holder}`;
    throw new OpenError('busy', `${text} is already open in this process${as}`);
  }
}

async function connectTo(text: string, uri: NbdUri): Promise<Connected> {
  try {
    return await connect(uri, connectTimeoutMs(uri)).connected;
  } catch (error) {
    if (!(error instanceof ConnectError)) throw error;
    const code = error.isAbsence ? 'missing' : 'not-a-device';
    throw new OpenError(code, `${text} cannot be used: ${error.message}`);
  }
}

/** What a thread of its own needs to make the device there. */
export interface RemotePlan {
  /** Of this opening of the leg, in this process. */
  readonly id: number;
  readonly facts: ServerFacts;
  readonly timeoutMs: number;
  readonly links: number;
  readonly readOnly: boolean;
  readonly remembered: readonly Remembered[];
}

/** The thread that takes a leg's connections over. */
export interface LinkTaker {
  /**
   * `socket` is the taker's; it answers the descriptor that the thread uses from now on, which stays
   * ours to close. Undefined: the connection is closed already.
   */
  take(slot: number, socket: RemoteSocket, facts: ServerFacts): number | undefined;
  fenced(slot: number): void;
  refused(why: string): void;
}

/** A connection in use in a thread: its descriptor, which is ours to close. */
interface Away {
  readonly fd: number;
  /** Behind TLS. */
  readonly fate: Promise<Fate> | null;
}

export class RemoteLeg implements BlockDevice {
  readonly name: string;
  readonly sectors: number;
  readonly limits: QueueLimits;
  readonly loop: Loop;
  readonly plan: RemotePlan;
  private readonly keys: readonly string[];
  private readonly dialer: Dialer;
  private readonly device: RemoteDevice;
  /** By slot, of connections in use here. */
  private readonly local = new Map<number, NodeLink>();
  /** By slot, connections in use in a thread. */
  private readonly away = new Map<number, Away>();
  private taker: LinkTaker | null = null;
  private readonly isOther: boolean;

  constructor(
    name: string,
    uri: NbdUri,
    keys: readonly string[],
    made: Connected,
    options: OpenRemoteOptions,
  ) {
    const { facts } = made;
    const { loop, clock, log, readOnly } = options;
    const isMany = has(facts, TRANSMISSION_FLAG.CAN_MULTI_CONN);
    const links = isMany ? uri.connections : 1;
    this.name = name;
    this.keys = keys;
    this.loop = loop;
    openings += 1;
    const { remembered = [], isOther = false } = options;
    this.isOther = isOther;
    this.plan = { id: openings, facts, timeoutMs: uri.timeoutMs, links, readOnly, remembered };
    const key = keys[0] ?? name;
    this.dialer = new Dialer({ uri, name, key, facts, readOnly, log }, this.localUser());
    this.device = new RemoteDevice({
      ...this.plan,
      name,
      loop,
      clock,
      report: new RemoteReport(name, log),
      host: {
        connect: (slot) => this.dialer.connect(slot),
        fence: (link) => this.fenceLocal(link),
      },
    });
    this.sectors = this.device.sectors;
    this.limits = this.device.limits;
    this.connectedHere(0, made.socket, facts);
    for (let slot = 1; slot < links; slot += 1) this.dialer.connect(slot);
  }

  /** Equal for two openings if, as far as NBD can tell, they are of one export. */
  get identity(): string {
    const { sizeBytes, canonicalName } = this.plan.facts;
    return `${this.keys[0] ?? ''}:${sizeBytes}:${canonicalName}`;
  }

  /** It holds what it was remembered to, as far as anything was. */
  get isAsItWas(): boolean {
    return !this.isOther && !this.device.isStale;
  }

  /** For who opens it again; nothing is in flight. */
  remember(): readonly Remembered[] {
    return this.device.remember();
  }

  get isStale(): boolean {
    return this.device.isStale;
  }

  get inFlight(): number {
    return this.device.inFlight;
  }

  submit(bio: Bio): void {
    assert(this.taker === null, 'a bio for a leg that a thread has');
    this.device.submit(bio);
  }

  askZeroes(query: ZeroQuery): void {
    assert(this.taker === null, 'a question for a leg that a thread has');
    this.device.askZeroes(query);
  }

  /** From now on a thread moves the data. Nothing may be in flight. */
  handTo(taker: LinkTaker): void {
    this.taker = taker;
    this.dialer.user = {
      connected: (slot, socket, facts) => {
        const fd = taker.take(slot, socket, facts);
        if (fd === undefined) this.dialer.connect(slot);
        else this.away.set(slot, { fd, fate: socket.fate });
      },
      refused: (why) => taker.refused(why),
    };
    for (const [slot, node] of this.local) void this.handOver(slot, node);
  }

  /** A connection that is looked at, or asked for a flush, goes when it has been answered. */
  private async handOver(slot: number, node: NodeLink): Promise<void> {
    while (node.isBusy) await sleep(SETTLE_MS);
    // Lost meanwhile: `fenceLocal` has it.
    if (node.link.isLost || this.local.get(slot) !== node) return;
    this.local.delete(slot);
    this.dialer.user.connected(slot, node.take(), this.plan.facts);
  }

  /** The thread wants a connection. */
  connectAway(slot: number): void {
    this.dialer.connect(slot);
  }

  /** The thread has let go of a connection; `fd` is ours again. */
  fenceAway(slot: number, isOver: boolean): void {
    const away = this.away.get(slot);
    assert(away !== undefined, 'a connection was given back twice');
    this.away.delete(slot);
    const socket = new Socket({ fd: away.fd, allowHalfOpen: true });
    if (isOver) socket.destroy();
    this.dialer.fence(isOver ? 'closed by the server' : socket, away.fate, () =>
      this.taker?.fenced(slot),
    );
  }

  /**
   * Nothing that the device asks by itself is under way: a FLUSH when it has connected, or after a loss. Its
   * time-out ends it. With a thread the device there sees to that.
   */
  async settled(): Promise<void> {
    while ([...this.local.values()].some(({ isBusy }) => isBusy)) await sleep(SETTLE_MS);
  }

  /** Only while nothing of its owner is in flight. What the server holds unflushed is its owner's to flush. */
  async close(): Promise<void> {
    this.dialer.close();
    await this.settled();
    for (const key of this.keys) heldExports.delete(key);
    const ends: Promise<void>[] = [];
    for (const node of this.local.values()) {
      if (!node.link.isLost) ends.push(this.disconnect(node.take().detach(), node.fate));
    }
    for (const { fd, fate } of this.away.values()) {
      ends.push(this.disconnect(new Socket({ fd, allowHalfOpen: true }), fate));
    }
    this.local.clear();
    this.away.clear();
    await Promise.all(ends);
  }

  /** Nothing was made that could be removed. */
  abandon(): Promise<void> {
    return this.close();
  }

  /** "NBD_CMD_DISC", then the end; a server that is slow about it is waited for elsewhere. */
  private async disconnect(socket: Socket, fate: Promise<Fate> | null): Promise<void> {
    const header = new RequestHeader();
    header.type = COMMAND.DISC;
    const bytes = new Uint8Array(SIZE.REQUEST);
    writeRequest(new DataView(bytes.buffer), 0, header);
    socket.on('error', () => socket.destroy());
    socket.write(bytes);
    const gone = drained(socket);
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<'late'>((done) => {
      timer = setTimeout(() => done('late'), CLOSE_MS);
    });
    if ((await Promise.race([gone, late])) === 'late') {
      void fence(this.keys[0] ?? this.name, socket, fate);
    }
    clearTimeout(timer);
  }

  private localUser(): LinkUser {
    return {
      connected: (slot, socket, facts) => this.connectedHere(slot, socket, facts),
      refused: (why) => this.device.refused(why),
    };
  }

  private connectedHere(slot: number, socket: RemoteSocket, facts: ServerFacts): void {
    const { isStructured, allocationId = null } = facts;
    const link = new RemoteLink(slot, this.device, isStructured, allocationId);
    this.local.set(slot, new NodeLink(socket, link));
    this.device.connected(link);
  }

  private fenceLocal(link: RemoteLink): void {
    const node = this.local.get(link.slot);
    assert(node?.link === link, 'a link of nobody was lost');
    this.local.delete(link.slot);
    const remains: Remains = node.remains;
    this.dialer.fence(remains, node.fate, () => {
      // Handed over meanwhile: the thread has never heard of this connection.
      if (this.taker === null) this.device.fenced(link.slot);
      else this.dialer.connect(link.slot);
    });
  }
}
