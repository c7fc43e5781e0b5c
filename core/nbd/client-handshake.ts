import { assert } from '../base/assert.ts';
import type { ByteSink } from './handshake.ts';
import {
  CLIENT_FLAG,
  CONTEXT,
  HANDSHAKE_FLAG,
  INFO,
  LIMIT,
  nameIn,
  OPTION,
  REPLY,
  SIZE,
  TRANSMISSION_FLAG,
} from './proto.ts';
import { decodeUtf8, encodeUtf8 } from './utf8.ts';
import {
  BEYOND,
  isOptionReply,
  readGreeting,
  readOptionReplyLength,
  readOptionReplyOption,
  readOptionReplyType,
  readU64,
  writeOption,
} from './wire.ts';

/** What server and client have settled. Plain data, for other threads too. */
export interface ServerFacts {
  readonly sizeBytes: number;
  readonly transmissionFlags: number;
  /** INFO_NAME: what the server calls the export; the name asked for when it does not say. */
  readonly canonicalName: string;
  /** INFO_BLOCK_SIZE, or proto.md's defaults ("Size constraints"). */
  readonly minimumBlockBytes: number;
  readonly preferredBlockBytes: number;
  readonly maximumPayloadBytes: number;
  /** STRUCTURED_REPLY was acknowledged: every READ is answered in chunks. */
  readonly isStructured: boolean;
  /** The connection's id of base:allocation; none: the server does not say what is a hole. */
  readonly allocationId?: number | null;
}

/**
 * The client's half of proto.md "Fixed newstyle negotiation". One option is under way at a time; its
 * answers are told apart by it.
 */
const CLIENT_HANDSHAKE_STATES = {
  GREETING: {
    comment: '18 bytes of the server are due',
    next: { fixed: 'STRUCTURED', secret: 'STARTTLS', refused: 'CLOSED' },
  },
  STARTTLS: {
    comment: 'TLS is asked for; without it there is nothing',
    next: { acknowledged: 'TLS', refused: 'CLOSED' },
  },
  TLS: {
    comment: 'the caller has the TLS handshake to do; until `secured` no byte is ours',
    next: { secured: 'STRUCTURED', refused: 'CLOSED' },
  },
  STRUCTURED: {
    comment: 'STRUCTURED_REPLY is asked for; a refusal is no harm',
    next: { yes: 'CONTEXT', no: 'GO', refused: 'CLOSED' },
  },
  CONTEXT: {
    comment: 'SET_META_CONTEXT of base:allocation is asked for; a refusal is no harm',
    next: { answered: 'GO', refused: 'CLOSED' },
  },
  GO: {
    comment: 'GO with the block sizes and the name; facts come until the ACK',
    next: { acknowledged: 'TRANSMISSION', unsupported: 'EXPORT_NAME', refused: 'CLOSED' },
  },
  EXPORT_NAME: {
    comment: 'an old server without GO: 10 bytes, or its hanging up',
    next: { told: 'TRANSMISSION', refused: 'CLOSED' },
  },
  TRANSMISSION: { comment: 'agreed; bytes are no longer ours', next: {} },
  CLOSED: { comment: 'no; bytes are thrown away', next: {} },
} as const satisfies Record<string, { comment: string; next: Readonly<Record<string, string>> }>;
export type ClientHandshakeState = keyof typeof CLIENT_HANDSHAKE_STATES;

/** Bytes go by the handshake: it has ended, or TLS has its turn. */
const AT_REST: ReadonlySet<ClientHandshakeState> = new Set(['TRANSMISSION', 'TLS', 'CLOSED']);
const ASKED: Readonly<Partial<Record<ClientHandshakeState, number>>> = {
  STARTTLS: OPTION.STARTTLS,
  STRUCTURED: OPTION.STRUCTURED_REPLY,
  CONTEXT: OPTION.SET_META_CONTEXT,
  GO: OPTION.GO,
};

/** Answers to one option, and bytes of one of them: a server that sends more is none. */
const MAX_ANSWERS = 64;
const MAX_ANSWER_BYTES = 2 * LIMIT.STRING_BYTES;
const DEFAULTS = { minimum: 1, preferred: 4096, maximum: LIMIT.PAYLOAD_BYTES };
const MAX_MINIMUM_BLOCK = 65536;

export class ClientHandshake {
  /** Valid in TRANSMISSION. */
  facts: ServerFacts | undefined;
  /** In CLOSED: one clause that says why. */
  failure = '';
  /** In CLOSED: the server has no such export; it may have one later. */
  isUnknownExport = false;

