import type { Arena } from '../../core/block/arena.ts';
import type { Export } from '../../core/export/export.ts';
import { Session, type SessionStream } from '../../core/export/session.ts';
import { PLAIN, type Agreement } from '../../core/nbd/agreement.ts';
import { REPLY_STYLE } from '../../core/nbd/chunk.ts';
import { ReplyReader, type SeenReply } from './reply-reader.ts';
import { concat } from './hex.ts';

/**
 * A client and its stream in one, without a network: what `send` is given goes in as far as the
 * session takes it, the rest waits; replies are taken at once unless `reading` is false.
 */
export class SessionClient implements SessionStream {
  readonly session: Session;
  /** Replies taken, in the order sent. */
  readonly replies: SeenReply[];
  /** False: a client that sends, and never reads. */
  reading = true;
  /** What the session said last; undefined while it lives. */
  ended: string | undefined;

  private readonly arena: Arena;
  private backlog: Uint8Array[] = [];
  private feeding = false;
  /** Simple replies say nothing of their data: it ends where the session says it does. */
  private pieceBytes = 0;
  private readonly reader: ReplyReader;

  constructor(target: Export, arena: Arena, agreed: Agreement = PLAIN) {
    this.arena = arena;
    this.session = new Session(target, arena, this, agreed);
    this.reader = new ReplyReader(agreed.style, () =>
      agreed.style === REPLY_STYLE.SIMPLE ? this.pieceBytes : 0,
    );
    this.replies = this.reader.replies;
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
    for (let i = 0; i < count; i += 1) {
      const at = replies.headAt(i);
      const head = replies.headers.slice(at, at + replies.headBytes(i));
      const from = replies.payloadAt(i);
      this.pieceBytes = replies.payloadBytes(i);
      const data = this.arena.bytes.slice(from, from + this.pieceBytes);
      this.reader.give(concat(head, data));
      if (this.reader.unread > 0) throw new Error('a piece that is no whole message');
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
