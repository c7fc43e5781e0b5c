import type { Prng } from '../../../core/base/prng.ts';
import type { LinkTransport, PieceSink, RemoteLink } from '../../../core/remote/link.ts';
import type { SimClock } from '../clock.ts';
import type { Connection, ConnectionEnd, Endpoint } from './connection.ts';

/** What the client's kernel takes at once. */
const SOCKET_BYTES = 64 * 1024;

/** The client's end of a connection: carries the bytes of a core/remote link. */
export class SimLink implements LinkTransport, PieceSink, Endpoint {
  readonly link: RemoteLink;
  readonly connection: Connection;
  /** After it was lost: how the connection ended; null: it has not, as far as we know. */
  end: ConnectionEnd | null = null;
  /** Told of an end that comes after the link was lost. */
  onEnd: (() => void) | null = null;
  private readonly clock: SimClock;
  private readonly prng: Prng;
  private pieces: Uint8Array[] = [];
  private room = 0;
  /** A write is to come, or under way: one at a time. */
  private isScheduled = false;

  constructor(link: RemoteLink, connection: Connection, clock: SimClock, prng: Prng) {
    this.link = link;
    this.connection = connection;
    this.clock = clock;
    this.prng = prng;
    connection.toClient.to = this;
    link.attach(this);
  }

  sendSoon(): void {
    if (this.isScheduled) return;
    this.isScheduled = true;
    this.clock.in(this.prng.below(20), () => this.send());
  }

  sendNow(): void {
    this.sendSoon();
  }

  /** Memory is read now: what is sent later than this would show in the bytes. */
  piece(page: Uint8Array, offset: number, length: number): boolean {
    if (length > this.room) return false;
    this.room -= length;
    this.pieces.push(page.slice(offset, offset + length));
    return true;
  }

  abandon(): void {
    this.connection.toServer.end('by the other side');
    this.clock.in(this.prng.below(2000), () => this.link.released());
  }

  received(bytes: Uint8Array): void {
    if (!this.link.isLost) this.link.consume(bytes, 0, bytes.length);
  }

  ended(how: ConnectionEnd): void {
    this.end = how;
    if (this.link.isLost) this.onEnd?.();
    else this.link.lose('the connection has ended', how === 'by the other side');
  }

  private send(): void {
    if (!this.link.hasUnsent) {
      this.isScheduled = false;
      return;
    }
    this.room = SOCKET_BYTES + this.prng.below(SOCKET_BYTES);
    const count = this.link.gather(this);
    for (const piece of this.pieces) this.connection.toServer.send(piece);
    this.pieces = [];
    // The kernel says so a moment later; replies may be faster.
    this.clock.in(this.prng.below(300), () => {
      this.isScheduled = false;
      this.link.sent(count);
      if (this.link.hasUnsent) this.sendSoon();
    });
  }
}
