// One NBD connection of our own load generator, with `depth` requests in flight, over node:net. It is
// slower than fio and costs more CPU; it serves only where fio cannot: FUA, and very many connections.
import { randomFillSync } from 'node:crypto';
import { connect } from 'node:net';
import type { Socket } from 'node:net';

import { CLIENT_FLAG, COMMAND, COMMAND_FLAG, OPTION, SIZE } from '../../../core/nbd/proto.ts';
import {
  readGreeting,
  readSimpleReply,
  RequestHeader,
  SimpleReplyHeader,
  writeOption,
  writeRequest,
} from '../../../core/nbd/wire.ts';
import type { Address } from '../servers.ts';
import type { Load } from '../types.ts';

const FLUSH_EVERY = 32;
const FLUSH_SLOT_FLAG = 0x80000000;

export interface Job {
  readonly load: Load;
  readonly address: Address;
  /** `#` stands for the connection's number. */
  readonly exportName: string;
  readonly sizeBytes: number;
  readonly seconds: number;
}

export class Connection {
  /** Microseconds, of reads and writes; flushes are work the server has, not requests counted. */
  readonly latenciesUs: number[] = [];
  /** Fulfilled when every request has been answered after `finish`. */
  readonly ended: Promise<void>;
  private readonly socket: Socket;
  private readonly job: Job;
  private readonly index: number;
  private readonly request = Buffer.alloc(SIZE.REQUEST);
  private readonly payload: Buffer;
  private readonly startedAt: Float64Array;
  /** 1 while the slot's request is a read, whose data follow the reply. */
  private readonly isRead: Uint8Array;
  private readonly header = new RequestHeader();
  private readonly reply = new SimpleReplyHeader();
  private pending: Buffer = Buffer.alloc(0);
  private skipBytes = 0;
  private inFlight = 0;
  private position = 0;
  private writes = 0;
  private phase: 'greeting' | 'size' | 'open' | 'finished' = 'greeting';
  private settle: { resolve: () => void; reject: (error: Error) => void };
  private readonly opened: Promise<void>;
  private open: () => void = () => undefined;

  constructor(job: Job, index: number) {
    this.job = job;
    this.index = index;
    const { depth, blockBytes, connections } = job.load;
    this.payload = randomFillSync(Buffer.alloc(blockBytes));
    this.startedAt = new Float64Array(depth);
    this.isRead = new Uint8Array(depth);
    this.position = Math.floor((index * this.blocks()) / connections);
    this.settle = { resolve: () => undefined, reject: () => undefined };
    this.ended = new Promise((resolve, reject) => (this.settle = { resolve, reject }));
    this.opened = new Promise((resolve) => (this.open = resolve));
    const { address } = job;
    this.socket =
      address.transport === 'unix'
        ? connect({ path: address.path })
        : connect({ host: '127.0.0.1', port: address.port, noDelay: true });
    this.socket.on('data', (chunk) => this.receive(chunk));
    this.socket.on('error', (error) => this.settle.reject(error));
    this.socket.on('close', () =>
      this.settle.reject(new Error('the server closed the connection')),
    );
  }

  /** In transmission. Rejects when the connection ends first. */
  async ready(): Promise<void> {
    await Promise.race([this.opened, this.ended]);
  }

  start(): void {
    if (this.job.load.pattern === 'idle') return;
    for (let slot = 0; slot < this.job.load.depth; slot += 1) this.ask(slot);
  }

  /** Asks no more; `ended` follows when the last answer is in. */
  finish(): void {
    this.phase = 'finished';
    if (this.inFlight === 0) this.close();
  }

  private close(): void {
    this.settle.resolve();
    this.header.type = COMMAND.DISC;
    this.header.flags = 0;
    this.header.lengthBytes = 0;
    this.writeHeader();
    this.socket.end(this.request);
  }

  private blocks(): number {
    return Math.floor(this.job.sizeBytes / this.job.load.blockBytes);
  }

