import type { Arena } from '../../core/block/arena.ts';
import type { Export } from '../../core/export/export.ts';
import { replyPayloadBytes } from '../../core/export/reply-queue.ts';
import { Session, type SessionStream } from '../../core/export/session.ts';
import { readSimpleReply, SimpleReplyHeader } from '../../core/nbd/wire.ts';

export interface SeenReply {
  readonly error: number;
  readonly cookie: number;
  readonly data: Uint8Array;
}

/**
 * A client and its stream in one, without a network: what `send` is given goes in as far as the
 * session takes it, the rest waits; replies are taken at once unless `reading` is false.
 */
export class SessionClient implements SessionStream {
  readonly session: Session;
  /** Replies taken, in the order sent. */
  readonly replies: SeenReply[] = [];
  /** False: a client that sends, and never reads. */
  reading = true;
  /** What the session said last; undefined while it lives. */
  ended: string | undefined;

  private readonly arena: Arena;
  private backlog: Uint8Array[] = [];
  private feeding = false;

  constructor(target: Export, arena: Arena) {
    this.arena = arena;
    this.session = new Session(target, arena, this);
  }

  /** Bytes given to `send` and not taken by the session yet. */
  get unsentBytes(): number {
    return this.backlog.reduce((sum, { length }) => sum + length, 0);
  }

  send(bytes: Uint8Array): void {
    if (bytes.length > 0) this.backlog.push(bytes);
    this.feed();
  }

  /** Takes what waits; also what came while `reading` was false. */
  takeReplies(): void {
    const { replies } = this.session;
    const count = replies.length;
    if (count === 0) return;
    const header = new SimpleReplyHeader();
    const view = new DataView(replies.headers.buffer);
    for (let i = 0; i < count; i += 1) {
      const request = replies.requestAt(i);
      if (!readSimpleReply(view, replies.headerAt(i), header)) throw new Error('a bad reply magic');
      const at = request.payloadAt;
      const data = this.arena.bytes.slice(at, at + replyPayloadBytes(request));
      this.replies.push({ error: header.error, cookie: header.cookieLow, data });
    }
    this.session.repliesSent(count);
  }

  repliesReady(): void {
    if (!this.reading) return;
    // Not from inside the call that made it ready: a stream never sends there either.
    this.session.target.device.loop.defer({ complete: () => this.takeReplies() });
  }

  intakeResumed(): void {
    this.feed();
  }

  sessionEnded(failure: string): void {
    this.ended = failure;
  }

  private feed(): void {
    if (this.feeding) return;
    this.feeding = true;
    for (let chunk = this.backlog.shift(); chunk !== undefined; chunk = this.backlog.shift()) {
      const taken = this.give(chunk);
      if (taken < chunk.length) {
        this.backlog.unshift(chunk.subarray(taken));
        if (taken === 0) break;
      }
    }
    this.feeding = false;
  }

  private give(chunk: Uint8Array): number {
    const wanted = this.session.payloadWanted;
    if (wanted === 0) return this.session.consume(chunk, 0, chunk.length);
    const count = Math.min(wanted, chunk.length);
    this.arena.bytes.set(chunk.subarray(0, count), this.session.payloadAt);
    this.session.payloadReceived(count);
    return count;
  }
}
