import type { Prng } from '../../../core/base/prng.ts';
import type { SimClock } from '../clock.ts';

/** How an end is learnt of: the other side closed or reset it, or the network gave up. */
export type ConnectionEnd = 'by the other side' | 'out of sight';

/** One end of a connection. */
export interface Endpoint {
  received(bytes: Uint8Array): void;
  ended(how: ConnectionEnd): void;
}

const NOBODY: Endpoint = { received: () => undefined, ended: () => undefined };

/** Longest way of a segment, in microseconds. */
const WAY_US = 200;

/** One direction: bytes arrive in order, in pieces, as late as the network likes. */
class Way {
  to: Endpoint = NOBODY;
  isClosed = false;
  private readonly clock: SimClock;
  private readonly prng: Prng;
  private readonly line: (() => void)[] = [];
  private lastUs = 0;
  private nowhereBefore = 0;

  constructor(clock: SimClock, prng: Prng) {
    this.clock = clock;
    this.prng = prng;
  }

  send(bytes: Uint8Array): void {
    if (this.isClosed || bytes.length === 0) return;
    const { prng } = this;
    const isCut = bytes.length > 1 && prng.ratio(1, 4);
    const first = isCut ? 1 + prng.below(bytes.length - 1) : bytes.length;
    this.arrive(() => this.to.received(bytes.subarray(0, first)));
    if (first < bytes.length) this.arrive(() => this.to.received(bytes.subarray(first)));
  }

  /** Behind all that was sent. */
  end(how: ConnectionEnd): void {
    if (this.isClosed) return;
    this.isClosed = true;
    this.arrive(() => this.to.ended(how));
  }

  /** Nothing arrives for so long; then all of it. */
  stall(us: number): void {
    this.nowhereBefore = Math.max(this.nowhereBefore, this.clock.nowMs() * 1000 + us);
  }

  private arrive(what: () => void): void {
    const nowUs = this.clock.nowMs() * 1000;
    const earliest = Math.max(nowUs + 1 + this.prng.below(WAY_US), this.nowhereBefore, this.lastUs);
    this.lastUs = earliest;
    // In order whatever the clock rounds: each event brings what is first in line.
    this.line.push(what);
    this.clock.in(earliest - nowUs, () => this.line.shift()?.());
  }
}

/** A connection of a client with a server, and what a network can do to it. */
export class Connection {
  readonly toServer: Way;
  readonly toClient: Way;
  private readonly clock: SimClock;
  private readonly prng: Prng;

  constructor(clock: SimClock, prng: Prng) {
    this.clock = clock;
    this.prng = prng;
    this.toServer = new Way(clock, prng);
    this.toClient = new Way(clock, prng);
  }

  /** Both directions wait. */
  stall(us: number): void {
    this.toServer.stall(us);
    this.toClient.stall(us);
  }

  /**
   * The client's machine gives the connection up; what is on its way to the server arrives all the
   * same, and the server learns of the end long after.
   */
  loseSight(): void {
    this.toClient.isClosed = true;
    const { to } = this.toClient;
    this.toClient.to = NOBODY;
    this.clock.in(1, () => to.ended('out of sight'));
    this.toServer.stall(this.prng.below(5_000_000));
    this.toServer.end('out of sight');
  }

  /** The server's side is gone: what it had sent may arrive, what is on its way to it never does. */
  serverGone(): void {
    this.toServer.to = NOBODY;
    this.toServer.isClosed = true;
    this.toClient.end('by the other side');
  }
}
