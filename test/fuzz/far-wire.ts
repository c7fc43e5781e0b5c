// A connection of a remote device without a network: what the kernel holds, and what has arrived.
import type { Prng } from '../../core/base/prng.ts';
import { COMMAND, SIZE } from '../../core/nbd/proto.ts';
import { readRequest, RequestHeader } from '../../core/nbd/wire.ts';
import type { LinkTransport, PieceSink, RemoteLink } from '../../core/remote/link.ts';
import { concat } from '../support/hex.ts';
import { expectThat, type Tally } from './finding.ts';

/** A request with its payload, as the server has got it. */
export interface Received {
  readonly header: RequestHeader;
  readonly payload: Uint8Array;
}

export class FarWire implements LinkTransport, PieceSink {
  readonly link: RemoteLink;
  /** Arrived whole, in order; the server has not looked at them yet. */
  arrived: Received[] = [];
  isAbandoned = false;
  isReleased = false;
  /** Something damaged was sent: where the next reply begins nobody knows. */
  isHurt = false;
  private readonly prng: Prng;
  private readonly isEnded: (page: Uint8Array) => boolean;
  /** What the kernel still reads of: it was gathered, and `sent` was not said. */
  private held: { readonly page: Uint8Array; readonly bytes: Uint8Array }[] = [];
  private accepted = 0;
  private rest: Uint8Array = new Uint8Array(0);

  /** `isEnded`: memory of a bio that has ended, which nobody may touch. */
  constructor(link: RemoteLink, prng: Prng, isEnded: (page: Uint8Array) => boolean) {
    this.link = link;
    this.prng = prng;
    this.isEnded = isEnded;
    link.attach(this);
  }

  sendSoon(): void {
    if (this.prng.ratio(1, 2)) this.gather();
  }

  sendNow(): void {
    this.gather();
  }

  /** Asks for what is to be sent; the kernel takes some of it, and has read it only with `settle`. */
  gather(): void {
    const { link, prng } = this;
    if (this.accepted > 0 || this.isAbandoned || !link.hasUnsent) return;
    const total = link.gather(this);
    expectThat(
      total === this.held.reduce((sum, { bytes }) => sum + bytes.length, 0),
      'gather counts wrong',
    );
    this.accepted = prng.ratio(1, 2) ? total : prng.between(1, total);
    const all = concat(
      this.rest,
      concat(...this.held.map(({ bytes }) => bytes)).subarray(0, this.accepted),
    );
    this.rest = this.parse(all);
  }

  piece(page: Uint8Array, offset: number, length: number): boolean {
    if (this.held.length === 9) return false;
    expectThat(!this.isEnded(page), 'memory of an ended bio was sent');
    this.held.push({ page, bytes: page.slice(offset, offset + length) });
    return true;
  }

  /** The kernel has read what it took. */
  settle(): void {
    if (this.accepted === 0) return;
    for (const { page } of this.held) {
      expectThat(!this.isEnded(page), 'a bio ended while its memory was being sent');
    }
    const bytes = this.accepted;
    this.held = [];
    this.accepted = 0;
    if (this.isAbandoned) this.release();
    else this.link.sent(bytes);
  }

  abandon(): void {
    this.isAbandoned = true;
    if (this.accepted === 0 && this.prng.ratio(1, 2)) this.release();
  }

  release(): void {
    if (this.isReleased || this.accepted > 0) return;
    this.isReleased = true;
    this.link.released();
  }

  /** Bytes of the server, in pieces; data perhaps straight to where it belongs. */
  give(bytes: Uint8Array, tally: Tally): void {
    const { link, prng } = this;
    tally.bytes += bytes.length;
    const most = prng.pick([1, 7, 100, 5000]);
    for (let at = 0; at < bytes.length && !link.isLost;) {
      const end = Math.min(bytes.length, at + prng.between(1, most));
      if (link.dataWanted > 0 && prng.ratio(1, 2)) {
        link.locate();
        expectThat(!this.isEnded(link.page), 'data for memory of an ended bio');
        const count = Math.min(link.pageBytes, end - at);
        link.page.set(bytes.subarray(at, at + count), link.pageAt);
        link.placed(count);
        at += count;
      } else {
        link.consume(bytes, at, end);
        at = end;
      }
    }
  }

  private parse(bytes: Uint8Array): Uint8Array {
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
    let at = 0;
    while (bytes.length - at >= SIZE.REQUEST) {
      const header = new RequestHeader();
      expectThat(readRequest(view, at, header), 'a request without its magic was sent');
      const end = at + SIZE.REQUEST + (header.type === COMMAND.WRITE ? header.lengthBytes : 0);
      if (end > bytes.length) break;
      this.arrived.push({ header, payload: bytes.slice(at + SIZE.REQUEST, end) });
      at = end;
    }
    return bytes.slice(at);
  }
}
