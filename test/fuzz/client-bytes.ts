// What clients send, by the rules or nearly so: a handshake, and requests in a style.
import type { Prng } from '../../core/base/prng.ts';
import { REPLY_STYLE, type ReplyStyle } from '../../core/nbd/chunk.ts';
import { COMMAND, COMMAND_FLAG, CONTEXT, OPTION } from '../../core/nbd/proto.ts';
import { concat } from '../support/hex.ts';
import {
  clientFlags,
  contextData,
  extendedRequest,
  infoData,
  option,
  request,
  type RequestFields,
} from '../support/nbd-messages.ts';
import { damaged, randomBytes } from './damage.ts';

const { READ, WRITE, DISC, FLUSH, TRIM, CACHE, WRITE_ZEROES, BLOCK_STATUS } = COMMAND;
const { FUA, NO_HOLE, DF, REQ_ONE, FAST_ZERO, PAYLOAD_LEN } = COMMAND_FLAG;
const NONE = new Uint8Array(0);

/** Exports of the world; the last two are none. */
const NAMES = ['disk', 'ro/é', '', 'nope', 'x'.repeat(4097)] as const;

/** A client that does all as proto.md says: it must be served. */
export function straightHandshake(prng: Prng): Uint8Array {
  const parts = [clientFlags(3)];
  if (prng.ratio(1, 4)) parts.push(option(OPTION.LIST));
  if (prng.ratio(1, 5)) parts.push(option(99, randomBytes(prng, prng.below(40))));
  const style = prng.below(3);
  if (style === REPLY_STYLE.STRUCTURED) parts.push(option(OPTION.STRUCTURED_REPLY));
  if (style === REPLY_STYLE.EXTENDED) parts.push(option(OPTION.EXTENDED_HEADERS));
  if (style !== REPLY_STYLE.SIMPLE && prng.ratio(3, 4)) {
    parts.push(option(OPTION.SET_META_CONTEXT, contextData('disk', someQueries(prng))));
  }
  if (prng.ratio(1, 3)) parts.push(option(OPTION.INFO, infoData('disk', [0, 1, 2, 3, 77])));
  if (style === REPLY_STYLE.SIMPLE && prng.ratio(1, 4)) {
    parts.push(option(OPTION.EXPORT_NAME, 'disk'));
  } else parts.push(option(OPTION.GO, infoData('disk', prng.ratio(1, 2) ? [3] : [])));
  return concat(...parts);
}

/** Options in any order, and perhaps a way into transmission. */
export function wildHandshake(prng: Prng): Uint8Array {
  if (prng.ratio(1, 20)) return randomBytes(prng, prng.between(1, 200));
  const parts = [
    clientFlags(prng.ratio(1, 12) ? prng.pick([0, 2, 4, 0x80000001]) : prng.pick([1, 3])),
  ];
  if (prng.ratio(1, 4)) parts.push(option(OPTION.STRUCTURED_REPLY), option(OPTION.STARTTLS));
  for (let i = prng.below(8); i > 0; i -= 1) {
    const one = someOption(prng);
    parts.push(prng.ratio(1, 6) ? damaged(prng, one) : one);
  }
  if (prng.ratio(3, 4)) parts.push(straightHandshake(prng).subarray(4));
  const whole = concat(...parts);
  return prng.ratio(1, 6) ? damaged(prng, whole) : whole;
}

function someOption(prng: Prng): Uint8Array {
  const name = prng.pick(NAMES);
  const noise = prng.ratio(1, 6) ? randomBytes(prng, prng.between(1, 30)) : NONE;
  switch (prng.below(12)) {
    case 0:
      return option(OPTION.STARTTLS, noise);
    case 1:
      return option(OPTION.STRUCTURED_REPLY, noise);
    case 2:
      return option(OPTION.EXTENDED_HEADERS, noise);
    case 3:
    case 4:
      return option(OPTION.SET_META_CONTEXT, concat(contextData(name, someQueries(prng)), noise));
    case 5:
      return option(OPTION.LIST_META_CONTEXT, concat(contextData(name, someQueries(prng)), noise));
    case 6:
    case 7: {
      const infos = Array.from({ length: prng.below(6) }, () => prng.below(6));
      return option(OPTION.INFO, concat(infoData(name, infos), noise));
    }
    case 8:
      return option(OPTION.LIST, noise);
    case 9:
      return option(prng.ratio(1, 4) ? OPTION.EXPORT_NAME : OPTION.GO, infoData(name));
    case 10:
      return option(prng.ratio(1, 6) ? OPTION.ABORT : OPTION.PEEK_EXPORT, noise);
    default: {
      // Longer than what is buffered: skipped as it comes.
      const bytes = new Uint8Array(prng.ratio(1, 10) ? 17_000 : prng.between(1, 300));
      return option(prng.pick([OPTION.INFO, OPTION.SET_META_CONTEXT, 12, 0xffffffff]), bytes);
    }
  }
}