  private current: ClientHandshakeState = 'GREETING';
  private readonly exportName: string;
  private readonly sink: ByteSink;
  private readonly wantsTls: boolean;
  private readonly buffer = new Uint8Array(MAX_ANSWER_BYTES);
  private readonly view = new DataView(this.buffer.buffer);
  private have = 0;
  private due: number = SIZE.GREETING;
  /** Bytes of an answer's data; -1 while its header is due. */
  private answerBytes = -1;
  private answerType = 0;
  private answers = 0;
  private noZeroes = false;
  private isStructured = false;
  private allocationId: number | null = null;
  private canonicalName: string;
  private sizeBytes = -1;
  private transmissionFlags = 0;
  private block = DEFAULTS;

  /** `wantsTls`: nothing is said in the clear but that. */
  constructor(exportName: string, sink: ByteSink, wantsTls = false) {
    this.exportName = exportName;
    this.canonicalName = exportName;
    this.sink = sink;
    this.wantsTls = wantsTls;
  }

  get state(): ClientHandshakeState {
    return this.current;
  }

  /**
   * Takes bytes as they come, split anywhere. Returns how many were taken: fewer than given only
   * when TRANSMISSION or TLS was reached; a server has nothing to say there before it is asked. What
   * it says behind the ACK of STARTTLS is not its own word: an attacker on the line has put it there.
   */
  consume(bytes: Uint8Array, start: number, end: number): number {
    let at = start;
    while (at < end && this.current !== 'TRANSMISSION' && this.current !== 'TLS') {
      if (this.current === 'CLOSED') return end - start;
      const count = Math.min(this.due - this.have, end - at);
      this.buffer.set(bytes.subarray(at, at + count), this.have);
      this.have += count;
      at += count;
      while (this.have === this.due && this.isOpen) this.step();
    }
    return at - start;
  }

  /** In TLS: from now on the sink's bytes are secret, and what comes was too. */
  secured(): void {
    assert(this.current === 'TLS', 'client handshake: TLS out of turn');
    this.askStructured();
  }

  private get isOpen(): boolean {
    return !AT_REST.has(this.current);
  }

  private step(): void {
    this.have = 0;
    if (this.current === 'GREETING') this.onGreeting();
    else if (this.current === 'EXPORT_NAME') this.onExportName();
    else if (this.answerBytes < 0) this.onAnswerHeader();
    else this.onAnswer();
  }

  private go(next: ClientHandshakeState, due: number): void {
    const allowed: readonly string[] = Object.values(CLIENT_HANDSHAKE_STATES[this.current].next);
    assert(allowed.includes(next), 'client handshake: a step the table does not have');
    this.current = next;
    this.due = due;
    this.answerBytes = -1;
    this.answers = 0;
  }

  private refuse(why: string): void {
    this.failure = why;
    this.go('CLOSED', 0);
  }

  private onGreeting(): void {
    const flags = readGreeting(this.view, 0);
    if (flags === undefined) {
      this.refuse('it is no NBD server (or one of the oldstyle)');
      return;
    }
    if ((flags & HANDSHAKE_FLAG.FIXED_NEWSTYLE) === 0) {
      this.refuse('the server has no fixed newstyle negotiation');
      return;
    }
    this.noZeroes = (flags & HANDSHAKE_FLAG.NO_ZEROES) !== 0;
    const agreed = new Uint8Array(SIZE.CLIENT_FLAGS);
    const zeroes = this.noZeroes ? CLIENT_FLAG.NO_ZEROES : 0;
    new DataView(agreed.buffer).setUint32(0, CLIENT_FLAG.FIXED_NEWSTYLE | zeroes);
    this.sink.write(agreed);
    if (!this.wantsTls) {
      this.askStructured();
      return;
    }
    this.ask(OPTION.STARTTLS, new Uint8Array(0));
    this.go('STARTTLS', SIZE.OPTION_REPLY);
  }

  private askStructured(): void {
    this.ask(OPTION.STRUCTURED_REPLY, new Uint8Array(0));
    this.go('STRUCTURED', SIZE.OPTION_REPLY);
  }

