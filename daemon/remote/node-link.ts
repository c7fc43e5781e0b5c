/** A link on a Node socket. */
import { Socket } from 'node:net';

import { assert } from '../../core/base/assert.ts';
import type { LinkTransport, PieceSink, RemoteLink } from '../../core/remote/link.ts';
import { fdOf } from '../net/socket-taker.ts';
import { hasSyscalls, loadSyscalls } from '../sys/syscalls.ts';
import type { Fate } from '../tls/tunnel.ts';
import { wordsOf } from './connect.ts';
import type { Remains } from './fence.ts';
import type { RemoteSocket, SocketUser } from './socket.ts';

/** Headers and small payloads are gathered here, so that many requests leave in one write. */
const STAGING_BYTES = 256 * 2 ** 10;
const COPIED_PAYLOAD_BYTES = 16 * 2 ** 10;
const MAX_PIECES = 64;

/** One write is under way at a time; the payload leaves from the bios' own memory. */
export class NodeLink implements LinkTransport, PieceSink, SocketUser {
  readonly link: RemoteLink;
  /** After `abandon`: for the fence. */
  remains: Remains = 'closed by the server';
  private readonly socket: RemoteSocket;
  private readonly staging = Buffer.allocUnsafeSlow(STAGING_BYTES);
  private stagedFrom = 0;
  private stagedTo = 0;
  private readonly pieces: Buffer[] = [];
  private isScheduled = false;
  private sending = 0;

  constructor(socket: RemoteSocket, link: RemoteLink) {
    this.socket = socket;
    this.link = link;
    link.attach(this);
    socket.use(this);
  }

  /** Of a connection behind TLS. */
  get fate(): Promise<Fate> | null {
    return this.socket.fate;
  }

  sendSoon(): void {
    if (this.isScheduled || this.sending > 0) return;
    this.isScheduled = true;
    process.nextTick(flushNow, this);
  }

  /** Node writes from its loop only. */
  sendNow(): void {
    this.sendSoon();
  }

  piece(page: Uint8Array, offset: number, length: number): boolean {
    if (length <= COPIED_PAYLOAD_BYTES) {
      if (this.stagedTo + length > STAGING_BYTES) return false;
      const { staging } = this;
      if (length < 64) {
        for (let i = 0; i < length; i += 1) staging[this.stagedTo + i] = page[offset + i] ?? 0;
      } else staging.set(page.subarray(offset, offset + length), this.stagedTo);
      this.stagedTo += length;
      return true;
    }
    if (this.pieces.length >= MAX_PIECES) return false;
    this.closeStaged();
    this.pieces.push(Buffer.from(page.buffer, page.byteOffset + offset, length));
    return true;
  }

  private closeStaged(): void {
    if (this.stagedTo === this.stagedFrom) return;
    this.pieces.push(this.staging.subarray(this.stagedFrom, this.stagedTo));
    this.stagedFrom = this.stagedTo;
  }

  flush(): void {
    this.isScheduled = false;
    if (this.sending > 0 || !this.link.hasUnsent) return;
    this.stagedFrom = 0;
    this.stagedTo = 0;
    this.sending = this.link.gather(this);
    this.closeStaged();
    const { socket } = this.socket;
    const last = this.pieces.length - 1;
    assert(last >= 0, 'a batch of no requests');
    socket.cork();
    for (let i = 0; i < last; i += 1) socket.write(this.pieces[i] ?? '');
    socket.write(this.pieces[last] ?? '', this.sent);
    socket.uncork();
    this.pieces.length = 0;
  }

  private readonly sent = (error?: Error | null): void => {
    const count = this.sending;
    this.sending = 0;
    // After an error the socket ends, and says so itself.
    if (error || this.link.isLost) return;
    this.link.sent(count);
    this.flush();
  };

  received(bytes: Uint8Array, count: number): void {
    this.link.consume(bytes, 0, count);
  }

  ended(code: string): void {
    const isOver = code === '' || code === 'ECONNRESET' || code === 'EPIPE';
    this.link.lose(isOver ? 'the server has closed the connection' : wordsOf(code), isOver);
  }

  /** Node lets go of the payload of a write under way only with the socket: a copy of it goes on. */
  abandon(): void {
    const socket = this.socket.detach();
    if (this.link.isOver) socket.destroy();
    else if (this.sending === 0) this.remains = socket;
    else {
      const fd = fdOf(socket);
      this.remains = fd === undefined ? 'out of sight' : duplicate(fd);
      socket.destroy();
    }
    this.link.released();
  }

  get isBusy(): boolean {
    return !this.link.isLost && (this.link.inFlight > 0 || this.sending > 0);
  }

  /** The link is idle: its socket goes elsewhere. */
  take(): RemoteSocket {
    assert(!this.isBusy, 'a busy link was given away');
    this.socket.detach();
    return this.socket;
  }
}

function flushNow(link: NodeLink): void {
  link.flush();
}

function duplicate(fd: number): Remains {
  const calls = loadSyscalls();
  const copy = hasSyscalls(calls) ? calls.dup(fd) : -1;
  return copy < 0 ? 'out of sight' : new Socket({ fd: copy, allowHalfOpen: true });
}
