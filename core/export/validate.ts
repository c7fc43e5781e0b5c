import { assert } from '../base/assert.ts';
import type { Agreement } from '../nbd/agreement.ts';
import { REPLY_STYLE } from '../nbd/chunk.ts';
import { COMMAND, COMMAND_FLAG, LIMIT } from '../nbd/proto.ts';
import { flagsOf } from '../nbd/transmission.ts';
import type { RequestHeader } from '../nbd/wire.ts';
import type { Export } from './export.ts';
import { FAULT, type Fault } from './faults.ts';

/** u64 length and u32 ids: more than there are contexts, so that a wrong list can be named wrong. */
const MAX_STATUS_PAYLOAD = 8 + 4 * 64;

const KNOWN_FLAGS =
  COMMAND_FLAG.FUA |
  COMMAND_FLAG.NO_HOLE |
  COMMAND_FLAG.DF |
  COMMAND_FLAG.REQ_ONE |
  COMMAND_FLAG.FAST_ZERO |
  COMMAND_FLAG.PAYLOAD_LEN;

/**
 * Every mistake a client can make in a request, first come first named. What passes here is
 * asserted further in, never checked again.
 *
 * Not a mistake: a range of no bytes (proto.md leaves it open; it succeeds and does nothing, as with
 * qemu), and offset or length of FLUSH (must be 0, ignored as by all servers but nbdkit).
 */
export function validate(header: RequestHeader, target: Export, agreed: Agreement): Fault {
  const allowed = flagsOf(header.type, agreed.style);
  if (target.isShuttingDown) return FAULT.SHUTTING_DOWN;
  if (allowed < 0) return FAULT.UNKNOWN_COMMAND;
  if ((header.flags & ~KNOWN_FLAGS) !== 0) return FAULT.UNKNOWN_FLAG;
  if ((header.flags & ~allowed) !== 0) return FAULT.WRONG_FLAG;
  if (header.type === COMMAND.FLUSH) return FAULT.NONE;
  if ((target.readOnly || agreed.readOnly) && changesData(header.type)) return FAULT.READ_ONLY;
  if (header.type === COMMAND.BLOCK_STATUS) {
    if (agreed.contexts === 0) return FAULT.NO_CONTEXT;
    if (header.lengthBytes === 0) return FAULT.NO_RANGE;
    if ((header.flags & COMMAND_FLAG.PAYLOAD_LEN) !== 0) {
      // Its length is that of its payload; the range is judged when that is here.
      return header.lengthBytes > MAX_STATUS_PAYLOAD ? FAULT.BAD_CONTEXTS : FAULT.NONE;
    }
  }
  if (lacksPayload(header, agreed)) return FAULT.NO_PAYLOAD;
  if (hasPayload(header.type) && header.lengthBytes > LIMIT.PAYLOAD_BYTES) return FAULT.TOO_LONG;
  return isInside(target, header.offset, header.lengthBytes)
    ? FAULT.NONE
    : isWrite(header.type)
      ? FAULT.WRITE_PAST_END
      : FAULT.READ_PAST_END;
}

/** The range is part of the export. */
export function isInside(target: Export, offset: number, lengthBytes: number): boolean {
  const sizeBytes = target.sizeBytes;
  // Not offset + length: that may pass 2^53, and what is read as BEYOND is larger than any size.
  if (offset > sizeBytes || lengthBytes > sizeBytes - offset) return false;
  assert(Number.isSafeInteger(offset + lengthBytes), 'a valid range above 2^53 - 1');
  return true;
}

/** Extended headers: without the flag nobody would know how many bytes follow. */
function lacksPayload(header: RequestHeader, agreed: Agreement): boolean {
  if (header.type !== COMMAND.WRITE || agreed.style !== REPLY_STYLE.EXTENDED) return false;
  return (header.flags & COMMAND_FLAG.PAYLOAD_LEN) === 0;
}

function changesData(type: number): boolean {
  return type === COMMAND.WRITE || type === COMMAND.WRITE_ZEROES || type === COMMAND.TRIM;
}

/** Commands whose bytes travel, one way or the other. */
function hasPayload(type: number): boolean {
  return type === COMMAND.READ || type === COMMAND.WRITE;
}

/** "NBD_ENOSPC" is for those; TRIM past the end is EINVAL as READ is. */
function isWrite(type: number): boolean {
  return type === COMMAND.WRITE || type === COMMAND.WRITE_ZEROES;
}
