// A client in the negotiation, without a socket, and exports to negotiate about.
import { OPEN_TO_ALL } from '../../core/nbd/directory.ts';
import type { ClientRules, ExportDirectory, NegotiableExport } from '../../core/nbd/directory.ts';
import { Handshake } from '../../core/nbd/handshake.ts';
import { CLIENT_FLAG, nameIn, OPTION, REPLY, SIZE } from '../../core/nbd/proto.ts';
import {
  isOptionReply,
  readOptionReplyLength,
  readOptionReplyOption,
  readOptionReplyType,
} from '../../core/nbd/wire.ts';
import { concat, toHex } from './hex.ts';
import { clientFlags } from './nbd-messages.ts';

export const FLAGS = clientFlags(CLIENT_FLAG.FIXED_NEWSTYLE | CLIENT_FLAG.NO_ZEROES);

export function anExport(name: string, more: Partial<NegotiableExport> = {}): NegotiableExport {
  return {
    name,
    description: '',
    sizeBytes: 2 ** 20,
    transmissionFlags: 0x16d,
    preferredBlockBytes: 4096,
    isShuttingDown: false,
    contexts: ['base:allocation', 'x-dmiod:mirror'],
    ...more,
  };
}

export class Directory implements ExportDirectory<NegotiableExport> {
  isShuttingDown = false;
  private readonly exports: readonly NegotiableExport[];

  constructor(exports: readonly NegotiableExport[]) {
    this.exports = exports;
  }

  find(name: string): NegotiableExport | undefined {
    if (name === '') return this.exports.length === 1 ? this.exports[0] : undefined;
    return this.exports.find((one) => one.name === name);
  }

  list(): readonly NegotiableExport[] {
    return this.exports;
  }
}

export class Talk {
  readonly handshake: Handshake<NegotiableExport>;
  /** All that the server has said. */
  said: Uint8Array = new Uint8Array(0);
  private read = SIZE.GREETING;

  constructor(exports: ExportDirectory<NegotiableExport>, rules: ClientRules = OPEN_TO_ALL) {
    const write = (bytes: Uint8Array): void => {
      this.said = concat(this.said, bytes);
    };
    this.handshake = new Handshake(exports, { write }, rules);
  }

  /** The number of bytes taken. */
  send(bytes: Uint8Array): number {
    return this.handshake.consume(bytes, 0, bytes.length);
  }

  /** Option replies said since the last call, as `GO ERR_UNKNOWN text`; data not text as hex. */
  replies(): string[] {
    const found: string[] = [];
    const view = new DataView(this.said.buffer);
    while (this.read < this.said.length) {
      expect(isOptionReply(view, this.read)).toBe(true);
      const length = readOptionReplyLength(view, this.read);
      const type = readOptionReplyType(view, this.read);
      const name = `${nameIn(OPTION, readOptionReplyOption(view, this.read))} ${nameIn(REPLY, type)}`;
      const data = this.said.subarray(this.read + SIZE.OPTION_REPLY).subarray(0, length);
      const isText = type >= REPLY.ERR_UNSUP;
      found.push(`${name} ${isText ? new TextDecoder().decode(data) : toHex(data)}`.trim());
      this.read += SIZE.OPTION_REPLY + length;
    }
    return found;
  }
}

export function talk(...exports: readonly NegotiableExport[]): Talk {
  const one = new Talk(new Directory(exports));
  one.send(FLAGS);
  return one;
}
