// What servers send, in parts: a handshake by the rules or against them, replies and chunks.
import type { Prng } from '../../core/base/prng.ts';
import {
  CHUNK_FLAG,
  HANDSHAKE_FLAG,
  INFO,
  OPTION,
  REPLY,
  SIZE,
  STRUCTURED_REPLY_MAGIC,
} from '../../core/nbd/proto.ts';
import {
  writeGreeting,
  writeInfoBlockSize,
  writeInfoExport,
  writeOptionReply,
  writeSimpleReply,
  writeU64,
} from '../../core/nbd/wire.ts';
import { concat } from '../support/hex.ts';
import { randomBytes } from './damage.ts';

const NONE = new Uint8Array(0);

function greeting(flags: number): Uint8Array {
  const bytes = new Uint8Array(SIZE.GREETING);
  writeGreeting(new DataView(bytes.buffer), 0, flags);
  return bytes;
}

function optionReply(option: number, type: number, data: Uint8Array = NONE): Uint8Array {
  const head = new Uint8Array(SIZE.OPTION_REPLY);
  writeOptionReply(new DataView(head.buffer), 0, option, type, data.length);
  return concat(head, data);
}

function infoExport(sizeBytes: number, flags: number): Uint8Array {
  const bytes = new Uint8Array(SIZE.INFO_EXPORT);
  writeInfoExport(new DataView(bytes.buffer), 0, sizeBytes, flags);
  return bytes;
}

function infoBlockSize(minimum: number, preferred: number, maximum: number): Uint8Array {
  const bytes = new Uint8Array(SIZE.INFO_BLOCK_SIZE);
  writeInfoBlockSize(new DataView(bytes.buffer), 0, minimum, preferred, maximum);
  return bytes;
}

function infoText(type: number, text: Uint8Array): Uint8Array {
  return concat(Uint8Array.of(0, type), text);
}

export interface Offered {
  readonly sizeBytes: number;
  readonly flags: number;
  readonly isStructured: boolean;
  readonly minimum: number;
  /** Its size is larger than any number of ours. */
  readonly isBeyond: boolean;
}

/** All a server says before transmission, as one that knows what will be asked. */
export function straightServer(prng: Prng, offered: Offered): Uint8Array {
  const { isStructured, minimum } = offered;
  const info = infoExport(offered.sizeBytes, offered.flags);
  if (offered.isBeyond) info.fill(0xff, 2, 10);
  const parts = [
    greeting(HANDSHAKE_FLAG.FIXED_NEWSTYLE | prng.pick([0, HANDSHAKE_FLAG.NO_ZEROES])),
    optionReply(OPTION.STRUCTURED_REPLY, isStructured ? REPLY.ACK : REPLY.ERR_UNSUP),
    ...(prng.ratio(1, 2)
      ? [optionReply(OPTION.GO, REPLY.INFO, infoBlockSize(minimum, 4096, 2 ** 25))]
      : []),
    ...(prng.ratio(1, 2)
      ? [optionReply(OPTION.GO, REPLY.INFO, infoText(INFO.NAME, new TextEncoder().encode('far')))]
      : []),
    optionReply(OPTION.GO, REPLY.INFO, info),
    optionReply(OPTION.GO, REPLY.ACK),
  ];
  return concat(...parts);
}

/** Answers that a client must not believe, or that no one has asked for. */
export function wildServer(prng: Prng, offered: Offered): Uint8Array {
  const answers = Array.from({ length: prng.between(1, 8) }, () => wildAnswer(prng, offered));
  const flags = prng.ratio(1, 6) ? prng.below(65_536) : prng.pick([1, 3]);
  const structured = prng.ratio(1, 4)
    ? wildAnswer(prng, offered)
    : optionReply(OPTION.STRUCTURED_REPLY, prng.pick([REPLY.ACK, REPLY.ERR_UNSUP]));
  const ending = prng.ratio(1, 2)
    ? straightServer(prng, offered).subarray(SIZE.GREETING + SIZE.OPTION_REPLY)
    : NONE;
  return concat(greeting(flags), structured, ...answers, ending);
}