  private onAnswerHeader(): void {
    const { view } = this;
    const asked = ASKED[this.current];
    const lengthBytes = readOptionReplyLength(view, 0);
    this.answers += 1;
    if (!isOptionReply(view, 0)) this.refuse('an option reply without its magic');
    else if (readOptionReplyOption(view, 0) !== asked) {
      this.refuse(`an answer to option ${readOptionReplyOption(view, 0)}, which was not asked`);
    } else if (lengthBytes > MAX_ANSWER_BYTES) {
      this.refuse(`an option reply of ${lengthBytes} bytes`);
    } else if (this.answers > MAX_ANSWERS) {
      this.refuse(`more than ${MAX_ANSWERS} answers to one option`);
    } else {
      this.answerType = readOptionReplyType(view, 0);
      this.answerBytes = lengthBytes;
      this.due = lengthBytes;
    }
  }

  private onAnswer(): void {
    const lengthBytes = this.answerBytes;
    this.answerBytes = -1;
    this.due = SIZE.OPTION_REPLY;
    if (this.current === 'STARTTLS') this.onStartTls(lengthBytes);
    else if (this.current === 'STRUCTURED') this.onStructured(lengthBytes);
    else if (this.current === 'CONTEXT') this.onContext(lengthBytes);
    else this.onGo(lengthBytes);
  }

  private onStartTls(lengthBytes: number): void {
    if (this.answerType !== REPLY.ACK) {
      this.refuse(`the server has no TLS (${nameIn(REPLY, this.answerType)})`);
    } else if (lengthBytes > 0) this.refuse('an ACK with data');
    else this.go('TLS', 0);
  }

  private onStructured(lengthBytes: number): void {
    if (this.answerType === REPLY.ACK) {
      if (lengthBytes > 0) {
        this.refuse('an ACK with data');
        return;
      }
      this.isStructured = true;
    } else if (!isError(this.answerType)) {
      this.refuse(`${nameIn(REPLY, this.answerType)} in answer to STRUCTURED_REPLY`);
      return;
    } else if (this.answerType === REPLY.ERR_TLS_REQD) {
      this.refuse('the server wants TLS: write nbds://');
      return;
    }
    if (!this.isStructured) {
      this.askGo();
      return;
    }
    this.ask(OPTION.SET_META_CONTEXT, contextData(this.exportName));
    this.go('CONTEXT', SIZE.OPTION_REPLY);
  }

  /** META_CONTEXT with the id, if there is one, then ACK. What is wrong with the answer is said by GO. */
  private onContext(lengthBytes: number): void {
    if (this.answerType === REPLY.META_CONTEXT) {
      const name = lengthBytes < 4 ? undefined : decodeUtf8(this.buffer, 4, lengthBytes);
      if (name !== CONTEXT.ALLOCATION) this.refuse('a metadata context that was not asked for');
      else this.allocationId = this.view.getUint32(0);
    } else if (this.answerType === REPLY.ACK || isError(this.answerType)) {
      if (this.answerType !== REPLY.ACK) this.allocationId = null;
      this.askGo();
    } else this.refuse(`${nameIn(REPLY, this.answerType)} in answer to SET_META_CONTEXT`);
  }

  private askGo(): void {
    this.ask(OPTION.GO, goData(this.exportName));
    this.go('GO', SIZE.OPTION_REPLY);
  }

  private onGo(lengthBytes: number): void {
    if (this.answerType === REPLY.INFO) this.onInfo(lengthBytes);
    else if (this.answerType === REPLY.ACK) {
      if (lengthBytes > 0) this.refuse('an ACK with data');
      else if (this.sizeBytes < 0) this.refuse('GO was acknowledged without the size');
      else this.agree();
    } else if (this.answerType === REPLY.ERR_UNSUP) {
      // Contexts count with GO only.
      this.allocationId = null;
      const name = encodeUtf8(this.exportName) ?? new Uint8Array(0);
      this.ask(OPTION.EXPORT_NAME, name);
      const zeroes = this.noZeroes ? 0 : SIZE.EXPORT_NAME_ZEROES;
      this.go('EXPORT_NAME', SIZE.EXPORT_NAME_REPLY + zeroes);
    } else if (isError(this.answerType)) this.refuseGo(lengthBytes);
    else this.refuse(`${nameIn(REPLY, this.answerType)} in answer to GO`);
  }

  private refuseGo(lengthBytes: number): void {
    const text = decodeUtf8(this.buffer, 0, lengthBytes) ?? '';
    const words = text.replace(/[\0-\x1f\x7f]+/g, ' ').slice(0, 200);
    this.isUnknownExport = this.answerType === REPLY.ERR_UNKNOWN;
    const name = nameIn(REPLY, this.answerType);
    const said = words === '' ? name : `${name}: ${words}`;
    this.refuse(`the server refuses export "${this.exportName}" (${said})`);
  }

