// A proxy before a server that keeps the rules, which breaks one of them: what the checks must notice.
import { connect, createServer, type Server, type Socket } from 'node:net';

import { CLIENT_FLAG, COMMAND, COMMAND_FLAG, OPTION, REPLY, SIZE } from '../../core/nbd/proto.ts';

const OPTION_MAGIC = Buffer.from('IHAVEOPT');
const SIMPLE = 0x67446698;
const STRUCTURED = 0x668e33ef;
const REQUEST = 0x25609513;
const EXTENDED_REQUEST = 0x21e41c71;

export interface SaidOption {
  readonly option: number;
  readonly type: number;
  readonly data: Buffer;
}

interface Asked {
  readonly type: number;
  readonly flags: number;
  readonly length: number;
}

/** A reply, or a chunk of one. */
export interface Said {
  readonly head: Buffer;
  readonly data: Buffer;
  readonly isSimple: boolean;
  readonly isExtended: boolean;
  readonly request: Asked;
}

/** What is said instead; null: the connection is cut. */
export interface Lie {
  readonly greeting?: (bytes: Buffer) => Buffer;
  readonly option?: (said: SaidOption) => readonly SaidOption[] | null;
  /** Size, flags, and zeroes if the client did not do without. */
  readonly exportName?: (bytes: Buffer) => Buffer;
  readonly behindGo?: Buffer;
  readonly reply?: (said: Said) => Buffer | null;
  /** The server hangs up, and nobody hears of it. */
  readonly keepsOpen?: boolean;
  /** Only the first client is served. */
  readonly isAlone?: boolean;
  /** A byte that comes alone is too much. */
  readonly wantsWhole?: boolean;
}

export class Liar {
  private readonly server: Server;
  private readonly sockets = new Set<Socket>();
  private lie: Lie = {};
  private clients = 0;

  constructor(target: string) {
    this.server = createServer({ allowHalfOpen: true }, (near) => {
      this.clients += 1;
      const far = connect({ path: target, allowHalfOpen: true });
      for (const socket of [near, far]) {
        this.sockets.add(socket);
        socket.on('error', () => undefined).on('close', () => this.sockets.delete(socket));
      }
      if (this.lie.isAlone === true && this.clients > 1) {
        near.destroy();
        far.destroy();
      } else new Talk(near, far, this.lie);
    });
  }

  async listen(path: string): Promise<void> {
    await new Promise<void>((done) => this.server.listen(path, done));
  }

  tell(lie: Lie): void {
    this.lie = lie;
    this.clients = 0;
  }

  close(): void {
    for (const socket of this.sockets) socket.destroy();
    this.server.close();
  }
}

class Talk {
  private readonly near: Socket;
  private readonly far: Socket;
  private readonly lie: Lie;
  private heard = Buffer.alloc(0);
  private said = Buffer.alloc(0);
  private flags = -1;
  private phase: 'greeting' | 'options' | 'transmission' = 'greeting';
  private isExtended = false;
  /** The client speaks no NBD any more. */
  private isLost = false;
  private option = 0;
  private readonly asked = new Map<string, Asked>();

  constructor(near: Socket, far: Socket, lie: Lie) {
    this.near = near;
    this.far = far;
    this.lie = lie;
    near.on('data', (bytes: Buffer) => {
      if (lie.wantsWhole === true && bytes.length === 1) this.cut();
      this.heard = Buffer.concat([this.heard, bytes]);
      this.listen();
      if (!far.destroyed && far.writable) far.write(bytes);
    });
    near.on('close', () => far.destroy());
    near.on('end', () => far.end());
    far.on('data', (bytes: Buffer) => {
      this.said = Buffer.concat([this.said, bytes]);
      while (this.speak());
    });
    far.on('close', () => {
      if (lie.keepsOpen !== true) near.destroySoon();
    });
    far.on('end', () => {
      if (lie.keepsOpen !== true) near.end();
    });
  }

  private cut(): void {
    this.near.destroy();
    this.far.destroy();
  }

  private write(bytes: Buffer | null): void {
    if (bytes === null) this.cut();
    else if (!this.near.destroyed) this.near.write(bytes);
  }

  private hear(count: number): Buffer | undefined {
    if (this.heard.length < count) return undefined;
    const bytes = this.heard.subarray(0, count);
    this.heard = this.heard.subarray(count);
    return bytes;
  }

  private listen(): void {
    while (!this.isLost && this.listenOnce());
    if (this.isLost) this.heard = Buffer.alloc(0);
  }

  private listenOnce(): boolean {
    if (this.flags < 0) {
      const bytes = this.hear(SIZE.CLIENT_FLAGS);
      if (bytes !== undefined) this.flags = bytes.readUInt32BE(0);
      return bytes !== undefined;
    }
    return this.phase === 'transmission' ? this.listenRequest() : this.listenOption();
  }

