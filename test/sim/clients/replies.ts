import { badAnswer } from '../checkers/c1-answered-once.ts';
import { CHUNK_TYPE, CMD, FLAG, REPLY_MAGIC, u64At, type Head, type Style } from './format.ts';

/** A request under way on a connection. */
export interface Asked {
  readonly head: Head;
  /** For messages. */
  readonly words: string;
  /** BLOCK_STATUS: ids of the contexts that have to answer. */
  readonly contexts: readonly number[];
  /** BLOCK_STATUS: the bytes asked about, where `head.bytes` is the length of a payload. */
  readonly effectBytes: number;
  /** Where the client's stream has the request's last byte. */
  endsAt: number;
  readonly data: Uint8Array | null;
  /** An error as NBD numbers them; 0: it is done. */
  done(error: number): void;
  extent(context: number, offset: number, bytes: number, flags: number): void;
}

/** What has come of a reply in chunks. */
interface Partial {
  readonly pieces: { readonly start: number; readonly end: number }[];
  readonly told: Set<number>;
  error: number;
}

const SIMPLE_BYTES = 16;
const CHUNK_BYTES = { structured: 20, extended: 32 } as const;
/** EPERM, EIO, ENOMEM, EINVAL, ENOSPC, EOVERFLOW, ENOTSUP, ESHUTDOWN. */
const ERRORS: readonly number[] = [1, 5, 12, 22, 28, 75, 95, 108];

/**
 * Cuts what a server sends into replies, and holds each against what proto.md allows as an answer to
 * what was asked (C1).
 */
export class ReplyReader {
  readonly pending = new Map<string, Asked>();
  private readonly name: string;
  private readonly style: Style;
  private readonly partials = new Map<string, Partial>();
  private held = new Uint8Array(256);
  private have = 0;

  constructor(name: string, style: Style) {
    this.name = name;
    this.style = style;
  }

  add(asked: Asked): void {
    this.pending.set(cookieOf(asked.head.cookieHigh, asked.head.cookieLow), asked);
  }

  read(bytes: Uint8Array): void {
    this.hold(bytes);
    let from = 0;
    for (;;) {
      const taken = this.take(from);
      if (taken === 0) break;
      from += taken;
    }
    this.held.copyWithin(0, from, this.have);
    this.have -= from;
  }

  /** At the end of a stream: bytes of a reply that is not whole. */
  get hasPart(): boolean {
    return this.have > 0;
  }

  private bad(message: string): never {
    badAnswer(this.name, message);
  }

  private hold(bytes: Uint8Array): void {
    const wanted = this.have + bytes.length;
    if (wanted > this.held.length) {
      const larger = new Uint8Array(2 * wanted);
      larger.set(this.held.subarray(0, this.have));
      this.held = larger;
    }
    this.held.set(bytes, this.have);
    this.have = wanted;
  }

  /** Bytes of the whole message at `from`; 0: it is not whole yet. */
  private take(from: number): number {
    const left = this.have - from;
    if (left < SIMPLE_BYTES) return 0;
    const view = new DataView(this.held.buffer, from, left);
    const magic = view.getUint32(0);
    if (magic === REPLY_MAGIC.SIMPLE) return this.takeSimple(view, from);
    const { style } = this;
    if (style === 'simple') this.bad(`a reply that begins with ${magic.toString(16)}`);
    const wanted = style === 'structured' ? REPLY_MAGIC.STRUCTURED : REPLY_MAGIC.EXTENDED;
    if (magic !== wanted) this.bad(`a chunk that begins with ${magic.toString(16)}`);
    const head = CHUNK_BYTES[style];
    if (left < head) return 0;
    const length = style === 'structured' ? view.getUint32(16) : u64At(view, 24);
    if (length > 2 ** 26) this.bad(`a chunk of ${length} bytes`);
    if (left < head + length) return 0;
    this.takeChunk(view, from + head, length);
    return head + length;
  }

