import { assert } from '../../core/base/assert.ts';
import type { ReplyQueue } from '../../core/export/reply-queue.ts';

/**
 * Headers and small payloads are gathered here, so that a batch of 4 KiB reads leaves in one
 * write of one buffer. Copying up to 16 KiB is cheaper than one more piece in the writev.
 */
const STAGING_BYTES = 256 * 2 ** 10;
const COPIED_PAYLOAD_BYTES = 16 * 2 ** 10;

/** The replies of one write, as pieces of memory. */
export class ReplyBatch {
  readonly pieces: Buffer[] = [];
  private staging: Buffer | undefined;

  /** Puts replies into `pieces`, as many as the staging buffer takes; returns their number. */
  gather(replies: ReplyQueue, arena: Buffer): number {
    this.staging ??= Buffer.allocUnsafeSlow(STAGING_BYTES);
    const { staging, pieces } = this;
    const { headers, length } = replies;
    let from = 0;
    let end = 0;
    let count = 0;
    for (; count < length; count += 1) {
      const payload = replies.payloadBytes(count);
      const payloadAt = replies.payloadAt(count);
      const copied = payload <= COPIED_PAYLOAD_BYTES ? payload : 0;
      const headBytes = replies.headBytes(count);
      if (end + headBytes + copied > STAGING_BYTES) break;
      const head = replies.headAt(count);
      for (let i = 0; i < headBytes; i += 1) staging[end + i] = headers[head + i] ?? 0;
      end += headBytes;
      if (copied > 0) {
        end += arena.copy(staging, end, payloadAt, payloadAt + copied);
      } else if (payload > 0) {
        pieces.push(staging.subarray(from, end), arena.subarray(payloadAt, payloadAt + payload));
        from = end;
      }
    }
    if (end > from) pieces.push(staging.subarray(from, end));
    assert(count > 0 && pieces.length > 0, 'a batch of no replies');
    return count;
  }
}
