import { assert } from '../base/assert.ts';
import { ERRNO } from '../base/errno.ts';
import { COMMAND, COMMAND_FLAG, LIMIT } from '../nbd/proto.ts';
import { flagsOf } from '../nbd/transmission.ts';
import type { RequestHeader } from '../nbd/wire.ts';
import type { Export } from './export.ts';

/** Why a request is refused before any I/O, by number; FAULTS has the errno and the sentence. */
export const FAULT = {
  NONE: 0,
  SHUTTING_DOWN: 1,
  UNKNOWN_COMMAND: 2,
  UNKNOWN_FLAG: 3,
  WRONG_FLAG: 4,
  READ_ONLY: 5,
  TOO_LONG: 6,
  WRITE_PAST_END: 7,
  READ_PAST_END: 8,
} as const;
export type Fault = (typeof FAULT)[keyof typeof FAULT];

interface FaultMeaning {
  readonly errno: number;
  readonly sentence: string;
}

/** Indexed by Fault. "Error values" says which errno each mistake should have. */
export const FAULTS: Readonly<Record<Fault, FaultMeaning>> = {
  [FAULT.NONE]: { errno: ERRNO.OK, sentence: 'nothing is wrong' },
  [FAULT.SHUTTING_DOWN]: { errno: ERRNO.ESHUTDOWN, sentence: 'the export is shutting down' },
  [FAULT.UNKNOWN_COMMAND]: { errno: ERRNO.EINVAL, sentence: 'the command is not offered' },
  [FAULT.UNKNOWN_FLAG]: { errno: ERRNO.EINVAL, sentence: 'the command has an unknown flag' },
  [FAULT.WRONG_FLAG]: { errno: ERRNO.EINVAL, sentence: 'the flag does not go with the command' },
  [FAULT.READ_ONLY]: { errno: ERRNO.EPERM, sentence: 'the export is read-only' },
  [FAULT.TOO_LONG]: { errno: ERRNO.EINVAL, sentence: 'more than 32 MiB of data in one request' },
  [FAULT.WRITE_PAST_END]: { errno: ERRNO.ENOSPC, sentence: 'the range ends past the end' },
  [FAULT.READ_PAST_END]: { errno: ERRNO.EINVAL, sentence: 'the range ends past the end' },
};

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
export function validate(header: RequestHeader, target: Export): Fault {
  const allowed = flagsOf(header.type);
  if (target.isShuttingDown) return FAULT.SHUTTING_DOWN;
  if (allowed < 0) return FAULT.UNKNOWN_COMMAND;
  if ((header.flags & ~KNOWN_FLAGS) !== 0) return FAULT.UNKNOWN_FLAG;
  if ((header.flags & ~allowed) !== 0) return FAULT.WRONG_FLAG;
  if (header.type === COMMAND.FLUSH) return FAULT.NONE;
  if (target.readOnly && changesData(header.type)) return FAULT.READ_ONLY;
  if (hasPayload(header.type) && header.lengthBytes > LIMIT.PAYLOAD_BYTES) return FAULT.TOO_LONG;
  const sizeBytes = target.sizeBytes;
  // Not offset + length: that may pass 2^53, and an offset read as BEYOND is larger than any size.
  if (header.offset > sizeBytes || header.lengthBytes > sizeBytes - header.offset) {
    return isWrite(header.type) ? FAULT.WRITE_PAST_END : FAULT.READ_PAST_END;
  }
  assert(Number.isSafeInteger(header.offset + header.lengthBytes), 'a valid range above 2^53 - 1');
  return FAULT.NONE;
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