  private takeSimple(view: DataView, from: number): number {
    const error = view.getUint32(4);
    const cookie = cookieOf(view.getUint32(8), view.getUint32(12));
    const asked = this.find(cookie);
    const { type } = asked.head;
    if (this.style === 'extended') this.bad(`a simple reply to ${asked.words}`);
    const needsChunks = type === CMD.READ || type === CMD.STATUS;
    if (this.style === 'structured' && needsChunks) this.bad(`a simple reply to ${asked.words}`);
    const isRead = type === CMD.READ && error === 0;
    const bytes = isRead ? asked.head.bytes : 0;
    if (view.byteLength < SIMPLE_BYTES + bytes) return 0;
    const start = from + SIMPLE_BYTES;
    if (bytes > 0) asked.data?.set(this.held.subarray(start, start + bytes));
    this.end(cookie, asked, error);
    return SIMPLE_BYTES + bytes;
  }

  private find(cookie: string): Asked {
    const asked = this.pending.get(cookie);
    if (asked === undefined) this.bad(`a reply to ${cookie}, which is not under way`);
    return asked;
  }

  private takeChunk(view: DataView, at: number, length: number): void {
    const flags = view.getUint16(4);
    const type = view.getUint16(6);
    const cookie = cookieOf(view.getUint32(8), view.getUint32(12));
    const asked = this.find(cookie);
    if (flags > 1) this.bad(`chunk flags ${flags} for ${asked.words}`);
    if (this.style === 'extended' && u64At(view, 16) !== asked.head.offset)
      this.bad(`a chunk says offset ${u64At(view, 16)}, asked was ${asked.words}`);
    let partial = this.partials.get(cookie);
    if (partial === undefined) {
      partial = { pieces: [], told: new Set(), error: 0 };
      this.partials.set(cookie, partial);
    }
    const body = new DataView(this.held.buffer, at, length);
    this.takeBody(asked, partial, { type, isLast: flags === 1, at, body });
    if (flags === 0) return;
    this.partials.delete(cookie);
    if (partial.error === 0) this.checkWhole(asked, partial);
    this.end(cookie, asked, partial.error);
  }

  private takeBody(
    asked: Asked,
    partial: Partial,
    { type, isLast, at, body }: { type: number; isLast: boolean; at: number; body: DataView },
  ): void {
    const isRead = asked.head.type === CMD.READ;
    switch (type) {
      case CHUNK_TYPE.NONE:
        if (body.byteLength > 0 || !isLast) this.bad(`a wrong NONE chunk for ${asked.words}`);
        return;
      case CHUNK_TYPE.DATA: {
        if (!isRead || body.byteLength < 9) this.bad(`a wrong DATA chunk for ${asked.words}`);
        const start = this.place(asked, partial, u64At(body, 0), body.byteLength - 8);
        asked.data?.set(this.held.subarray(at + 8, at + body.byteLength), start);
        return;
      }
      case CHUNK_TYPE.HOLE: {
        if (!isRead || body.byteLength !== 12) this.bad(`a wrong HOLE chunk for ${asked.words}`);
        const bytes = body.getUint32(8);
        const start = this.place(asked, partial, u64At(body, 0), bytes);
        asked.data?.fill(0, start, start + bytes);
        return;
      }
      case CHUNK_TYPE.ERROR:
      case CHUNK_TYPE.ERROR_OFFSET:
        partial.error = this.errorOf(asked, type === CHUNK_TYPE.ERROR_OFFSET, body);
        return;
      case CHUNK_TYPE.STATUS:
      case CHUNK_TYPE.STATUS_EXT:
        this.takeStatus(asked, partial, type, body);
        return;
      default:
        this.bad(`a chunk of type ${type} for ${asked.words}`);
    }
  }

