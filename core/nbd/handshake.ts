import { assert } from '../base/assert.ts';
import type { ExportDirectory, NegotiableExport } from './directory.ts';
import * as reply from './option-reply.ts';
import { CLIENT_FLAG, HANDSHAKE_FLAG, LIMIT, nameIn, OPTION, REPLY, SIZE } from './proto.ts';
import type { ReplyType } from './proto.ts';
import { parseInfoRequest, type InfoRequest } from './info-request.ts';
import { decodeUtf8 } from './utf8.ts';
import { isOption, readOptionLength, readOptionType } from './wire.ts';

/** Where the handshake's bytes go: a socket, a test's array. */
export interface ByteSink {
  /** The bytes are the sink's from now on. */
  write(bytes: Uint8Array): void;
}

/**
 * The server's half of proto.md "Fixed newstyle negotiation", as data: what each state waits for,
 * and where its events lead. `Handshake` has one method per state, and asserts every step by this.
 */
export const HANDSHAKE_STATES = {
  CLIENT_FLAGS: {
    comment: 'greeting sent; 4 bytes of client flags are due',
    next: { agreed: 'OPTION', refused: 'CLOSED' },
  },
  OPTION: {
    comment: '16 bytes of an option header are due',
    next: { wanted: 'DATA', unwanted: 'SKIP', refused: 'CLOSED' },
  },
  DATA: {
    comment: 'data of an option that is understood; it is small, and buffered',
    next: { answered: 'OPTION', chosen: 'TRANSMISSION', left: 'CLOSED' },
  },
  SKIP: {
    comment: 'data of an option that is not; it may be long, and is thrown away as it comes',
    next: { answered: 'OPTION', left: 'CLOSED' },
  },
  TRANSMISSION: { comment: 'the export is chosen; bytes are no longer ours', next: {} },
  CLOSED: { comment: 'nothing more will be said; bytes are thrown away', next: {} },
} as const satisfies Record<string, { comment: string; next: Readonly<Record<string, string>> }>;
export type HandshakeState = keyof typeof HANDSHAKE_STATES;

/** Negotiates with one client until it has chosen an export or is refused. */
export class Handshake<E extends NegotiableExport> {
  /** Valid in TRANSMISSION. */
  chosen: E | undefined;
  /** In CLOSED: why, for the log; empty when the client asked for it (ABORT). */
  failure = '';

  private current: HandshakeState = 'CLIENT_FLAGS';
  private readonly exports: ExportDirectory<E>;
  private readonly sink: ByteSink;
  private readonly buffer = new Uint8Array(LIMIT.OPTION_BYTES);
  private readonly view = new DataView(this.buffer.buffer);
  private have = 0;
  /** Bytes the state waits for: to buffer, or in SKIP to throw away. */
  private due: number = SIZE.CLIENT_FLAGS;
  private option = 0;
  private options = 0;
  private fixed = false;
  private zeroes = true;
  /** The answer to an option that is being skipped. */
  private skipReply: ReplyType = REPLY.ERR_UNSUP;
  private skipText = '';

  constructor(exports: ExportDirectory<E>, sink: ByteSink) {
    this.exports = exports;
    this.sink = sink;
    sink.write(reply.greeting(HANDSHAKE_FLAG.FIXED_NEWSTYLE | HANDSHAKE_FLAG.NO_ZEROES));
  }

  get state(): HandshakeState {
    return this.current;
  }

  /**
   * Takes bytes as they come, split anywhere. Returns how many were taken: fewer than given only
   * when TRANSMISSION was reached, and the rest are the client's first requests.
   */
  consume(bytes: Uint8Array, start: number, end: number): number {
    let at = start;
    while (at < end && this.current !== 'TRANSMISSION') {
      if (this.current === 'CLOSED') return end - start;
      const count = Math.min(this.due - this.have, end - at);
      if (this.current !== 'SKIP') {
        this.buffer.set(bytes.subarray(at, at + count), this.have);
      }
      this.have += count;
      at += count;
      this.step();
    }
    return at - start;
  }

