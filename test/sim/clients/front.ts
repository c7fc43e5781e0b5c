// Clients on simulated connections: NBD between the model's requests and the mirror.
import type { Prng } from '../../../core/base/prng.ts';
import { Prng as Generator } from '../../../core/base/prng.ts';
import type { Bio } from '../../../core/block/bio.ts';
import type { SimClock } from '../clock.ts';
import type { Daemon } from '../daemon.ts';
import type { ClientOp } from '../op.ts';
import type { World } from '../world.ts';
import { SimClient, type ClientMix } from './client.ts';
import { Host } from './host.ts';
import type { HostConnection } from './host-connection.ts';
import type { ClientLink, Wish } from './link.ts';
import type { Rogue } from './rogue.ts';
import { disturb } from './trouble.ts';

/** What a seed has of clients. */
export interface ClientsMix {
  readonly clients: readonly ClientMix[];
  readonly arenaBytes: number;
  /** Ranges are of sectors where blocks are larger. */
  readonly isUnaligned: boolean;
  /** READs of any bytes. */
  readonly byteReads: boolean;
  /** One action in so many does something to a connection, or asks what is no model's; 0: never. */
  readonly troubleEvery: number;
}

/** An attempt whose connection its client has lost: it may still happen, until the daemon is done with it. */
interface Orphan {
  readonly op: ClientOp;
  readonly connection: HostConnection;
  readonly endsAt: number;
}

/** Of an arena where some is set aside, so much is not to be had in time. */
const MUCH = 16;

/**
 * All clients, and the daemon's end of their connections. Every request of the model is an attempt on
 * one connection; a lost attempt stays in the model as a write under way until its connection is over at
 * the daemon, and the client's next attempt is another write, with a tag of its own: so it shows which
 * of the two has happened, and when.
 */
export class Front {
  readonly mix: ClientsMix;
  readonly clock: SimClock;
  readonly prng: Prng;
  readonly sizeBytes: number;
  readonly clients: readonly SimClient[];
  readonly links: readonly ClientLink[];
  /** What the running daemon has; null: none runs. */
  host: Host | null = null;
  isShuttingDown = false;
  /** Until then some connection that does nothing wrong was held up by the network. */
  troubledUntilMs = 0;
  /** On which an answer has just come. */
  answering: ClientLink | null = null;
  readonly rogues = new Set<Rogue>();
  private readonly world: World;
  private readonly arena: Uint8Array;
  private orphans: Orphan[] = [];

  constructor(world: World, mix: ClientsMix) {
    const { seed, sectors } = world.options;
    this.world = world;
    this.mix = mix;
    this.clock = world.clock;
    this.prng = new Generator(seed + 2 ** 52 + 2 ** 22);
    this.sizeBytes = sectors * 512;
    this.arena = new Uint8Array(mix.arenaBytes);
    this.clients = mix.clients.map((wants, i) => new SimClient(this, i, wants));
    this.links = this.clients.flatMap(({ links }) => links);
  }

  say(line: () => string): void {
    this.world.say(() => `nbd: ${line()}`);
  }

  // --- what the world does

  /** A client calls: it sends as soon as it can. */
  call(op: ClientOp, bio: Bio): void {
    this.prng.pick(this.clients).want({ op, bio, isSlow: false });
  }

  /** A daemon runs from now on. */
  serve(daemon: Daemon): void {
    this.host = new Host(daemon, this.arena, this.clock, this.prng);
    this.isShuttingDown = false;
    this.world.issuers = [];
    for (const { client, link } of this.eachLink()) client.reconnect(link);
  }

  /** After each event. */
  tick(): void {
    this.host?.tick();
    this.noteBarred();
    if (this.orphans.length === 0) return;
    const over = this.orphans.filter(({ connection }) => connection.isOver);
    if (over.length === 0) return;
    this.orphans = this.orphans.filter(({ connection }) => !connection.isOver);
    for (const { op, connection, endsAt } of over) {
      if (endsAt > connection.fedBytes) this.world.neverDone(op);
      else this.world.leftAlone(op);
    }
  }

  /** Whatever held up the answer that has just come, beside the daemon. */
  get heldUpUntilMs(): number {
    return Math.max(this.troubledUntilMs, this.answering?.barredUntilMs ?? 0);
  }

  /** Who asks for much waits where a stuck leg may still use some of the memory; only his connection does. */
  private noteBarred(): void {
    const { host } = this;
    if (host === null || host.arena.asideBytes === 0) return;
    const isMost = 2 * host.arena.asideBytes >= this.mix.arenaBytes;
    for (const link of this.links)
      if (isMost || link.hasAsked(this.mix.arenaBytes / MUCH))
        link.barredUntilMs = this.clock.nowMs();
  }

  /** The daemon is about to be killed: some of what it has sent arrives before. */
  crashing(): void {
    for (const { wire } of this.links) {
      const inside = wire?.toClient.inside ?? 0;
      if (inside > 0 && this.prng.ratio(1, 2))
        wire?.toClient.deliverNow(this.prng.between(1, inside));
    }
  }

  /** It is dead, and so are all connections. Clients ask again when there is another. */
  crashed(): void {
    this.end();
    const wishes = this.clients.map((client) => [
      ...client.queue.splice(0),
      ...client.links.flatMap(({ openWishes }) => openWishes),
    ]);
    for (const { link } of this.eachLink()) link.forget();
    for (const [i, client] of this.clients.entries())
      for (const wish of wishes[i] ?? []) client.askAgain(wish, wish.isSlow);
  }

  /** SIGTERM. */
  shutDown(): void {
    this.isShuttingDown = true;
    this.host?.shutDown();
  }

  /** It has stopped: whoever was answered nothing, or ESHUTDOWN, asks the next one. */
  stopped(): void {
    this.end();
    for (const { link } of this.eachLink()) link.forget();
  }

  /** Nobody misbehaves any more. */
  heal(): void {
    for (const rogue of this.rogues) rogue.leave();
    this.rogues.clear();
  }

  /** Trouble of a connection, or a request that no model has to know; returns which, for the trace. */
  act(prng: Prng): string {
    return disturb(this, this.world, prng);
  }

  /** No daemon runs that could answer it. */
  mayWait(op: ClientOp): boolean {
    if (this.host !== null && !this.isShuttingDown) return false;
    return this.clients.some(({ queue }) => queue.some((wish) => wish.op === op));
  }

  // --- what clients do

  connected({ issuer }: HostConnection): void {
    this.world.issuers = [...this.world.issuers, issuer];
  }

  /** What it was owed nobody can be told any more. */
  disconnected({ issuer }: HostConnection): void {
    this.world.issuers = this.world.issuers.filter((one) => one !== issuer);
    this.world.owing.delete(issuer);
  }

  orphaned(op: ClientOp, connection: HostConnection, endsAt: number): void {
    this.orphans.push({ op, connection, endsAt });
  }

  /** The next attempt. */
  again(op: ClientOp): Pick<Wish, 'op' | 'bio'> {
    return this.world.again(op);
  }

  neverDone(op: ClientOp): void {
    this.world.neverDone(op);
  }

  private end(): void {
    this.host = null;
    this.orphans = [];
    this.rogues.clear();
    this.troubledUntilMs = 0;
  }

  private *eachLink(): Iterable<{ client: SimClient; link: ClientLink }> {
    for (const client of this.clients) for (const link of client.links) yield { client, link };
  }
}
