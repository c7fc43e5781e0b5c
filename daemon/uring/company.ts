import type { ReplyQueue } from '../../core/export/reply-queue.ts';

/** As many replies leave without waiting for more. */
const ENOUGH = 8;
/** A reply this long pays for a message of its own, and is sent while it is in the CPU's cache. */
const LONG_BYTES = 32 * 1024;

/**
 * Whether the replies of one client wait a turn for others to come along. While its requests keep
 * coming, each turn finds a few; one message with eight replies costs both sides less than three
 * messages, and the client is busy sending. A client that waits for its one reply gets it at once.
 */
export class Company {
  private hasCome = false;
  /** Replies in the last message. */
  private last = 0;

  /** Requests have come in. */
  came(): void {
    this.hasCome = true;
  }

  left(replies: number): void {
    this.last = replies;
  }

  /** Asked once a turn. True: another look at the socket first. */
  isAwaited(replies: ReplyQueue): boolean {
    const hasCome = this.hasCome;
    this.hasCome = false;
    const count = replies.length;
    if (!hasCome || count === 0 || count >= ENOUGH) return false;
    return (count > 1 || this.last > 1) && replies.payloadBytes(count - 1) < LONG_BYTES;
  }
}