  /** Acts when everything due is here; again at once when the next state waits for nothing. */
  private step(): void {
    while (this.have === this.due) {
      switch (this.current) {
        case 'CLIENT_FLAGS':
          this.onClientFlags();
          break;
        case 'OPTION':
          this.onOption();
          break;
        case 'DATA':
          this.onData();
          break;
        case 'SKIP':
          this.onSkipped();
          break;
        case 'TRANSMISSION':
        case 'CLOSED':
          return;
      }
    }
  }

  private go(next: HandshakeState, due: number): void {
    const allowed: readonly string[] = Object.values(HANDSHAKE_STATES[this.current].next);
    assert(allowed.includes(next), 'handshake: a step the table does not have');
    assert(next === 'SKIP' || due <= this.buffer.length, 'handshake: more due than fits');
    this.current = next;
    this.have = 0;
    this.due = due;
  }

  private refuse(why: string): void {
    this.failure = why;
    this.go('CLOSED', 0);
  }

  private answer(type: ReplyType, text = ''): void {
    this.sink.write(reply.optionReply(this.option, type, reply.message(text)));
  }

  private nextOption(): void {
    this.go('OPTION', SIZE.OPTION);
  }

  /** "Client flags": an unknown flag, or one not offered, MUST end the connection. */
  private onClientFlags(): void {
    const flags = this.view.getUint32(0);
    const known = CLIENT_FLAG.FIXED_NEWSTYLE | CLIENT_FLAG.NO_ZEROES;
    if ((flags & ~known) !== 0) {
      this.refuse(`unknown client flags 0x${flags.toString(16)}`);
      return;
    }
    this.fixed = (flags & CLIENT_FLAG.FIXED_NEWSTYLE) !== 0;
    this.zeroes = (flags & CLIENT_FLAG.NO_ZEROES) === 0;
    this.nextOption();
  }

  private onOption(): void {
    if (!isOption(this.view, 0)) {
      this.refuse('an option without its magic');
      return;
    }
    this.option = readOptionType(this.view, 0);
    this.options += 1;
    const lengthBytes = readOptionLength(this.view, 0);
    const name = nameIn(OPTION, this.option);
    if (this.options > LIMIT.OPTIONS) {
      this.refuse(`more than ${LIMIT.OPTIONS} options`);
    } else if (lengthBytes > LIMIT.SKIPPED_OPTION_BYTES) {
      this.refuse(`option ${name} with ${lengthBytes} bytes of data`);
    } else if (!this.fixed && this.option !== OPTION.EXPORT_NAME) {
      // Without the client's FIXED_NEWSTYLE it could not read an answer.
      this.refuse(`option ${name} from a client without fixed newstyle`);
    } else if (!isUnderstood(this.option)) {
      this.skip(lengthBytes, REPLY.ERR_UNSUP, `option ${name} is not supported`);
    } else if (lengthBytes <= LIMIT.OPTION_BYTES) {
      this.go('DATA', lengthBytes);
    } else if (this.option === OPTION.EXPORT_NAME) {
      this.refuse(`an export name of ${lengthBytes} bytes`);
    } else if (this.option === OPTION.ABORT) {
      // "NBD_OPT_ABORT": whatever data it carries is ignored; so it is no reason to deny the ACK.
      this.skip(lengthBytes, REPLY.ACK, '');
    } else {
      this.skip(lengthBytes, REPLY.ERR_TOO_BIG, `${lengthBytes} bytes of data are too many`);
    }
  }

  private skip(lengthBytes: number, type: ReplyType, text: string): void {
    this.skipReply = type;
    this.skipText = text;
    this.go('SKIP', lengthBytes);
  }

  private onSkipped(): void {
    this.answer(this.skipReply, this.skipText);
    if (this.option === OPTION.ABORT) this.go('CLOSED', 0);
    else this.nextOption();
  }

