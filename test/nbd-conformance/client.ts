// A client that says exactly what a check wants said, right or wrong, and believes nothing.
import { connect, type Socket } from 'node:net';

import { PLAIN } from '../../core/nbd/agreement.ts';
import { REPLY_STYLE, type ReplyStyle } from '../../core/nbd/chunk.ts';
import { CLIENT_FLAG, COMMAND, INFO, OPTION, REPLY, SIZE } from '../../core/nbd/proto.ts';
import {
  isOptionReply,
  readGreeting,
  readOptionReplyLength,
  readOptionReplyOption,
  readOptionReplyType,
} from '../../core/nbd/wire.ts';
import {
  clientFlags,
  contextData,
  extendedRequest,
  infoData,
  option,
  request,
  type RequestFields,
} from '../support/nbd-messages.ts';
import { ReplyReader, type SeenReply } from '../support/reply-reader.ts';

/** What a server did that it must not do. */
export class Breach extends Error {
  override readonly name = 'Breach';
}

/** The check does not apply to this server: it does not offer what is checked. */
export class NotOffered extends Error {
  override readonly name = 'NotOffered';
}

export function expectThat(holds: boolean, otherwise: string): void {
  if (!holds) throw new Breach(otherwise);
}

export interface Place {
  readonly where: { readonly path: string } | { readonly host: string; readonly port: number };
  readonly exportName: string;
}

