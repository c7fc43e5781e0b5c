import { Socket } from 'node:net';
import type { Readable, Writable } from 'node:stream';

import { assert } from '../../core/base/assert.ts';
import type { Log } from '../../core/base/ports.ts';
import type { Arena } from '../../core/block/arena.ts';
import { Export } from '../../core/export/export.ts';
import type { ExportTable } from '../../core/export/export-table.ts';
import type { Offer } from '../../core/export/offer.ts';
import { replyPayloadBytes } from '../../core/export/reply-queue.ts';
import { Session, type SessionStream } from '../../core/export/session.ts';
import { Handshake, type ByteSink } from '../../core/nbd/handshake.ts';
import { SIZE } from '../../core/nbd/proto.ts';
import { processCalls, SHUT } from '../sys/process-calls.ts';
import { fdOf, fdsOf, takesSockets, type SocketTaker, type TakenClient } from './socket-taker.ts';

/** What a connection needs of its server. */
export interface ConnectionContext {
  readonly exports: ExportTable;
  readonly arena: Arena;
  /** The arena's bytes as Node copies and writes them. */
  readonly arenaBuffer: Buffer;
  readonly log: Log;
  readonly handshakeTimeoutMs: number;
  /** Once, when nothing of the connection is left but requests still at the device. */
  connectionEnded(connection: NodeConnection): void;
}

/**
 * Headers and small payloads are gathered here, so that a batch of 4 KiB reads leaves in one
 * write of one buffer. Copying up to 16 KiB is cheaper than one more piece in the writev.
 */
const STAGING_BYTES = 256 * 2 ** 10;
const COPIED_PAYLOAD_BYTES = 16 * 2 ** 10;

/** Standing down: looks whether the client has gone quiet, so often and so many times at most. */
const STAND_DOWN_LOOK_MS = 10;
const STAND_DOWN_LOOKS = 100;

/**
 * One client on a Node stream pair (a socket is both): handshake, then a session. Input is paused
 * while the session is blocked; one write is under way at a time, and slots of the arena are given
 * back when it has ended.
 */
export class NodeConnection implements SessionStream, ByteSink {
  readonly peer: string;
  readonly connectedSinceMs = Date.now();
  /** Counts what the client takes and gives; stands still when it does neither. */
  activity = 0;

  /** Fulfilled when the client is gone. */
  readonly ended: Promise<void>;

  private resolveEnded: () => void = () => undefined;
  private readonly input: Readable;
  private readonly output: Writable;
  private readonly context: ConnectionContext;
  private readonly handshakeTimer: NodeJS.Timeout;
  private handshake: Handshake<Offer> | undefined;
  private session: Session | undefined;
  /** The client has been, or is being, given to the thread of this export. */
  private taker: SocketTaker | undefined;
  private taken: TakenClient | undefined;
  /** Bytes not taken yet, from `restAt` on; the input is paused while there are some. */
  private rest: Buffer | undefined;
  private restAt = 0;
  private inputEnded = false;
  /** No more bytes are taken; what is written still goes out. */
  private closing = false;
  private gone = false;

  private staging: Buffer | undefined;
  private readonly pieces: Buffer[] = [];
  private flushScheduled = false;
  /** Replies wait: see `standDown`. */
  private holding = false;
  /** Replies in the write under way. */
  private sending = 0;

  constructor(input: Readable, output: Writable, peer: string, context: ConnectionContext) {
    this.input = input;
    this.output = output;
    this.peer = peer;
    this.context = context;
    this.ended = new Promise((resolve) => {
      this.resolveEnded = resolve;
    });
    this.handshakeTimer = setTimeout(() => {
      this.drop(`no export chosen within ${String(context.handshakeTimeoutMs)} ms`);
    }, context.handshakeTimeoutMs);
    output.on('error', (error) => this.drop(error.message));
    output.on('close', () => {
      if (this.taken === undefined) this.drop('closed by the client');
    });
    output.on('drain', () => {
      if (this.rest === undefined) this.input.resume();
    });
    if (!Object.is(input, output)) {
      input.on('error', (error) => this.drop(error.message));
      input.on('close', () => {
        if (!this.inputEnded) this.drop('closed by the client');
      });
    }
    this.handshake = new Handshake(context.exports, this);
    input.on('data', (chunk: Buffer) => this.received(chunk));
    input.on('end', () => this.inputHasEnded());
  }

  /** The export served; undefined while the client has chosen none. */
  get target(): Offer | undefined {
    return this.taker ?? this.session?.target;
  }

  /** Nothing was asked that is not answered. */
  get isQuiet(): boolean {
    return this.session === undefined || this.session.requestsInUse === 0;
  }

