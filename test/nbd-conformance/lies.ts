// Servers that are wrong, each in one way.
import {
  CHUNK,
  COMMAND,
  INFO,
  NBD_ERROR,
  OPTION,
  REPLY,
  TRANSMISSION_FLAG,
} from '../../core/nbd/proto.ts';
import type { Lie, Said, SaidOption } from './liar.ts';

const isError = (type: number): boolean => type >= REPLY.ERR_UNSUP;
const isErrorChunk = (head: Buffer): boolean => (head.readUInt16BE(6) & 0x8000) !== 0;
const isFailure = ({ head, isSimple }: Said): boolean =>
  isSimple ? head.readUInt32BE(4) !== 0 : isErrorChunk(head);
const whole = ({ head, data }: Said): Buffer => Buffer.concat([head, data]);

/** INFO_EXPORT with other flags or another size. */
function export_(change: (data: Buffer) => void): Lie {
  return {
    option: (said) => {
      if (said.type === REPLY.INFO && said.data.readUInt16BE(0) === INFO.EXPORT) change(said.data);
      return [said];
    },
  };
}

function flags(change: (flags: number) => number): Lie {
  return export_((data) => data.writeUInt16BE(change(data.readUInt16BE(10)), 10));
}

function types(change: (said: SaidOption) => number): Lie {
  return { option: (said) => [{ ...said, type: change(said) }] };
}

/** A failure that is told as a success. */
function praised(said: Said): Buffer {
  if (!isFailure(said)) return whole(said);
  if (said.isSimple) {
    said.head.writeUInt32BE(0, 4);
    const data = said.request.type === COMMAND.READ ? Math.min(said.request.length, 2 ** 20) : 0;
    return Buffer.concat([said.head, Buffer.alloc(data)]);
  }
  return chunk(said, CHUNK.NONE, Buffer.alloc(0));
}

/** The chunk's head, before another payload. */
function chunk({ head, isExtended }: Said, type: number, data: Buffer, isDone = true): Buffer {
  const next = Buffer.from(head);
  next.writeUInt16BE(isDone ? 1 : 0, 4);
  next.writeUInt16BE(type, 6);
  if (isExtended) next.writeBigUInt64BE(BigInt(data.length), 24);
  else next.writeUInt32BE(data.length, 16);
  return Buffer.concat([next, data]);
}

/** Another error instead of this. */
function fails(said: Said, from: (error: number) => number): Buffer {
  const { head, data, isSimple } = said;
  if (isSimple) {
    const error = from(head.readUInt32BE(4));
    head.writeUInt32BE(error, 4);
    return error === 0 ? whole(said) : head;
  }
  const error = Buffer.alloc(6);
  error.writeUInt32BE(from(isErrorChunk(head) ? data.readUInt32BE(0) : 0), 0);
  return error.readUInt32BE(0) === 0 ? whole(said) : chunk(said, CHUNK.ERROR, error);
}

/** Extents of a BLOCK_STATUS chunk, changed. */
function extents(change: (extent: Buffer) => readonly Buffer[]): Lie {
  return {
    reply: (said) => {
      const { head, data } = said;
      const type = head.readUInt16BE(6);
      if (said.isSimple || (type !== CHUNK.BLOCK_STATUS && type !== CHUNK.BLOCK_STATUS_EXT)) {
        return whole(said);
      }
      const [first, size] = type === CHUNK.BLOCK_STATUS ? [4, 8] : [8, 16];
      const all: Buffer[] = [];
      for (let at = first; at < data.length; at += size)
        all.push(...change(data.subarray(at, at + size)));
      const start = Buffer.from(data.subarray(0, first));
      if (first === 8) start.writeUInt32BE(all.length, 4);
      return chunk(said, type, Buffer.concat([start, ...all]), (head.readUInt16BE(4) & 1) === 1);
    },
  };
}

