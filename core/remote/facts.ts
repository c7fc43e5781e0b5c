import { MAX_BYTES, SECTOR_SIZE } from '../base/units.ts';
import type { QueueLimits } from '../block/limits.ts';
import type { ServerFacts } from '../nbd/client-handshake.ts';
import { LIMIT, TRANSMISSION_FLAG } from '../nbd/proto.ts';

/** Longest READ or WRITE: long enough to be one of few, short enough that two links share it. */
const MAX_TRANSFER_BYTES = 2 ** 20;
/** Longest request without payload: an NBD length has 32 bits, and 1 GiB of zeros may be work. */
const MAX_RANGE_BYTES = 2 ** 30;
const MAX_SEGMENTS = 64;
const MAX_LOGICAL_BLOCK = 65536;

export function has(facts: ServerFacts, flag: number): boolean {
  return (facts.transmissionFlags & flag) !== 0;
}

/** Bytes: sector and sectors of a bio are multiples of it. */
function logicalBlockBytes(facts: ServerFacts): number {
  return Math.max(SECTOR_SIZE, facts.minimumBlockBytes);
}

/** Why an export cannot be a device, as the end of a sentence; undefined: it can. */
export function unfitness(facts: ServerFacts, readOnly: boolean): string | undefined {
  const { sizeBytes, maximumPayloadBytes } = facts;
  const block = logicalBlockBytes(facts);
  if (sizeBytes === 0) return 'is empty';
  if (sizeBytes > MAX_BYTES) return `has ${sizeBytes} bytes, more than 2^53 - 1`;
  if (sizeBytes % block !== 0) return `has ${sizeBytes} bytes, not a multiple of ${block}`;
  if (block > MAX_LOGICAL_BLOCK) return `has blocks of ${block} bytes, at most 65536 are possible`;
  if (maximumPayloadBytes < block) return `takes ${maximumPayloadBytes} bytes at once, no block`;
  if (!readOnly && has(facts, TRANSMISSION_FLAG.READ_ONLY)) return 'is read-only';
  return undefined;
}

/**
 * What a bio to the export may be. A DISCARD is sent as a WRITE_ZEROES that may punch, if there is
 * one: then discarded sectors read as zeros on every leg of a mirror, which a TRIM does not promise.
 */
export function limitsOf(facts: ServerFacts, readOnly: boolean): QueueLimits {
  const block = logicalBlockBytes(facts);
  const payload = Math.min(facts.maximumPayloadBytes, LIMIT.PAYLOAD_BYTES, MAX_TRANSFER_BYTES);
  const canZero = has(facts, TRANSMISSION_FLAG.SEND_WRITE_ZEROES);
  const canTrim = has(facts, TRANSMISSION_FLAG.SEND_TRIM);
  const rangeSectors = MAX_RANGE_BYTES / SECTOR_SIZE;
  return {
    logicalBlockSize: block,
    maxSectors: (payload - (payload % block)) / SECTOR_SIZE,
    maxSegments: MAX_SEGMENTS,
    maxDiscardSectors: canTrim ? rangeSectors : 0,
    maxWriteZeroesSectors: canZero ? rangeSectors : 0,
    discardZeroes: canTrim && canZero,
    readOnly,
  };
}

/** Features whose loss between two connections would break what was promised. */
const RELIED_ON = [
  ['FLUSH', TRANSMISSION_FLAG.SEND_FLUSH],
  ['FUA', TRANSMISSION_FLAG.SEND_FUA],
  ['TRIM', TRANSMISSION_FLAG.SEND_TRIM],
  ['WRITE_ZEROES', TRANSMISSION_FLAG.SEND_WRITE_ZEROES],
] as const;

/** What makes a server that came back another one, in words; undefined: it is the same. */
export function difference(was: ServerFacts, now: ServerFacts): string | undefined {
  if (now.sizeBytes !== was.sizeBytes) {
    return `its size was ${was.sizeBytes} bytes and is ${now.sizeBytes}`;
  }
  if (now.canonicalName !== was.canonicalName) {
    return `its export was "${was.canonicalName}" and is "${now.canonicalName}"`;
  }
  if (has(now, TRANSMISSION_FLAG.READ_ONLY) && !has(was, TRANSMISSION_FLAG.READ_ONLY)) {
    return 'it has become read-only';
  }
  if (now.minimumBlockBytes > was.minimumBlockBytes) return 'its blocks have become larger';
  if (now.maximumPayloadBytes < was.maximumPayloadBytes) return 'it takes less at once than before';
  const lost = RELIED_ON.find(([, flag]) => has(was, flag) && !has(now, flag));
  return lost === undefined ? undefined : `it no longer offers ${lost[0]}`;
}