  /** A piece of a READ: where in its memory. */
  private place(asked: Asked, { pieces }: Partial, offset: number, bytes: number): number {
    const start = offset - asked.head.offset;
    const end = start + bytes;
    if (start < 0 || end > asked.head.bytes || bytes === 0)
      this.bad(`bytes ${offset}+${bytes} in a chunk for ${asked.words}`);
    if (pieces.some((piece) => piece.start < end && start < piece.end))
      this.bad(`bytes ${offset}+${bytes} come twice for ${asked.words}`);
    pieces.push({ start, end });
    const isOne = (asked.head.flags & FLAG.DF) !== 0;
    if (isOne && pieces.length > 1) this.bad(`more than one piece for ${asked.words}`);
    return start;
  }

  private errorOf(asked: Asked, hasPlace: boolean, body: DataView): number {
    const { head, words } = asked;
    if (body.byteLength < 6) this.bad(`an error chunk of ${body.byteLength} bytes for ${words}`);
    const error = body.getUint32(0);
    const text = body.getUint16(4);
    const wanted = 6 + text + (hasPlace ? 8 : 0);
    if (error === 0 || body.byteLength !== wanted) this.bad(`a wrong error chunk for ${words}`);
    if (!hasPlace) return error;
    const place = u64At(body, 6 + text);
    if (place < head.offset || place >= head.offset + head.bytes)
      this.bad(`an error at ${place} for ${words}`);
    return error;
  }

  private takeStatus(asked: Asked, partial: Partial, type: number, body: DataView): void {
    const isExtended = this.style === 'extended';
    const first = isExtended ? 8 : 4;
    const size = isExtended ? 16 : 8;
    const isRightType = type === (isExtended ? CHUNK_TYPE.STATUS_EXT : CHUNK_TYPE.STATUS);
    const count = (body.byteLength - first) / size;
    if (asked.head.type !== CMD.STATUS || !isRightType || !(count >= 1) || count % 1 !== 0)
      this.bad(`a wrong status chunk for ${asked.words}`);
    if (isExtended && body.getUint32(4) !== count) this.bad(`extents miscounted: ${asked.words}`);
    const id = body.getUint32(0);
    if (!asked.contexts.includes(id) || partial.told.has(id))
      this.bad(`a status of context ${id} for ${asked.words}`);
    partial.told.add(id);
    const isOne = (asked.head.flags & FLAG.REQ_ONE) !== 0;
    if (isOne && count > 1) this.bad(`${count} extents for ${asked.words}`);
    let offset = asked.head.offset;
    const end = offset + asked.effectBytes;
    for (let i = 0; i < count; i += 1) {
      const place = first + i * size;
      const bytes = isExtended ? u64At(body, place) : body.getUint32(place);
      const flags = isExtended ? u64At(body, place + 8) : body.getUint32(place + 4);
      const isTooLong = offset + bytes > end && (isOne || i + 1 < count);
      if (bytes === 0 || offset >= end || isTooLong)
        this.bad(`an extent of ${bytes} bytes at ${offset} for ${asked.words}`);
      asked.extent(id, offset, bytes, flags);
      offset += bytes;
    }
  }

  private checkWhole({ head, contexts, words }: Asked, { pieces, told }: Partial): void {
    const bytes = pieces.reduce((sum, { start, end }) => sum + end - start, 0);
    const wanted = head.type === CMD.READ ? head.bytes : 0;
    if (bytes !== wanted) this.bad(`${bytes} bytes for ${words}`);
    if (told.size !== contexts.length) this.bad(`${told.size} contexts answer ${words}`);
  }

  private end(cookie: string, asked: Asked, error: number): void {
    const { flags, type } = asked.head;
    if (error !== 0 && !ERRORS.includes(error)) this.bad(`error ${error} for ${asked.words}`);
    const mayRefuse = type === CMD.ZEROES && (flags & FLAG.FAST_ZERO) !== 0;
    if (error === 95 && !mayRefuse) this.bad(`ENOTSUP for ${asked.words}`);
    if (error === 75 && (flags & FLAG.DF) === 0) this.bad(`EOVERFLOW for ${asked.words}`);
    this.pending.delete(cookie);
    asked.done(error);
  }
}

function cookieOf(high: number, low: number): string {
  return `${high.toString(16)}:${low.toString(16)}`;
}