  /** It holds memory, and only the client can set it free: by reading, or by finishing a payload. */
  get isHoldingUp(): boolean {
    const session = this.session;
    if (session === undefined || session.arenaBytes === 0) return false;
    return this.sending > 0 || session.payloadWanted > 0;
  }

  get isClosing(): boolean {
    return this.closing || this.inputEnded;
  }

  /**
   * The way to leave the kernel's nbd client, which sends again what was not taken (and only after
   * a time-out what was taken but not answered). Replies are held until it has nothing more to
   * ask; then its sends fail, and all replies leave at once. Nothing is refused.
   */
  standDown(): void {
    const calls = processCalls();
    const fd = this.input instanceof Socket ? fdOf(this.input) : undefined;
    if (this.session === undefined || fd === undefined || typeof calls === 'string') {
      this.close();
      return;
    }
    if (this.holding || this.closing) return;
    this.holding = true;
    let looks = 0;
    let seen = -1;
    const look = (): void => {
      if (this.gone) return;
      looks += 1;
      const { session } = this;
      const isCalm = seen === this.activity && session?.requestsInUse === session?.replies.length;
      if (!isCalm && looks < STAND_DOWN_LOOKS) {
        seen = this.activity;
        setTimeout(look, STAND_DOWN_LOOK_MS);
        return;
      }
      // What it has sent is still read, up to the end that this makes.
      calls.shutdown(fd, SHUT.RD);
      this.holding = false;
      this.flush();
    };
    look();
  }

  /** Hangs up when what is written has gone out. */
  close(): void {
    if (this.closing) return;
    this.closing = true;
    if (this.taken !== undefined) {
      this.taken.hangUp();
      return;
    }
    this.input.resume();
    this.output.end(() => this.drop(''));
  }

  /** Hangs up now. `why` is for the log; empty: nothing worth one. */
  drop(why: string): void {
    if (this.gone) return;
    if (this.taken !== undefined) {
      this.close();
      return;
    }
    this.gone = true;
    this.closing = true;
    clearTimeout(this.handshakeTimer);
    if (why !== '') this.context.log.info({ peer: this.peer, why }, 'client dropped');
    this.input.destroy();
    // Written to the end, it is left to who reads it; a socket is its own input, and is closed.
    if (!this.output.writableFinished) this.output.destroy();
    this.rest = undefined;
    this.session?.abandon();
    this.context.connectionEnded(this);
    this.resolveEnded();
  }

  /** ByteSink: the handshake's replies. A client that does not read them is not read from. */
  write(bytes: Uint8Array): void {
    if (!this.closing && !this.output.write(bytes)) this.input.pause();
  }

  private received(chunk: Buffer): void {
    this.activity += 1;
    if (this.rest === undefined) this.take(chunk, 0);
    else this.rest = Buffer.concat([this.rest, chunk]);
  }

  private take(chunk: Buffer, start: number): void {
    let at = start;
    while (at < chunk.length && !this.closing) {
      const session = this.session;
      const taken =
        session === undefined
          ? this.negotiate(chunk, at)
          : feed(session, chunk, at, this.context.arenaBuffer);
      if (taken === 0) {
        this.rest = chunk;
        this.restAt = at;
        this.input.pause();
        return;
      }
      at += taken;
    }
    if (this.inputEnded) this.inputHasEnded();
  }

  private negotiate(chunk: Buffer, at: number): number {
    const handshake = this.handshake;
    assert(handshake !== undefined, 'a connection with neither handshake nor session');
    const taken = handshake.consume(chunk, at, chunk.length);
    if (handshake.state === 'TRANSMISSION') {
      assert(handshake.chosen !== undefined, 'transmission without an export');
      clearTimeout(this.handshakeTimer);
      this.handshake = undefined;
      const { chosen } = handshake;
      this.context.log.info({ peer: this.peer, export: chosen.name }, 'client connected');
      if (takesSockets(chosen)) {
        this.handOver(chosen, chunk.subarray(at + taken));
        return chunk.length - at;
      }
      assert(chosen instanceof Export, 'an export that neither serves nor takes');
      this.session = new Session(chosen, this.context.arena, this);
    } else if (handshake.state === 'CLOSED') {
      if (handshake.failure === '') this.close();
      else this.refuse(handshake.failure);
    }
    return taken;
  }

  /** When the handshake's last reply is with the kernel, the socket goes to the export's thread. */
  private handOver(taker: SocketTaker, early: Buffer): void {
    this.taker = taker;
    this.input.pause();
    this.output.write('', () => {
      const fds = fdsOf(this.input, this.output);
      if (this.gone || fds === undefined) {
        this.drop('closed in the handshake');
        return;
      }
      const rest = this.input.read() as Buffer | null;
      const bytes = rest === null ? early : Buffer.concat([early, rest]);
      this.taken = taker.take(fds, new Uint8Array(bytes), (why) => this.takenEnded(why));
      this.input.destroy();
      this.output.destroy();
      if (this.closing) this.taken.hangUp();
    });
  }

