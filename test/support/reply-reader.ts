import {
  chunkHeaderBytes,
  ChunkHeader,
  extentBytes,
  readChunk,
  readExtentFlags,
  readExtentLength,
  REPLY_STYLE,
  statusHeadBytes,
  type ReplyStyle,
} from '../../core/nbd/chunk.ts';
import { CHUNK, CHUNK_FLAG, SIMPLE_REPLY_MAGIC } from '../../core/nbd/proto.ts';
import { readSimpleReply, readU64, SimpleReplyHeader } from '../../core/nbd/wire.ts';
import { concat } from './hex.ts';

export interface SeenChunk {
  readonly type: number;
  readonly isDone: boolean;
  readonly cookie: number;
  /** Extended replies: the request's offset, copied back. */
  readonly requestOffset: number;
  readonly payload: Uint8Array;
}

interface SeenExtent {
  readonly length: number;
  readonly flags: number;
}

/** What a request was answered: of a simple reply `chunks` is empty. */
export interface SeenReply {
  readonly cookie: number;
  readonly error: number;
  readonly text: string;
  /** -1: the error has no place. */
  readonly errorOffset: number;
  /** A READ's bytes, holes filled with zeros, in the order of the chunks. */
  readonly data: Uint8Array;
  readonly chunks: readonly SeenChunk[];
  /** Extents by the context's id. */
  readonly status: ReadonlyMap<number, readonly SeenExtent[]>;
}

/** How many bytes of simple data follow, by cookie: only the client knows. */
export type DataLength = (cookie: number) => number;

/** Cuts replies off a stream of bytes, of every style. Any wrong byte throws. */
export class ReplyReader {
  readonly replies: SeenReply[] = [];
  private readonly style: ReplyStyle;
  private readonly dataLength: DataLength;
  private readonly open = new Map<number, SeenChunk[]>();
  private rest: Uint8Array = new Uint8Array(0);
  /** Bytes behind `rest`, joined when they make `needed`: large replies come in small pieces. */
  private later: Uint8Array[] = [];
  private laterBytes = 0;
  private needed = 16;

  constructor(style: ReplyStyle, dataLength: DataLength) {
    this.style = style;
    this.dataLength = dataLength;
  }

  /** Bytes of a reply that has not ended. */
  get unread(): number {
    return this.rest.length + this.laterBytes;
  }

  give(bytes: Uint8Array): void {
    this.later.push(bytes);
    this.laterBytes += bytes.length;
    if (this.unread < this.needed) return;
    this.rest = concat(this.rest, ...this.later);
    this.later = [];
    this.laterBytes = 0;
    while (this.takeOne());
  }

  private has(bytes: number): boolean {
    this.needed = bytes;
    return this.rest.length >= bytes;
  }

  private takeOne(): boolean {
    const view = new DataView(this.rest.buffer, this.rest.byteOffset, this.rest.length);
    if (!this.has(16)) return false;
    const isSimple = view.getUint32(0) === SIMPLE_REPLY_MAGIC;
    if (isSimple && this.style === REPLY_STYLE.EXTENDED)
      throw new Error('a simple reply, extended');
    return isSimple ? this.takeSimple(view) : this.takeChunk(view);
  }

  private takeSimple(view: DataView): boolean {
    const header = new SimpleReplyHeader();
    if (!readSimpleReply(view, 0, header)) throw new Error('a bad reply magic');
    const cookie = header.cookieLow;
    const length = header.error === 0 ? this.dataLength(cookie) : 0;
    if (length > 0 && this.style !== REPLY_STYLE.SIMPLE) throw new Error('simple data, structured');
    if (!this.has(16 + length)) return false;
    const data = this.rest.slice(16, 16 + length);
    this.rest = this.rest.subarray(16 + length);
    const { error } = header;
    const none = { chunks: [], status: new Map<number, SeenExtent[]>() };
    this.replies.push({ cookie, error, text: '', errorOffset: -1, data, ...none });
    return true;
  }

  private takeChunk(view: DataView): boolean {
    if (this.style === REPLY_STYLE.SIMPLE) throw new Error('a bad reply magic');
    const headBytes = chunkHeaderBytes(this.style);
    if (!this.has(headBytes)) return false;
    const header = new ChunkHeader();
    if (!readChunk(view, 0, this.style, header)) throw new Error('a bad chunk magic');
    const end = headBytes + header.lengthBytes;
    if (!this.has(end)) return false;
    const payload = this.rest.slice(headBytes, end);
    this.rest = this.rest.subarray(end);
    const cookie = header.cookieLow;
    const requestOffset = header.offsetHigh * 2 ** 32 + header.offsetLow;
    const isDone = (header.flags & CHUNK_FLAG.DONE) !== 0;
    const chunks = this.open.get(cookie) ?? [];
    chunks.push({ type: header.type, isDone, cookie, requestOffset, payload });
    this.open.set(cookie, chunks);
    if (isDone) {
      this.open.delete(cookie);
      this.replies.push(replyOf(cookie, chunks, this.style));
    }
    return true;
  }
}

function replyOf(cookie: number, chunks: readonly SeenChunk[], style: ReplyStyle): SeenReply {
  const data: Uint8Array[] = [];
  const status = new Map<number, readonly SeenExtent[]>();
  let error = 0;
  let text = '';
  let errorOffset = -1;
  for (const { type, payload } of chunks) {
    const view = new DataView(payload.buffer, payload.byteOffset, payload.length);
    if (type === CHUNK.OFFSET_DATA) data.push(payload.subarray(8));
    else if (type === CHUNK.OFFSET_HOLE) data.push(new Uint8Array(view.getUint32(8)));
    else if (type === CHUNK.ERROR || type === CHUNK.ERROR_OFFSET) {
      error = view.getUint32(0);
      const end = 6 + view.getUint16(4);
      text = new TextDecoder().decode(payload.subarray(6, end));
      if (type === CHUNK.ERROR_OFFSET) errorOffset = readU64(view, end);
    } else if (type === CHUNK.BLOCK_STATUS || type === CHUNK.BLOCK_STATUS_EXT) {
      status.set(view.getUint32(0), extentsOf(view, style));
    } else if (type !== CHUNK.NONE) throw new Error(`chunk type ${type}`);
  }
  return { cookie, error, text, errorOffset, data: concat(...data), chunks, status };
}

function extentsOf(view: DataView, style: ReplyStyle): SeenExtent[] {
  const extents: SeenExtent[] = [];
  const size = extentBytes(style);
  for (let at = statusHeadBytes(style); at < view.byteLength; at += size) {
    const length = readExtentLength(view, at, style);
    extents.push({ length, flags: readExtentFlags(view, at, style) });
  }
  return extents;
}
