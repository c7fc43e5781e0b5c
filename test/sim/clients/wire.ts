import type { Prng } from '../../../core/base/prng.ts';
import type { SimClock } from '../clock.ts';
import { Pipe, type Receiver } from './pipe.ts';

/** One end of a connection. */
export interface Peer extends Receiver {
  /** The connection is no more: reset, or given up by the network. */
  lost(): void;
}

const GONE: Peer = {
  received: (bytes) => bytes.length,
  inputEnded: () => undefined,
  lost: () => undefined,
};

/** Bytes that sockets and line hold, for each direction. */
const CAPACITIES = [600, 5000, 70_000] as const;
/** How much later than one side the other learns that it talks to nobody. */
const BLIND_MS = [1, 50, 1000, 8000] as const;

/** A connection of a client with the daemon, and what a network can do to it. */
export class SimWire {
  readonly toServer: Pipe;
  readonly toClient: Pipe;
  isLost = false;
  private client: Peer = GONE;
  private server: Peer = GONE;
  private readonly clock: SimClock;
  private readonly prng: Prng;

  constructor(clock: SimClock, prng: Prng) {
    this.clock = clock;
    this.prng = prng;
    this.toServer = new Pipe(clock, prng, prng.pick(CAPACITIES));
    this.toClient = new Pipe(clock, prng, prng.pick(CAPACITIES));
    for (const pipe of [this.toServer, this.toClient]) {
      pipe.onCut = (): void => {
        // One side may have given it up before.
        pipe.stop();
        this.reset();
      };
    }
  }

  set clientEnd(peer: Peer) {
    this.client = peer;
    this.toClient.to = peer;
  }

  set serverEnd(peer: Peer) {
    this.server = peer;
    this.toServer.to = peer;
  }

  /** Both sides learn of it a moment later; what was on its way is gone. */
  reset(): void {
    if (this.isLost) return;
    this.isLost = true;
    this.toServer.stop();
    this.toClient.stop();
    const { client, server, clock, prng } = this;
    clock.in(prng.below(50), () => server.lost());
    clock.in(prng.below(50), () => client.lost());
  }

  /** Reset as soon as so many more bytes have come out: in a header, in a payload, between. */
  resetAfter(direction: 'to the server' | 'to the client', bytes: number): void {
    (direction === 'to the server' ? this.toServer : this.toClient).cutAfter(bytes);
  }

  /**
   * The client has given it up and nobody tells the server: what was sent arrives all the same, some
   * of it late, and replies go nowhere, until the server's socket runs full or its kernel gives up.
   */
  loseClient(): number {
    if (this.isLost) return 0;
    this.isLost = true;
    const { client, server, clock, prng } = this;
    this.client = GONE;
    this.toClient.to = { ...GONE, received: () => 0 };
    const ms = prng.pick(BLIND_MS);
    this.toServer.stall(1000 * prng.below(ms + 1));
    clock.in(1, () => client.lost());
    clock.in(1000 * ms, () => {
      this.toServer.stop();
      this.toClient.stop();
      server.lost();
    });
    return ms;
  }

  /** The other way round: the server's side is gone at once, and its client waits in vain for a while. */
  loseServer(): number {
    if (this.isLost) return 0;
    this.isLost = true;
    const { client, server, clock, prng } = this;
    this.server = GONE;
    this.toServer.stop();
    this.toClient.stop();
    const ms = prng.pick(BLIND_MS);
    clock.in(1, () => server.lost());
    clock.in(1000 * ms, () => client.lost());
    return ms;
  }

  stall(us: number): void {
    this.toServer.stall(us);
    this.toClient.stall(us);
  }
}
