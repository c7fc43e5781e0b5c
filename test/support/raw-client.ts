import { once } from 'node:events';
import { connect, type Socket } from 'node:net';

import { readSimpleReply, SimpleReplyHeader } from '../../core/nbd/wire.ts';
import type { ListenAddress } from '../../daemon/net/address.ts';
import { clientFlags, infoData, option } from './nbd-messages.ts';

/** A socket that reads exactly as many bytes as the test asks for. */
export class RawClient {
  readonly socket: Socket;
  /** Fulfilled when the connection is closed, by whomever. */
  readonly closed: Promise<unknown>;
  private received = Buffer.alloc(0);
  private wake: () => void = () => undefined;

  private constructor(socket: Socket) {
    this.socket = socket;
    this.closed = new Promise((resolve) => socket.once('close', resolve));
    socket.on('error', () => undefined);
    socket.on('data', (chunk: Buffer) => {
      this.received = Buffer.concat([this.received, chunk]);
      this.wake();
    });
    socket.on('close', () => this.wake());
  }

  static async connect(address: ListenAddress): Promise<RawClient> {
    if (address.kind === 'fd') throw new Error('a descriptor cannot be connected to');
    const socket =
      address.kind === 'unix'
        ? connect({ path: address.path })
        : connect({ host: address.host, port: address.port });
    await once(socket, 'connect');
    return new RawClient(socket);
  }

  /** Connected, greeted, and in transmission on the export; nothing of the handshake unread. */
  static async open(address: ListenAddress, exportName: string): Promise<RawClient> {
    const client = await RawClient.connect(address);
    await client.read(18);
    client.send(clientFlags(3));
    client.send(option(7, infoData(exportName)));
    await client.read(32 + 20);
    return client;
  }

  send(bytes: Uint8Array): void {
    this.socket.write(bytes);
  }

  /** @throws when the connection closes first */
  async read(count: number): Promise<Buffer> {
    while (this.received.length < count) {
      if (this.socket.destroyed)
        throw new Error(`closed with ${this.received.length} bytes unread`);
      await new Promise<void>((resolve) => {
        this.wake = resolve;
      });
    }
    const bytes = this.received.subarray(0, count);
    this.received = this.received.subarray(count);
    return bytes;
  }

  async readReply(): Promise<SimpleReplyHeader> {
    const bytes = await this.read(16);
    const header = new SimpleReplyHeader();
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
    if (!readSimpleReply(view, 0, header)) throw new Error('a bad reply magic');
    return header;
  }
}