/** `nbd://HOST:PORT/NAME`, `nbd+unix:///NAME?socket=PATH` */
export function parseUri(text: string): Place {
  const uri = new URL(text);
  const exportName = decodeURIComponent(uri.pathname.replace(/^\//, ''));
  if (uri.protocol === 'nbd+unix:') {
    const path = uri.searchParams.get('socket');
    if (path === null) throw new Error(`${text}: a unix URI needs ?socket=PATH`);
    return { where: { path }, exportName };
  }
  if (uri.protocol !== 'nbd:') throw new Error(`${text}: expected nbd:// or nbd+unix://`);
  const host = uri.hostname.replace(/^\[|\]$/g, '');
  return { where: { host, port: uri.port === '' ? 10809 : Number(uri.port) }, exportName };
}

/** How long a server may think about one answer; tests of servers that never answer wait less. */
export const PATIENCE = { ms: 5000 };

export interface OptionReply {
  readonly option: number;
  readonly type: number;
  readonly data: Buffer;
}

/** Some servers have few places: what a check has opened is closed behind it. */
const opened = new Set<Conversation>();

export function hangUpAll(): void {
  for (const talk of opened) talk.hangUp();
  opened.clear();
}

export class Conversation {
  readonly place: Place;
  style: ReplyStyle = PLAIN.style;
  transmissionFlags = 0;
  sizeBytes = 0;
  private readonly socket: Socket;
  private received = Buffer.alloc(0);
  private isClosed = false;
  private wake: () => void = () => undefined;
  private cookie = 0;
  private readonly dataLengths = new Map<number, number>();
  private reader: ReplyReader | undefined;

  private constructor(place: Place, socket: Socket) {
    this.place = place;
    this.socket = socket;
    socket.on('data', (chunk: Buffer) => {
      this.received = Buffer.concat([this.received, chunk]);
      this.wake();
    });
    socket.on('error', () => undefined);
    opened.add(this);
    for (const event of ['end', 'close']) {
      socket.on(event, () => {
        this.isClosed = true;
        this.wake();
      });
    }
  }

  static open(place: Place): Promise<Conversation> {
    return new Promise((resolve, reject) => {
      const socket = connect({ ...place.where, noDelay: true });
      socket.once('error', reject);
      socket.once('connect', () => resolve(new Conversation(place, socket)));
    });
  }

  /** Greeted, flags sent: options may come. */
  static async greeted(place: Place, flags = 3): Promise<Conversation> {
    const talk = await Conversation.open(place);
    await talk.read(SIZE.GREETING);
    talk.send(clientFlags(flags));
    return talk;
  }

  send(bytes: Uint8Array): void {
    if (!this.socket.destroyed) this.socket.write(bytes);
  }

  /** Each byte in a packet of its own, as far as the system lets it. */
  async sendInPieces(bytes: Uint8Array): Promise<void> {
    for (const byte of bytes) {
      this.send(Uint8Array.of(byte));
      await new Promise((resolve) => setImmediate(resolve));
    }
  }

  /** What comes stays in the kernel from now on. */
  stopReading(): void {
    this.socket.pause();
  }

  hangUp(): void {
    this.socket.destroy();
  }

  async read(count: number): Promise<Buffer> {
    while (this.received.length < count) {
      if (this.isClosed) throw new Breach('the server closed the connection');
      await this.more();
    }
    const bytes = this.received.subarray(0, count);
    this.received = this.received.subarray(count);
    return bytes;
  }

  /** True: it closes, and says nothing more. */
  async closes(): Promise<boolean> {
    try {
      while (!this.isClosed) await this.more();
      return true;
    } catch {
      return false;
    }
  }

  private more(): Promise<void> {
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => reject(new Breach('no answer')), PATIENCE.ms);
      this.wake = () => {
        clearTimeout(timer);
        resolve();
      };
    });
  }

  async greeting(): Promise<number | undefined> {
    const bytes = await this.read(SIZE.GREETING);
    return readGreeting(viewOf(bytes), 0);
  }

  /** All replies to one option: up to the first that is no SERVER, INFO or META_CONTEXT. */
  async option(type: number, data: Uint8Array | string = ''): Promise<readonly OptionReply[]> {
    this.send(option(type, data));
    return this.optionReplies(type);
  }

  async optionReplies(type: number): Promise<readonly OptionReply[]> {
    const replies: OptionReply[] = [];
    for (;;) {
      const head = viewOf(await this.read(SIZE.OPTION_REPLY));
      expectThat(isOptionReply(head, 0), 'an option reply without its magic');
      const data = await this.read(readOptionReplyLength(head, 0));
      const reply = {
        option: readOptionReplyOption(head, 0),
        type: readOptionReplyType(head, 0),
        data,
      };
      expectThat(reply.option === type, `a reply to option ${reply.option}, not ${type}`);
      replies.push(reply);
      if (![REPLY.SERVER, REPLY.INFO, REPLY.META_CONTEXT].some((t) => t === reply.type))
        return replies;
    }
  }

  /** The last reply's type. */
  async answer(type: number, data: Uint8Array | string = ''): Promise<number> {
    return (await this.option(type, data)).at(-1)?.type ?? 0;
  }

  async structured(): Promise<void> {
    const type = await this.answer(OPTION.STRUCTURED_REPLY);
    if (type !== REPLY.ACK) throw new NotOffered('structured replies');
    this.style = REPLY_STYLE.STRUCTURED;
  }

  async extended(): Promise<void> {
    const type = await this.answer(OPTION.EXTENDED_HEADERS);
    if (type !== REPLY.ACK) throw new NotOffered('extended headers');
    this.style = REPLY_STYLE.EXTENDED;
  }

  /** Ids of the contexts selected. */
  async contexts(...queries: readonly string[]): Promise<readonly number[]> {
    const data = contextData(this.place.exportName, queries);
    const replies = await this.option(OPTION.SET_META_CONTEXT, data);
    if (replies.at(-1)?.type !== REPLY.ACK) throw new NotOffered('metadata contexts');
    return replies.slice(0, -1).map((reply) => reply.data.readUInt32BE(0));
  }

  async go(infos: readonly number[] = []): Promise<readonly OptionReply[]> {
    const replies = await this.option(OPTION.GO, infoData(this.place.exportName, infos));
    expectThat(replies.at(-1)?.type === REPLY.ACK, 'GO was refused');
    const info = replies.find(
      ({ data }) => data.length === 12 && data.readUInt16BE(0) === INFO.EXPORT,
    );
    expectThat(info !== undefined, 'GO without INFO_EXPORT');
    this.sizeBytes = Number(info?.data.readBigUInt64BE(2) ?? 0n);
    this.transmissionFlags = info?.data.readUInt16BE(10) ?? 0;
    this.reader = new ReplyReader(this.style, (cookie) => this.dataLengths.get(cookie) ?? 0);
    return replies;
  }

  /** Sends one request and returns what it was answered. */
  async ask(fields: RequestFields, payload?: Uint8Array): Promise<SeenReply> {
    return (await this.askAll([[fields, payload]]))[0] as SeenReply;
  }

  /** As `ask`, of a request that is altered on its way. */
  async askAltered(fields: RequestFields, alter: (bytes: Uint8Array) => void): Promise<SeenReply> {
    return (await this.answersTo([this.post(fields, undefined, alter)]))[0] as SeenReply;
  }

  /** Several at once, in flight together; replies in the order of the requests. */
  async askAll(
    all: readonly (readonly [fields: RequestFields, payload?: Uint8Array | undefined])[],
  ): Promise<readonly SeenReply[]> {
    return this.answersTo(all.map(([fields, payload]) => this.post(fields, payload)));
  }

  private async answersTo(cookies: readonly number[]): Promise<readonly SeenReply[]> {
    const { reader } = this;
    if (reader === undefined) throw new Error('a request before GO');
    for (;;) {
      const found = cookies.map((cookie) =>
        reader.replies.find((reply) => reply.cookie === cookie),
      );
      if (found.every((reply) => reply !== undefined)) return found;
      if (this.received.length === 0) {
        if (this.isClosed) throw new Breach('the server closed the connection');
        await this.more();
      }
      const bytes = this.received;
      this.received = Buffer.alloc(0);
      try {
        reader.give(new Uint8Array(bytes));
      } catch (error) {
        throw new Breach((error as Error).message);
      }
    }
  }

  /** Sends without waiting; returns the cookie. */
  post(
    fields: RequestFields,
    payload?: Uint8Array,
    alter: (bytes: Uint8Array) => void = () => undefined,
  ): number {
    this.cookie += 1;
    const cookie = this.cookie;
    if (fields.type === COMMAND.READ) this.dataLengths.set(cookie, fields.length ?? 0);
    const make = this.style === REPLY_STYLE.EXTENDED ? extendedRequest : request;
    const bytes = make({ ...fields, cookie }, payload);
    alter(bytes);
    this.send(bytes);
    return cookie;
  }
}

/** In transmission; `prepare` negotiates first. */
export async function inTransmission(
  place: Place,
  prepare: (talk: Conversation) => Promise<unknown> = () => Promise.resolve(),
  infos: readonly number[] = [INFO.BLOCK_SIZE],
): Promise<Conversation> {
  const talk = await Conversation.greeted(
    place,
    CLIENT_FLAG.FIXED_NEWSTYLE | CLIENT_FLAG.NO_ZEROES,
  );
  await prepare(talk);
  await talk.go(infos);
  return talk;
}

function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
}