function someQueries(prng: Prng): readonly string[] {
  const all = [CONTEXT.ALLOCATION, CONTEXT.MIRROR, 'base:', 'x-dmiod:', 'qemu:', 'x', '', ':'];
  if (prng.ratio(2, 3)) return [CONTEXT.ALLOCATION, CONTEXT.MIRROR].slice(prng.below(2));
  return Array.from({ length: prng.below(5) }, () => prng.pick(all));
}

/** A request as it was meant, and its bytes. */
export interface Asked extends Required<RequestFields> {
  readonly bytes: Uint8Array;
}

/** Requests that are framed right, whatever they ask for. */
export function someRequests(
  prng: Prng,
  style: ReplyStyle,
  sizeBytes: number,
  isTame: boolean,
): readonly Asked[] {
  return Array.from({ length: prng.between(1, 24) }, (_, i) =>
    someRequest(prng, style, sizeBytes, i + 1, isTame),
  );
}

const TYPES = [READ, READ, READ, WRITE, WRITE, FLUSH, TRIM, CACHE, WRITE_ZEROES] as const;
const USEFUL_FLAGS = { [READ]: DF, [WRITE_ZEROES]: NO_HOLE | FAST_ZERO, [BLOCK_STATUS]: REQ_ONE };

function someRequest(
  prng: Prng,
  style: ReplyStyle,
  sizeBytes: number,
  cookie: number,
  isTame: boolean,
): Asked {
  const type = prng.ratio(1, 30)
    ? prng.pick([8, 9, 99, 0xffff])
    : prng.ratio(1, 6)
      ? BLOCK_STATUS
      : !isTame && prng.ratio(1, 60)
        ? DISC
        : prng.pick(TYPES);
  let flags = prng.ratio(1, 3) ? FUA : 0;
  if (prng.ratio(1, 3)) flags |= (USEFUL_FLAGS as Record<number, number>)[type] ?? 0;
  if (prng.ratio(1, 12)) flags |= prng.below(64) & ~PAYLOAD_LEN;
  if (prng.ratio(1, 40)) flags |= 1 << prng.between(6, 15);
  const offset = someOffset(prng, sizeBytes);
  const payload = somePayload(prng, type, style, isTame);
  if (style === REPLY_STYLE.EXTENDED && payload.length > 0) flags |= PAYLOAD_LEN;
  // A wild WRITE may announce more than it brings: what follows is taken for data.
  const isShort = type === WRITE && !isTame && prng.ratio(1, 30);
  const length = isShort
    ? prng.pick([2 ** 16, 2 ** 20, 2 ** 25 + 1, 2 ** 27 + 1])
    : payload.length > 0 || type === WRITE
      ? payload.length
      : type === FLUSH
        ? 0
        : someLength(prng, style, sizeBytes);
  const fields = { type, cookie, flags, offset, length };
  const make = style === REPLY_STYLE.EXTENDED ? extendedRequest : request;
  return { ...fields, bytes: make(fields, payload) };
}

function someOffset(prng: Prng, sizeBytes: number): number {
  if (prng.ratio(1, 12)) return prng.pick([sizeBytes - 1, sizeBytes, 2 ** 40, 2 ** 53 - 1]);
  const offset = prng.below(sizeBytes);
  return prng.ratio(1, 2) ? offset - (offset % 4096) : offset;
}

function someLength(prng: Prng, style: ReplyStyle, sizeBytes: number): number {
  if (prng.ratio(1, 15)) {
    const edges = [0, sizeBytes, sizeBytes + 1, 2 ** 25, 2 ** 25 + 1, 2 ** 32 - 1];
    if (style === REPLY_STYLE.EXTENDED) edges.push(2 ** 32, 2 ** 53 - 1);
    return prng.pick(edges);
  }
  return prng.pick([1, 511, 512, 513, 4096, 5000, 65_536, 70_000]);
}

function somePayload(prng: Prng, type: number, style: ReplyStyle, isTame: boolean): Uint8Array {
  if (type === WRITE) {
    return randomBytes(prng, prng.pick([1, 3, 512, 513, 1000, prng.ratio(1, 30) ? 20_000 : 4096]));
  }
  if (style !== REPLY_STYLE.EXTENDED) return NONE;
  if (type === BLOCK_STATUS && prng.ratio(1, 3)) return statusPayload(prng);
  if (!isTame && prng.ratio(1, 20)) return randomBytes(prng, prng.between(1, 40));
  return NONE;
}

/** u64 effect length, u32 ids. */
function statusPayload(prng: Prng): Uint8Array {
  const count = prng.below(4);
  const bytes = new Uint8Array(8 + 4 * count + (prng.ratio(1, 6) ? 3 : 0));
  const view = new DataView(bytes.buffer);
  view.setUint32(4, prng.pick([0, 1, 4096, 2 ** 20, 2 ** 32 - 1]));
  if (prng.ratio(1, 10)) view.setUint32(0, prng.pick([1, 2 ** 21, 2 ** 32 - 1]));
  for (let i = 0; i < count; i += 1) view.setUint32(8 + 4 * i, prng.below(4));
  return bytes;
}