/** Without memory between clients: what is told once is told always. */
export const LIES: Readonly<Record<string, Lie>> = {
  'a greeting without FIXED_NEWSTYLE': {
    greeting: (bytes) => Buffer.concat([bytes.subarray(0, 17), Buffer.of(2)]),
  },
  'everything fails': { reply: (said) => fails(said, () => NBD_ERROR.EIO) },
  'everything succeeds': { reply: praised },
  'every error is ENOMEM': {
    reply: (said) => fails(said, (error) => (error === 0 ? 0 : NBD_ERROR.ENOMEM)),
  },
  'an error of its own': { reply: (said) => fails(said, (error) => (error === 0 ? 0 : 200)) },
  'ENOTSUP for WRITE_ZEROES': {
    reply: (said) =>
      said.request.type === COMMAND.WRITE_ZEROES
        ? fails(said, () => NBD_ERROR.ENOTSUP)
        : whole(said),
  },
  'hangs up after a failure': { reply: (said) => (isFailure(said) ? null : whole(said)) },
  'hangs up on no bytes': {
    reply: (said) =>
      said.request.length === 0 && said.request.type !== COMMAND.FLUSH ? null : whole(said),
  },
  'hangs up on more than 16 MiB': {
    reply: (said) => (said.request.length > 2 ** 24 ? null : whole(said)),
  },
  'never hangs up': { keepsOpen: true },
  'serves one client': { isAlone: true },
  'hangs up on a single byte': { wantsWhole: true },
  'other bytes': {
    reply: (said) => {
      const { data, head, isSimple } = said;
      if (said.request.type !== COMMAND.READ || isFailure(said)) return whole(said);
      const isData = isSimple || head.readUInt16BE(6) === CHUNK.OFFSET_DATA;
      for (let i = isSimple ? 0 : 8; isData && i < data.length; i += 1)
        data[i] = (data[i] ?? 0) ^ 0xff;
      return whole(said);
    },
  },
  'holes are data': {
    reply: (said) => {
      const { data, head } = said;
      if (said.isSimple || head.readUInt16BE(6) !== CHUNK.OFFSET_HOLE) return whole(said);
      const filled = Buffer.alloc(8 + data.readUInt32BE(8), 0x11);
      data.copy(filled, 0, 0, 8);
      return chunk(said, CHUNK.OFFSET_DATA, filled, (head.readUInt16BE(4) & 1) === 1);
    },
  },
  'other cookies': {
    reply: (said) => {
      said.head.writeUInt32BE(0xabcdef, 8);
      return whole(said);
    },
  },
  'simple replies to everybody': {
    reply: (said) => {
      const head = Buffer.alloc(16);
      head.writeUInt32BE(0x67446698, 0);
      said.head.copy(head, 8, 8, 16);
      if (isFailure(said)) head.writeUInt32BE(NBD_ERROR.EINVAL, 4);
      return head;
    },
  },
  'two chunks for one': {
    reply: (said) => {
      const { data, head } = said;
      if (said.isSimple || head.readUInt16BE(6) !== CHUNK.OFFSET_DATA) return whole(said);
      const second = Buffer.concat([data.subarray(0, 8), data.subarray(508)]);
      second.writeBigUInt64BE(second.readBigUInt64BE(0) + 500n, 0);
      const isDone = (head.readUInt16BE(4) & 1) === 1;
      const firstChunk = chunk(said, CHUNK.OFFSET_DATA, data.subarray(0, 508), false);
      return Buffer.concat([firstChunk, chunk(said, CHUNK.OFFSET_DATA, second, isDone)]);
    },
  },
  'no words': { reply: (said) => fails(said, (error) => error) },
  'the offset of another': {
    reply: (said) => {
      if (said.isExtended) said.head.writeUInt32BE(77, 16);
      return whole(said);
    },
  },
  'everything is a hole': {
    ...extents((extent) => {
      extent[extent.length - 1] = 3;
      return [extent];
    }),
  },
  'extents of no bytes': extents((extent) => [extent.fill(0, 0, extent.length / 2)]),
  'extents in halves': extents((extent) => {
    const half = Buffer.from(extent);
    half.writeUInt32BE(512, extent.length / 2 - 4);
    return [half, half];
  }),
  'contexts of another id': {
    reply: (said) => {
      const type = said.isSimple ? 0 : said.head.readUInt16BE(6);
      if (type === CHUNK.BLOCK_STATUS || type === CHUNK.BLOCK_STATUS_EXT)
        said.data.writeUInt32BE(9, 0);
      return whole(said);
    },
  },
  'no ACK': types(({ type }) => (type === REPLY.ACK ? REPLY.ERR_PLATFORM : type)),
  'ACK for every error': types(({ type }) => (isError(type) ? REPLY.ACK : type)),
  'ACK for a GO that fails': types(({ option, type }) =>
    option === OPTION.GO && isError(type) ? REPLY.ACK : type,
  ),
  'ERR_PLATFORM for every error': types(({ type }) => (isError(type) ? REPLY.ERR_PLATFORM : type)),
  'hangs up after an option that fails': { option: (said) => (isError(said.type) ? null : [said]) },
  'cuts its lists short': {
    option: (said) => [
      said.type === REPLY.SERVER ? { ...said, data: said.data.subarray(0, 3) } : said,
    ],
  },
  'no INFO_EXPORT': {
    option: (said) =>
      said.type === REPLY.INFO && said.data.readUInt16BE(0) === INFO.EXPORT ? [] : [said],
  },
  'another size in GO': {
    option: (said) => {
      const isIt =
        said.type === REPLY.INFO &&
        said.option === OPTION.GO &&
        said.data.readUInt16BE(0) === INFO.EXPORT;
      if (isIt) said.data.writeBigUInt64BE(2n ** 26n + 512n, 2);
      return [said];
    },
  },
  'odd sizes': {
    option: (said) => {
      if (said.type === REPLY.INFO && said.data.readUInt16BE(0) === INFO.BLOCK_SIZE)
        said.data.writeUInt32BE(3, 2);
      return [said];
    },
  },
  'a name nobody has': {
    option: (said) => {
      const isIt = said.type === REPLY.INFO && said.data.readUInt16BE(0) === INFO.NAME;
      return [isIt ? { ...said, data: Buffer.from('\0\x01ghost') } : said];
    },
  },
  'no HAS_FLAGS': flags((all) => all & ~TRANSMISSION_FLAG.HAS_FLAGS),
  'DF the other way round': flags((all) => all ^ TRANSMISSION_FLAG.SEND_DF),
  'FAST_ZERO alone': flags((all) => all & ~TRANSMISSION_FLAG.SEND_WRITE_ZEROES),
  'payloads of BLOCK_STATUS for everybody': flags(
    (all) => all | TRANSMISSION_FLAG.BLOCK_STATUS_PAYLOAD,
  ),
  'zeroes the other way round': {
    exportName: (bytes) =>
      bytes.length > 10 ? bytes.subarray(0, 10) : Buffer.concat([bytes, Buffer.alloc(124)]),
  },
  'no zeroes but ones': { exportName: (bytes) => bytes.fill(1, 10) },
  'zeroes behind GO': { behindGo: Buffer.alloc(124) },
  'contexts of another name': {
    option: (said) => {
      const isIt = said.type === REPLY.META_CONTEXT && said.option === OPTION.LIST_META_CONTEXT;
      return [isIt ? { ...said, data: Buffer.from('\0\0\0\0x-other:one') } : said];
    },
  },
  'a context nobody asked for': {
    option: (said) => {
      const isIt = said.type === REPLY.ACK && said.option === OPTION.SET_META_CONTEXT;
      const more = {
        option: said.option,
        type: REPLY.META_CONTEXT,
        data: Buffer.from('\0\0\0\x01x-other:one'),
      };
      return isIt ? [more, said] : [said];
    },
  },
  'hangs up on STRUCTURED_REPLY': {
    option: (said) =>
      said.option === OPTION.STRUCTURED_REPLY && said.type === REPLY.ACK && twice() ? null : [said],
  },
};

let count = 0;
/** Every second time. */
function twice(): boolean {
  count += 1;
  return count % 2 === 0;
}