  private onData(): void {
    const lengthBytes = this.due;
    if (this.option === OPTION.ABORT) {
      this.answer(REPLY.ACK);
      this.go('CLOSED', 0);
    } else if (this.option === OPTION.EXPORT_NAME) {
      this.onExportName(lengthBytes);
    } else if (this.exports.isShuttingDown) {
      this.answer(REPLY.ERR_SHUTDOWN, 'the server is shutting down');
      this.nextOption();
    } else if (this.option === OPTION.LIST) {
      this.onList(lengthBytes);
    } else {
      assert(
        this.option === OPTION.INFO || this.option === OPTION.GO,
        'an option without a method',
      );
      this.onInfoOrGo(lengthBytes);
    }
  }

  /** "NBD_OPT_EXPORT_NAME" has no way to say no but to disconnect. */
  private onExportName(lengthBytes: number): void {
    const name =
      lengthBytes <= LIMIT.STRING_BYTES ? decodeUtf8(this.buffer, 0, lengthBytes) : undefined;
    const found = name === undefined ? undefined : this.exports.find(name);
    if (found === undefined) {
      this.refuse(`EXPORT_NAME: ${noSuchExport(name)}`);
      return;
    }
    if (this.exports.isShuttingDown || found.isShuttingDown) {
      this.refuse(`export "${found.name}" is shutting down`);
      return;
    }
    this.sink.write(reply.exportName(found, this.zeroes));
    this.choose(found);
  }

  private onList(lengthBytes: number): void {
    if (lengthBytes > 0) {
      this.answer(REPLY.ERR_INVALID, 'LIST takes no data');
    } else {
      for (const one of this.exports.list()) this.sink.write(reply.server(one));
      this.answer(REPLY.ACK);
    }
    this.nextOption();
  }

  /** "NBD_OPT_INFO", "NBD_OPT_GO": the same but for where a success leads. */
  private onInfoOrGo(lengthBytes: number): void {
    const asked = parseInfoRequest(this.buffer, lengthBytes);
    if (typeof asked === 'string') {
      this.answer(REPLY.ERR_INVALID, asked);
      this.nextOption();
      return;
    }
    const found = this.exports.find(asked.exportName);
    if (found === undefined) {
      this.answer(REPLY.ERR_UNKNOWN, noSuchExport(asked.exportName));
      this.nextOption();
    } else if (found.isShuttingDown) {
      this.answer(REPLY.ERR_SHUTDOWN, `export "${found.name}" is shutting down`);
      this.nextOption();
    } else {
      this.inform(found, asked);
      if (this.option === OPTION.GO) this.choose(found);
      else this.nextOption();
    }
  }

  private inform(found: E, asked: InfoRequest): void {
    // INFO_EXPORT MUST be sent before the ACK, asked for or not.
    this.sink.write(reply.infoExport(this.option, found));
    if (asked.wantsName) this.sink.write(reply.infoName(this.option, found));
    if (asked.wantsDescription && found.description !== '') {
      this.sink.write(reply.infoDescription(this.option, found));
    }
    if (asked.wantsBlockSize) this.sink.write(reply.infoBlockSize(this.option, found));
    this.answer(REPLY.ACK);
  }

  private choose(found: E): void {
    this.chosen = found;
    this.go('TRANSMISSION', 0);
  }
}

function isUnderstood(option: number): boolean {
  switch (option) {
    case OPTION.EXPORT_NAME:
    case OPTION.ABORT:
    case OPTION.LIST:
    case OPTION.INFO:
    case OPTION.GO:
      return true;
    default:
      return false;
  }
}

function noSuchExport(name: string | undefined): string {
  if (name === undefined) return 'the name is too long, or not UTF-8';
  if (name === '') return 'there is no default export: not exactly one export is served';
  return `there is no export named "${name.slice(0, 256)}"`;
}