  private onInfo(lengthBytes: number): void {
    if (lengthBytes < 2) {
      this.refuse('an INFO too short for its type');
      return;
    }
    switch (this.view.getUint16(0)) {
      case INFO.EXPORT:
        if (lengthBytes !== SIZE.INFO_EXPORT) this.refuse('an INFO_EXPORT of a wrong length');
        else this.onExport(2);
        return;
      case INFO.BLOCK_SIZE:
        this.onBlockSize(lengthBytes);
        return;
      case INFO.NAME: {
        const name = decodeUtf8(this.buffer, 2, lengthBytes);
        if (name === undefined) this.refuse('a name that is not UTF-8');
        else this.canonicalName = name;
        return;
      }
      default:
    }
  }

  /** u64 size, u16 flags. */
  private onExport(at: number): void {
    this.sizeBytes = readU64(this.view, at);
    this.transmissionFlags = this.view.getUint16(at + 8);
    if (this.sizeBytes === BEYOND) this.refuse('an export of 2^53 bytes or more');
    else if ((this.transmissionFlags & TRANSMISSION_FLAG.HAS_FLAGS) === 0) {
      this.refuse('transmission flags without HAS_FLAGS');
    }
  }

  /** "Size constraints". */
  private onBlockSize(lengthBytes: number): void {
    if (lengthBytes !== SIZE.INFO_BLOCK_SIZE) {
      this.refuse('an INFO_BLOCK_SIZE of a wrong length');
      return;
    }
    const minimum = this.view.getUint32(2);
    const preferred = this.view.getUint32(6);
    const maximum = this.view.getUint32(10);
    const isMinimum = minimum >= 1 && minimum <= MAX_MINIMUM_BLOCK && isPower(minimum);
    if (!isMinimum || !isPower(preferred) || preferred < minimum || maximum < minimum) {
      this.refuse(`impossible block sizes ${minimum}, ${preferred}, ${maximum}`);
    } else this.block = { minimum, preferred, maximum };
  }

  private onExportName(): void {
    this.onExport(0);
    if (this.isOpen) this.agree();
  }

  private agree(): void {
    const { minimum, preferred, maximum } = this.block;
    this.facts = {
      sizeBytes: this.sizeBytes,
      transmissionFlags: this.transmissionFlags,
      canonicalName: this.canonicalName,
      minimumBlockBytes: minimum,
      preferredBlockBytes: preferred,
      maximumPayloadBytes: maximum,
      isStructured: this.isStructured,
      allocationId: this.allocationId,
    };
    this.go('TRANSMISSION', 0);
  }

  private ask(option: number, data: Uint8Array): void {
    const bytes = new Uint8Array(SIZE.OPTION + data.length);
    writeOption(new DataView(bytes.buffer), 0, option, data.length);
    bytes.set(data, SIZE.OPTION);
    this.sink.write(bytes);
  }
}

/** "NBD_OPT_SET_META_CONTEXT": u32 length, name, u32 count, u32 length, query. */
function contextData(exportName: string): Uint8Array {
  const name = encodeUtf8(exportName) ?? new Uint8Array(0);
  const query = encodeUtf8(CONTEXT.ALLOCATION) ?? new Uint8Array(0);
  const data = new Uint8Array(12 + name.length + query.length);
  const view = new DataView(data.buffer);
  view.setUint32(0, name.length);
  data.set(name, 4);
  view.setUint32(4 + name.length, 1);
  view.setUint32(8 + name.length, query.length);
  data.set(query, 12 + name.length);
  return data;
}

/** "NBD_OPT_GO": u32 length, name, u16 count, count x u16. */
function goData(exportName: string): Uint8Array {
  const name = encodeUtf8(exportName) ?? new Uint8Array(0);
  const infos = [INFO.BLOCK_SIZE, INFO.NAME];
  const data = new Uint8Array(4 + name.length + 2 + 2 * infos.length);
  const view = new DataView(data.buffer);
  view.setUint32(0, name.length);
  data.set(name, 4);
  view.setUint16(4 + name.length, infos.length);
  for (const [i, info] of infos.entries()) view.setUint16(6 + name.length + 2 * i, info);
  return data;
}

function isError(type: number): boolean {
  return type >= 2 ** 31;
}

function isPower(value: number): boolean {
  return value > 0 && (value & (value - 1)) === 0;
}
