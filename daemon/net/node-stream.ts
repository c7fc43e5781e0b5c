import { Socket } from 'node:net';
import type { Readable, Writable } from 'node:stream';

import { assert } from '../../core/base/assert.ts';
import type { Log } from '../../core/base/ports.ts';
import type { Arena } from '../../core/block/arena.ts';
import { Export } from '../../core/export/export.ts';
import type { ExportTable } from '../../core/export/export-table.ts';
import type { Offer } from '../../core/export/offer.ts';
import { Session, type SessionStream } from '../../core/export/session.ts';
import type { Agreement } from '../../core/nbd/agreement.ts';
import type { ClientRules } from '../../core/nbd/directory.ts';
import { Handshake, type ByteSink } from '../../core/nbd/handshake.ts';
import { processCalls, SHUT } from '../sys/process-calls.ts';
import type { SecuredClient, TlsAttempt, TlsTerminator } from '../tls/terminator.ts';
import type { ClientIdentity } from './client.ts';
import type { ServerLimits } from './limits.ts';
import { ReplyBatch } from './reply-batch.ts';
import {
  fdsOf,
  STAND_DOWN,
  takesSockets,
  type SocketTaker,
  type TakenClient,
} from './socket-taker.ts';

/** What a connection needs of its server. */
export interface ConnectionContext {
  readonly exports: ExportTable;
  readonly arena: Arena;
  /** The arena's bytes as Node copies and writes them. */
  readonly arenaBuffer: Buffer;
  readonly log: Log;
  limitsNow(): ServerLimits;
  rulesFor(client: ClientIdentity): ClientRules;
  /** Undefined: nobody is told that TLS could be started. */
  readonly tls: TlsTerminator | undefined;
  /** Once, when nothing of the connection is left but requests still at the device. */
  connectionEnded(connection: NodeConnection): void;
}

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
  private input: Readable;
  private output: Writable;
  identity: ClientIdentity;
  private securing: TlsAttempt | undefined;
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

  private readonly batch = new ReplyBatch();
  private flushScheduled = false;
  /** Replies wait: see `standDown`. */
  private holding = false;
  /** Replies in the write under way. */
  private sending = 0;

  constructor(
    input: Readable,
    output: Writable,
    peer: string,
    identity: ClientIdentity,
    context: ConnectionContext,
  ) {
    this.input = input;
    this.output = output;
    this.peer = peer;
    this.identity = identity;
    this.context = context;
    this.ended = new Promise((resolve) => {
      this.resolveEnded = resolve;
    });
    const { handshakeTimeoutMs } = context.limitsNow();
    this.handshakeTimer = setTimeout(() => {
      this.drop(`no export chosen within ${String(handshakeTimeoutMs)} ms`);
    }, handshakeTimeoutMs);
    this.handshake = new Handshake(context.exports, this, context.rulesFor(identity));
    this.live();
  }

  /** Lives on `input` and `output` from now on. */
  private live(): void {
    const { input, output } = this;
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
        if (!this.inputEnded && this.taken === undefined) this.drop('closed by the client');
      });
    }
    input.on('data', (chunk: Buffer) => this.received(chunk));
    input.on('end', () => this.inputHasEnded());
  }

  /** The export served; undefined while the client has chosen none. */
  get target(): Offer | undefined {
    return this.taker ?? this.session?.target;
  }

  /** It has chosen no export yet. */
  get isNegotiating(): boolean {
    return this.target === undefined && !this.closing;
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
    if (this.taken !== undefined) {
      this.taken.standDown();
      return;
    }
    const calls = processCalls();
    const fd = fdsOf(this.input, this.output)?.input;
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
      if (!isCalm && looks < STAND_DOWN.LOOKS) {
        seen = this.activity;
        setTimeout(look, STAND_DOWN.LOOK_MS);
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
    this.securing?.abandon();
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
        this.handOver(chosen, this.agreed(handshake), chunk.subarray(at + taken));
        return chunk.length - at;
      }
      assert(chosen instanceof Export, 'an export that neither serves nor takes');
      this.session = new Session(chosen, this.context.arena, this, this.agreed(handshake));
    } else if (handshake.state === 'TLS') {
      this.startTls(handshake, chunk.length - at - taken);
      return chunk.length - at;
    } else if (handshake.state === 'CLOSED') {
      if (handshake.failure === '') this.close();
      else this.refuse(handshake.failure);
    }
    return taken;
  }

  private agreed({ agreement }: Handshake<Offer>): Agreement {
    const { maxHeldBytes } = this.context.limitsNow();
    return maxHeldBytes === undefined ? agreement : { ...agreement, maxHeldBytes };
  }

  /** When the handshake's last reply is with the kernel, the socket goes to the export's thread. */
  private handOver(taker: SocketTaker, agreed: Agreement, early: Buffer): void {
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
      this.taken = taker.take(fds, new Uint8Array(bytes), agreed, (why) => this.takenEnded(why));
      this.input.destroy();
      this.output.destroy();
      if (this.closing) this.taken.hangUp();
    });
  }

  /**
   * The client's socket goes to the TLS thread, and comes back as one that speaks plain. Bytes that
   * came behind STARTTLS, before it was acknowledged, were put there by somebody who cannot speak
   * TLS in the client's name: an attacker on the line.
   */
  private startTls(handshake: Handshake<Offer>, excessBytes: number): void {
    const socket = this.output;
    assert(socket instanceof Socket && this.context.tls !== undefined, 'TLS that cannot be');
    if (excessBytes > 0 || this.input.readableLength > 0) {
      this.refuse('plain bytes behind STARTTLS');
      return;
    }
    this.input.pause();
    socket.write('', () => {
      const fd = fdsOf(socket, socket)?.input;
      const { tls } = this.context;
      if (this.gone || fd === undefined || tls === undefined) return;
      const early = (this.input.read() as Buffer | null) ?? new Uint8Array(0);
      this.securing = tls.start(
        fd,
        new Uint8Array(early),
        this.context.limitsNow().handshakeTimeoutMs,
      );
      socket
        .removeAllListeners()
        .on('error', () => undefined)
        .destroy();
      this.securing.done.then(
        (client) => this.secured(handshake, client),
        (error: unknown) => {
          this.securing = undefined;
          this.refuse(`TLS: ${(error as Error).message}`);
        },
      );
    });
  }

  private secured(handshake: Handshake<Offer>, { plain, peer }: SecuredClient): void {
    this.securing = undefined;
    if (this.gone) {
      plain.destroy();
      return;
    }
    this.input = plain;
    this.output = plain;
    this.identity = { ...this.identity, tls: peer };
    handshake.secured(this.context.rulesFor(this.identity));
    this.live();
    if (this.closing) this.output.end(() => this.drop(''));
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
    this.sending = this.batch.gather(session.replies, this.context.arenaBuffer);
    const { pieces } = this.batch;
    this.output.cork();
    const last = pieces.length - 1;
    for (let i = 0; i < last; i += 1) this.output.write(pieces[i]);
    this.output.write(pieces[last], this.sent);
    this.output.uncork();
    pieces.length = 0;
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