function wildAnswer(prng: Prng, offered: Offered): Uint8Array {
  const option = prng.ratio(1, 10) ? prng.below(13) : OPTION.GO;
  switch (prng.below(9)) {
    case 0: {
      const info = infoExport(prng.pick(SIZES), prng.below(65_536));
      return optionReply(option, REPLY.INFO, info);
    }
    case 1: {
      const [minimum, preferred, maximum] = [prng, prng, prng].map((each) => each.pick(BLOCKS));
      const info = infoBlockSize(minimum ?? 0, preferred ?? 0, maximum ?? 0);
      return optionReply(option, REPLY.INFO, info);
    }
    case 2:
      return optionReply(option, REPLY.INFO, randomBytes(prng, prng.below(40)));
    case 3:
      return optionReply(
        option,
        REPLY.INFO,
        infoText(INFO.NAME, randomBytes(prng, prng.below(20))),
      );
    case 4:
      return optionReply(
        option,
        REPLY.ERR_UNSUP + prng.below(12),
        randomBytes(prng, prng.below(60)),
      );
    case 5:
      return optionReply(option, prng.below(6), randomBytes(prng, prng.below(3)));
    case 6:
      // EXPORT_NAME's answer, to a client that fell back to it.
      return concat(infoExport(offered.sizeBytes, offered.flags).subarray(2), new Uint8Array(124));
    case 7: {
      const info = optionReply(OPTION.GO, REPLY.INFO, infoExport(offered.sizeBytes, offered.flags));
      return concat(...Array.from({ length: 70 }, () => info));
    }
    default:
      return optionReply(option, REPLY.INFO, new Uint8Array(prng.pick([30, 300, 300, 8193])));
  }
}

const SIZES = [0, 1, 511, 512, 2 ** 20, 2 ** 53 - 1, 2 ** 53 - 512] as const;
const BLOCKS = [0, 1, 3, 512, 4096, 65_536, 2 ** 17, 2 ** 25, 2 ** 32 - 1] as const;

/** A request as the server has got it. */
export interface Pending {
  readonly type: number;
  readonly cookieHigh: number;
  readonly cookieLow: number;
  readonly offset: number;
  readonly lengthBytes: number;
}

export function simpleReply(to: Pending, error = 0, data: Uint8Array = NONE): Uint8Array {
  const head = new Uint8Array(SIZE.SIMPLE_REPLY);
  writeSimpleReply(new DataView(head.buffer), 0, error, to.cookieHigh, to.cookieLow);
  return concat(head, data);
}

export function chunk(
  to: Pending,
  type: number,
  isDone: boolean,
  payload: Uint8Array = NONE,
): Uint8Array {
  const head = new Uint8Array(SIZE.STRUCTURED_CHUNK);
  const view = new DataView(head.buffer);
  view.setUint32(0, STRUCTURED_REPLY_MAGIC);
  view.setUint16(4, isDone ? CHUNK_FLAG.DONE : 0);
  view.setUint16(6, type);
  view.setUint32(8, to.cookieHigh);
  view.setUint32(12, to.cookieLow);
  view.setUint32(16, payload.length);
  return concat(head, payload);
}

export function dataPayload(offset: number, data: Uint8Array): Uint8Array {
  const head = new Uint8Array(8);
  writeU64(new DataView(head.buffer), 0, offset);
  return concat(head, data);
}

export function holePayload(offset: number, lengthBytes: number): Uint8Array {
  const bytes = new Uint8Array(12);
  const view = new DataView(bytes.buffer);
  writeU64(view, 0, offset);
  view.setUint32(8, lengthBytes);
  return bytes;
}

export function errorPayload(error: number, text = '', offset = -1): Uint8Array {
  const message = new TextEncoder().encode(text);
  const bytes = new Uint8Array(6 + message.length + (offset < 0 ? 0 : 8));
  const view = new DataView(bytes.buffer);
  view.setUint32(0, error);
  view.setUint16(4, message.length);
  bytes.set(message, 6);
  if (offset >= 0) writeU64(view, 6 + message.length, offset);
  return bytes;
}