  private takenEnded(why: string): void {
    this.gone = true;
    if (why !== '') this.context.log.info({ peer: this.peer, why }, 'client dropped');
    this.context.connectionEnded(this);
    this.resolveEnded();
  }

  private refuse(why: string): void {
    this.context.log.warn({ peer: this.peer, why }, 'client refused');
    this.drop('');
  }

  /** The client sends no more. It may still read: what it asked for is answered. */
  private inputHasEnded(): void {
    this.inputEnded = true;
    const session = this.session;
    if (session === undefined) this.drop('closed in the handshake');
    else if (this.rest === undefined && !session.isBlocked) session.endInput();
  }

  intakeResumed(): void {
    const rest = this.rest;
    this.rest = undefined;
    if (rest !== undefined) {
      this.input.resume();
      this.take(rest, this.restAt);
    } else if (this.inputEnded) {
      this.inputHasEnded();
    }
  }

  sessionEnded(failure: string): void {
    if (failure === '') this.close();
    else this.refuse(failure);
  }

  /** Waits for the end of the tick: a run of the loop brings many replies, they leave together. */
  repliesReady(): void {
    if (this.flushScheduled || this.sending > 0 || this.holding) return;
    this.flushScheduled = true;
    process.nextTick(flushNow, this);
  }

  flush(): void {
    this.flushScheduled = false;
    const session = this.session;
    if (session === undefined || this.gone || this.sending > 0 || this.holding) return;
    if (session.replies.length === 0) return;
    this.sending = this.gather(session);
    this.output.cork();
    const last = this.pieces.length - 1;
    for (let i = 0; i < last; i += 1) this.output.write(this.pieces[i]);
    this.output.write(this.pieces[last], this.sent);
    this.output.uncork();
    this.pieces.length = 0;
  }

  /** Puts replies into `pieces`, as many as the staging buffer takes; returns their number. */
  private gather(session: Session): number {
    this.staging ??= Buffer.allocUnsafeSlow(STAGING_BYTES);
    const { staging, pieces } = this;
    const { arenaBuffer } = this.context;
    const { headers, length } = session.replies;
    let from = 0;
    let end = 0;
    let count = 0;
    for (; count < length; count += 1) {
      const request = session.replies.requestAt(count);
      const payload = replyPayloadBytes(request);
      const copied = payload <= COPIED_PAYLOAD_BYTES ? payload : 0;
      if (end + SIZE.SIMPLE_REPLY + copied > STAGING_BYTES) break;
      const header = session.replies.headerAt(count);
      for (let i = 0; i < SIZE.SIMPLE_REPLY; i += 1) staging[end + i] = headers[header + i] ?? 0;
      end += SIZE.SIMPLE_REPLY;
      if (copied > 0) {
        end += arenaBuffer.copy(staging, end, request.payloadAt, request.payloadAt + copied);
      } else if (payload > 0) {
        const viewOfPayload = arenaBuffer.subarray(request.payloadAt, request.payloadAt + payload);
        pieces.push(staging.subarray(from, end), viewOfPayload);
        from = end;
      }
    }
    if (end > from) pieces.push(staging.subarray(from, end));
    assert(count > 0 && pieces.length > 0, 'a batch of no replies');
    return count;
  }

  private readonly sent = (error?: Error | null): void => {
    const count = this.sending;
    this.sending = 0;
    // After an error the stream closes, and the session is abandoned with its replies.
    if (error || this.gone) return;
    this.activity += 1;
    this.session?.repliesSent(count);
    this.flush();
  };
}

function flushNow(connection: NodeConnection): void {
  connection.flush();
}

/** Bytes of a chunk into the session, payload straight into its slot. */
function feed(session: Session, chunk: Buffer, at: number, arena: Buffer): number {
  const wanted = session.payloadWanted;
  if (wanted === 0) return session.consume(chunk, at, chunk.length);
  const count = Math.min(wanted, chunk.length - at);
  chunk.copy(arena, session.payloadAt, at, at + count);
  session.payloadReceived(count);
  return count;
}

/** stdin and stdout as streams that never block the loop: pipes or sockets, as inetd gives them. */
export function stdioStreams(): { readonly input: Readable; readonly output: Writable } {
  return {
    input: new Socket({ fd: 0, readable: true, writable: false }),
    output: new Socket({ fd: 1, readable: false, writable: true }),
  };
}
