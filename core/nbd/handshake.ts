import { assert } from '../base/assert.ts';
import { PLAIN, type Agreement } from './agreement.ts';
import { REPLY_STYLE } from './chunk.ts';
import { ACCESS, OPEN_TO_ALL, TLS_MODE } from './directory.ts';
import type { ClientRules, ExportDirectory, NegotiableExport } from './directory.ts';
import * as reply from './option-reply.ts';
import { CLIENT_FLAG, HANDSHAKE_FLAG, LIMIT, nameIn, OPTION, REPLY, SIZE } from './proto.ts';
import { TRANSMISSION_FLAG, type ReplyType } from './proto.ts';
import { parseInfoRequest, type InfoRequest } from './info-request.ts';
import { listContexts, parseContextRequest, selectContexts } from './meta-context.ts';
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
    next: { answered: 'OPTION', chosen: 'TRANSMISSION', secure: 'TLS', left: 'CLOSED' },
  },
  SKIP: {
    comment: 'data of an option that is not; it may be long, and is thrown away as it comes',
    next: { answered: 'OPTION', left: 'CLOSED' },
  },
  TLS: {
    comment: 'STARTTLS is acknowledged; bytes are those of TLS until `secured`',
    next: { secured: 'OPTION' },
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

  private agreed: Agreement = PLAIN;
  private rules: ClientRules;
  /** For which name contexts were selected; they count only for an export chosen by it. */
  private contextsFor: string | undefined;
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

  constructor(exports: ExportDirectory<E>, sink: ByteSink, rules: ClientRules = OPEN_TO_ALL) {
    this.exports = exports;
    this.sink = sink;
    this.rules = rules;
    sink.write(reply.greeting(HANDSHAKE_FLAG.FIXED_NEWSTYLE | HANDSHAKE_FLAG.NO_ZEROES));
  }

  get state(): HandshakeState {
    return this.current;
  }

  /** Valid in TRANSMISSION: what was negotiated besides the export. */
  get agreement(): Agreement {
    return this.agreed;
  }

  /**
   * In TLS: the rest comes over a secure channel, from somebody known better. What was agreed in
   * the clear is forgotten: an attacker may have said it ("NBD_OPT_STARTTLS": MUST).
   */
  secured(rules: ClientRules): void {
    assert(rules.tls === TLS_MODE.SECURED, 'a secure channel without rules for one');
    this.rules = rules;
    this.agreed = PLAIN;
    this.contextsFor = undefined;
    this.nextOption();
  }

  /**
   * Takes bytes as they come, split anywhere. Returns how many were taken: fewer than given only
   * when TRANSMISSION was reached, and the rest are the client's first requests, or TLS, and the
   * rest came too early to be trusted.
   */
  consume(bytes: Uint8Array, start: number, end: number): number {
    let at = start;
    while (at < end && this.current !== 'TRANSMISSION' && this.current !== 'TLS') {
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
        case 'TLS':
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
    } else if (this.mustSecureFirst()) {
      this.demandTls(lengthBytes, name);
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

  /** "FORCEDTLS": nothing but STARTTLS and ABORT, unknown options included. */
  private mustSecureFirst(): boolean {
    if (this.rules.tls !== TLS_MODE.FORCED) return false;
    return this.option !== OPTION.STARTTLS && this.option !== OPTION.ABORT;
  }

  private demandTls(lengthBytes: number, name: string): void {
    if (this.option === OPTION.EXPORT_NAME) this.refuse('EXPORT_NAME before STARTTLS');
    else this.skip(lengthBytes, REPLY.ERR_TLS_REQD, `${name}: TLS is required here`);
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
    } else {
      this.onOther(lengthBytes);
    }
  }

  private onOther(lengthBytes: number): void {
    switch (this.option) {
      case OPTION.LIST:
        this.onList(lengthBytes);
        return;
      case OPTION.STARTTLS:
        this.onStartTls(lengthBytes);
        return;
      case OPTION.STRUCTURED_REPLY:
      case OPTION.EXTENDED_HEADERS:
        this.onStyle(lengthBytes);
        return;
      case OPTION.LIST_META_CONTEXT:
      case OPTION.SET_META_CONTEXT:
        this.onContexts(lengthBytes);
        return;
      default:
        assert(
          this.option === OPTION.INFO || this.option === OPTION.GO,
          'an option without a method',
        );
        this.onInfoOrGo(lengthBytes);
    }
  }

  private answerAndGoOn(type: ReplyType, text = ''): void {
    this.answer(type, text);
    this.nextOption();
  }

  private onStartTls(lengthBytes: number): void {
    if (lengthBytes > 0) {
      this.answerAndGoOn(REPLY.ERR_INVALID, 'STARTTLS takes no data');
    } else if (this.rules.tls === TLS_MODE.OFF) {
      this.answerAndGoOn(REPLY.ERR_POLICY, 'this server does not talk TLS');
    } else if (this.rules.tls === TLS_MODE.SECURED) {
      this.answerAndGoOn(REPLY.ERR_INVALID, 'TLS has been started already');
    } else {
      this.answer(REPLY.ACK);
      this.go('TLS', 0);
    }
  }

  /** "NBD_OPT_STRUCTURED_REPLY", "NBD_OPT_EXTENDED_HEADERS"; said twice, it is so still. */
  private onStyle(lengthBytes: number): void {
    const isExtended = this.option === OPTION.EXTENDED_HEADERS;
    if (lengthBytes > 0) {
      this.answerAndGoOn(REPLY.ERR_INVALID, `${nameIn(OPTION, this.option)} takes no data`);
    } else if (!isExtended && this.agreed.style === REPLY_STYLE.EXTENDED) {
      this.answerAndGoOn(REPLY.ERR_EXT_HEADER_REQD, 'extended headers are agreed already');
    } else {
      const style = isExtended ? REPLY_STYLE.EXTENDED : REPLY_STYLE.STRUCTURED;
      this.agreed = { ...this.agreed, style };
      this.answerAndGoOn(REPLY.ACK);
    }
  }

  /** SET replaces the whole selection, also when it fails. */
  private onContexts(lengthBytes: number): void {
    const isSet = this.option === OPTION.SET_META_CONTEXT;
    if (isSet) {
      this.agreed = { ...this.agreed, contexts: 0 };
      this.contextsFor = undefined;
    }
    const asked = parseContextRequest(this.buffer, lengthBytes);
    if (typeof asked === 'string') {
      this.answerAndGoOn(REPLY.ERR_INVALID, asked);
      return;
    }
    if (isSet && this.agreed.style === REPLY_STYLE.SIMPLE) {
      this.answerAndGoOn(REPLY.ERR_INVALID, 'contexts need structured replies');
      return;
    }
    const found = this.findFor(asked.exportName);
    if (found === undefined) return;
    const places = (isSet ? selectContexts : listContexts)(found.contexts, asked.queries);
    let contexts = 0;
    for (const place of places) {
      const id = isSet ? place + 1 : 0;
      this.sink.write(reply.metaContext(this.option, id, found.contexts[place] ?? ''));
      contexts |= 1 << place;
    }
    if (isSet) {
      this.agreed = { ...this.agreed, contexts };
      this.contextsFor = asked.exportName;
    }
    this.answerAndGoOn(REPLY.ACK);
  }

  /** The export of that name if the client may have it; else it has got its answer. */
  private findFor(name: string): E | undefined {
    const found = this.exports.find(name);
    if (found === undefined) {
      this.answerAndGoOn(REPLY.ERR_UNKNOWN, noSuchExport(name));
      return undefined;
    }
    const access = this.rules.accessTo(found);
    if (access === ACCESS.TLS_FIRST) {
      this.answerAndGoOn(REPLY.ERR_TLS_REQD, `export "${found.name}" is for TLS only`);
    } else if (access === ACCESS.NONE) {
      this.answerAndGoOn(REPLY.ERR_POLICY, `export "${found.name}" is not for this client`);
    } else if (found.isShuttingDown) {
      this.answerAndGoOn(REPLY.ERR_SHUTDOWN, `export "${found.name}" is shutting down`);
    } else {
      return found;
    }
    return undefined;
  }

  /** What of the export is offered to this client, after what it has negotiated. */
  private flagsFor(one: E, name: string): number {
    let flags = one.transmissionFlags;
    const { style } = this.agreed;
    if (this.rules.accessTo(one) === ACCESS.READ) flags |= TRANSMISSION_FLAG.READ_ONLY;
    if (style !== REPLY_STYLE.SIMPLE) flags |= TRANSMISSION_FLAG.SEND_DF;
    if (style === REPLY_STYLE.EXTENDED && this.contextsOf(name) !== 0) {
      flags |= TRANSMISSION_FLAG.BLOCK_STATUS_PAYLOAD;
    }
    return flags;
  }

  private contextsOf(name: string): number {
    return this.contextsFor === name ? this.agreed.contexts : 0;
  }

  /** "NBD_OPT_EXPORT_NAME" has no way to say no but to disconnect. */
  private onExportName(lengthBytes: number): void {
    const isTooLong = lengthBytes > LIMIT.STRING_BYTES;
    const name = isTooLong ? undefined : decodeUtf8(this.buffer, 0, lengthBytes);
    const found = name === undefined ? undefined : this.exports.find(name);
    if (found === undefined || name === undefined) {
      this.refuse(noSuchExport(name));
    } else if (this.agreed.style === REPLY_STYLE.EXTENDED) {
      this.refuse('EXPORT_NAME after EXTENDED_HEADERS');
    } else if (this.exports.isShuttingDown || found.isShuttingDown) {
      this.refuse(`export "${found.name}" is shutting down`);
    } else if (this.rules.accessTo(found) < ACCESS.READ) {
      this.refuse(`export "${found.name}" is not for this client, or for TLS only`);
    } else {
      this.sink.write(reply.exportName(found, this.flagsFor(found, name), this.zeroes));
      this.choose(found, name);
    }
  }

  private onList(lengthBytes: number): void {
    if (lengthBytes > 0) {
      this.answer(REPLY.ERR_INVALID, 'LIST takes no data');
    } else {
      for (const one of this.exports.list()) {
        if (this.rules.accessTo(one) >= ACCESS.READ) this.sink.write(reply.server(one));
      }
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
    const found = this.findFor(asked.exportName);
    if (found === undefined) return;
    this.inform(found, asked);
    if (this.option === OPTION.GO) this.choose(found, asked.exportName);
    else this.nextOption();
  }

  private inform(found: E, asked: InfoRequest): void {
    // INFO_EXPORT MUST be sent before the ACK, asked for or not.
    const flags = this.flagsFor(found, asked.exportName);
    this.sink.write(reply.infoExport(this.option, found, flags));
    if (asked.wantsName) this.sink.write(reply.infoName(this.option, found));
    if (asked.wantsDescription && found.description !== '') {
      this.sink.write(reply.infoDescription(this.option, found));
    }
    if (asked.wantsBlockSize) this.sink.write(reply.infoBlockSize(this.option, found));
    this.answer(REPLY.ACK);
  }

  private choose(found: E, name: string): void {
    const readOnly = this.rules.accessTo(found) === ACCESS.READ;
    this.agreed = { ...this.agreed, contexts: this.contextsOf(name), readOnly };
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
    case OPTION.STARTTLS:
    case OPTION.STRUCTURED_REPLY:
    case OPTION.LIST_META_CONTEXT:
    case OPTION.SET_META_CONTEXT:
    case OPTION.EXTENDED_HEADERS:
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