  private ask(slot: number): void {
    const { pattern, blockBytes, sync } = this.job.load;
    const reads = pattern.endsWith('read') || (pattern === 'randrw' && Math.random() < 0.5);
    const isSequential = pattern === 'read' || pattern === 'write';
    const block = isSequential
      ? (this.position = (this.position + 1) % this.blocks())
      : Math.floor(Math.random() * this.blocks());
    this.isRead[slot] = reads ? 1 : 0;
    this.startedAt[slot] = performance.now();
    this.send(slot, reads ? COMMAND.READ : COMMAND.WRITE, block * blockBytes, blockBytes);
    if (!reads) this.socket.write(this.payload);
    if (reads || sync !== 'flush') return;
    this.writes += 1;
    if (this.writes % FLUSH_EVERY === 0) this.send(slot + FLUSH_SLOT_FLAG, COMMAND.FLUSH, 0, 0);
  }

  private send(cookie: number, type: number, offset: number, lengthBytes: number): void {
    const { header, job } = this;
    header.type = type;
    header.flags = type === COMMAND.WRITE && job.load.sync === 'fua' ? COMMAND_FLAG.FUA : 0;
    header.cookieHigh = this.index;
    header.cookieLow = cookie;
    header.offset = offset;
    header.lengthBytes = lengthBytes;
    this.inFlight += 1;
    this.writeHeader();
    // The socket may keep what it is given until it is sent; the header is used again at once.
    this.socket.write(Buffer.from(this.request));
  }

  private writeHeader(): void {
    const { buffer, byteOffset, length } = this.request;
    writeRequest(new DataView(buffer, byteOffset, length), 0, this.header);
  }

  private receive(chunk: Buffer): void {
    if (this.skipBytes >= chunk.length) {
      this.skipBytes -= chunk.length;
      return;
    }
    const rest = chunk.subarray(this.skipBytes);
    this.skipBytes = 0;
    this.pending = this.pending.length === 0 ? rest : Buffer.concat([this.pending, rest]);
    while (this.step());
  }

  /** Takes one message from `pending`; false when it is not whole yet. */
  private step(): boolean {
    const view = new DataView(this.pending.buffer, this.pending.byteOffset, this.pending.length);
    if (this.phase === 'greeting') return this.greeting(view);
    if (this.phase === 'size') {
      if (view.byteLength < SIZE.EXPORT_NAME_REPLY) return false;
      this.phase = 'open';
      this.take(SIZE.EXPORT_NAME_REPLY);
      this.open();
      return true;
    }
    if (view.byteLength < SIZE.SIMPLE_REPLY) return false;
    if (!readSimpleReply(view, 0, this.reply) || this.reply.error !== 0) {
      this.settle.reject(new Error(`a request was answered with error ${this.reply.error}`));
      this.socket.destroy();
      return false;
    }
    const cookie = this.reply.cookieLow;
    const dataBytes = this.isRead[cookie] === 1 ? this.job.load.blockBytes : 0;
    this.take(SIZE.SIMPLE_REPLY + dataBytes);
    this.answered(cookie);
    return true;
  }

  private greeting(view: DataView): boolean {
    if (view.byteLength < SIZE.GREETING) return false;
    if (readGreeting(view, 0) === undefined) {
      this.settle.reject(new Error('the server does not greet as an NBD server'));
      this.socket.destroy();
      return false;
    }
    this.take(SIZE.GREETING);
    const name = Buffer.from(this.job.exportName.replace('#', String(this.index)));
    const message = Buffer.alloc(SIZE.CLIENT_FLAGS + SIZE.OPTION + name.length);
    const out = new DataView(message.buffer, message.byteOffset, message.length);
    out.setUint32(0, CLIENT_FLAG.FIXED_NEWSTYLE | CLIENT_FLAG.NO_ZEROES);
    writeOption(out, SIZE.CLIENT_FLAGS, OPTION.EXPORT_NAME, name.length);
    name.copy(message, SIZE.CLIENT_FLAGS + SIZE.OPTION);
    this.socket.write(message);
    this.phase = 'size';
    return true;
  }

  private answered(cookie: number): void {
    this.inFlight -= 1;
    if (cookie < FLUSH_SLOT_FLAG) {
      this.latenciesUs.push((performance.now() - (this.startedAt[cookie] ?? NaN)) * 1000);
      if (this.phase === 'open') this.ask(cookie);
    }
    if (this.phase === 'finished' && this.inFlight === 0) this.close();
  }

  /** Drops bytes that were read, here or still to come. */
  private take(bytes: number): void {
    this.skipBytes = Math.max(bytes - this.pending.length, 0);
    this.pending = this.pending.subarray(Math.min(bytes, this.pending.length));
  }
}