  private listenOption(): boolean {
    if (this.heard.length < SIZE.OPTION) return false;
    this.isLost = !this.heard.subarray(0, 8).equals(OPTION_MAGIC);
    if (this.isLost) return false;
    const length = this.heard.readUInt32BE(12);
    const bytes = this.hear(SIZE.OPTION + length);
    if (bytes !== undefined) this.option = bytes.readUInt32BE(8);
    return bytes !== undefined;
  }

  private listenRequest(): boolean {
    const size = this.isExtended ? SIZE.EXTENDED_REQUEST : SIZE.REQUEST;
    if (this.heard.length < size) return false;
    const { heard, isExtended } = this;
    this.isLost = heard.readUInt32BE(0) !== (isExtended ? EXTENDED_REQUEST : REQUEST);
    if (this.isLost) return false;
    const [flags, type] = [heard.readUInt16BE(4), heard.readUInt16BE(6)];
    const length = isExtended ? Number(heard.readBigUInt64BE(24)) : heard.readUInt32BE(24);
    const hasPayload = isExtended
      ? (flags & COMMAND_FLAG.PAYLOAD_LEN) !== 0
      : type === COMMAND.WRITE;
    const bytes = this.hear(size + (hasPayload ? length : 0));
    if (bytes === undefined) return false;
    this.asked.set(bytes.toString('hex', 8, 16), { type, flags, length });
    return true;
  }

  private take(count: number): Buffer | undefined {
    if (this.said.length < count) return undefined;
    const bytes = Buffer.from(this.said.subarray(0, count));
    this.said = this.said.subarray(count);
    return bytes;
  }

  private speak(): boolean {
    switch (this.phase) {
      case 'greeting': {
        const bytes = this.take(SIZE.GREETING);
        if (bytes === undefined) return false;
        this.write(this.lie.greeting?.(bytes) ?? bytes);
        this.phase = 'options';
        return true;
      }
      case 'options':
        return this.option === OPTION.EXPORT_NAME ? this.speakExport() : this.speakOption();
      case 'transmission':
        return this.speakReply();
    }
  }

  private speakExport(): boolean {
    const isShort = (this.flags & CLIENT_FLAG.NO_ZEROES) !== 0;
    const bytes = this.take(SIZE.EXPORT_NAME_REPLY + (isShort ? 0 : SIZE.EXPORT_NAME_ZEROES));
    if (bytes === undefined) return false;
    this.phase = 'transmission';
    this.write(this.lie.exportName?.(bytes) ?? bytes);
    return true;
  }

  private speakOption(): boolean {
    if (this.said.length < SIZE.OPTION_REPLY) return false;
    const length = this.said.readUInt32BE(16);
    const bytes = this.take(SIZE.OPTION_REPLY + length);
    if (bytes === undefined) return false;
    const said = {
      option: bytes.readUInt32BE(8),
      type: bytes.readUInt32BE(12),
      data: bytes.subarray(SIZE.OPTION_REPLY),
    };
    const isDone = said.type === REPLY.ACK;
    if (isDone && said.option === OPTION.EXTENDED_HEADERS) this.isExtended = true;
    if (isDone && said.option === OPTION.GO) this.phase = 'transmission';
    const instead = this.lie.option === undefined ? [said] : this.lie.option(said);
    this.write(instead === null ? null : Buffer.concat(instead.map(bytesOf)));
    if (this.phase === 'transmission' && this.lie.behindGo !== undefined)
      this.write(this.lie.behindGo);
    return true;
  }

  private speakReply(): boolean {
    if (this.said.length < SIZE.SIMPLE_REPLY) return false;
    const magic = this.said.readUInt32BE(0);
    const request = this.asked.get(this.said.toString('hex', 8, 16)) ?? {
      type: 99,
      flags: 0,
      length: 0,
    };
    const isSimple = magic === SIMPLE;
    const isExtended = !isSimple && magic !== STRUCTURED;
    const size = isSimple
      ? SIZE.SIMPLE_REPLY
      : isExtended
        ? SIZE.EXTENDED_CHUNK
        : SIZE.STRUCTURED_CHUNK;
    if (this.said.length < size) return false;
    let length = 0;
    if (!isSimple)
      length = isExtended ? Number(this.said.readBigUInt64BE(24)) : this.said.readUInt32BE(16);
    else if (request.type === COMMAND.READ && this.said.readUInt32BE(4) === 0)
      length = request.length;
    const bytes = this.take(size + length);
    if (bytes === undefined) return false;
    const [head, data] = [bytes.subarray(0, size), bytes.subarray(size)];
    const { reply } = this.lie;
    this.write(reply === undefined ? bytes : reply({ head, data, isSimple, isExtended, request }));
    return true;
  }
}

function bytesOf({ option, type, data }: SaidOption): Buffer {
  const head = Buffer.alloc(SIZE.OPTION_REPLY);
  head.writeBigUInt64BE(0x3e889045565a9n, 0);
  head.writeUInt32BE(option, 8);
  head.writeUInt32BE(type, 12);
  head.writeUInt32BE(data.length, 16);
  return Buffer.concat([head, data]);
}
