import { badAnswer } from '../checkers/c1-answered-once.ts';
import {
  contextData,
  goData,
  GREETING_BYTES,
  isGreeting,
  isOptionReply,
  OFFERS,
  OPT,
  option,
  OPTION_REPLY_BYTES,
  REP,
  textOf,
  u32,
  u64At,
  type Style,
} from './format.ts';

/** What a client wants of a server. */
export interface Wants {
  readonly style: Style;
  readonly contexts: readonly string[];
  /** By the old option, which has no answer but the export. */
  readonly isOld: boolean;
  /** Asks for an option nobody has, first. */
  readonly asksUnknown: boolean;
}

/** What the handshake has come to. */
type Outcome = 'goes on' | 'ready' | 'refused';

const UNKNOWN_OPTION = 77;

/** A client's half of the fixed newstyle negotiation: one option after the other, by proto.md. */
export class Talk {
  /** Names of the selected contexts, by id. */
  readonly contexts = new Map<number, string>();
  private readonly name: string;
  private readonly wants: Wants;
  private readonly sizeBytes: number;
  private readonly send: (bytes: Uint8Array) => void;
  private readonly steps: number[];
  private held = new Uint8Array(0);
  private asked = -1;
  private isGreeted = false;
  private isTold = false;

  constructor(name: string, wants: Wants, sizeBytes: number, send: (bytes: Uint8Array) => void) {
    this.name = name;
    this.wants = wants;
    this.sizeBytes = sizeBytes;
    this.send = send;
    const { style, contexts, isOld, asksUnknown } = wants;
    this.steps = [
      ...(asksUnknown ? [UNKNOWN_OPTION] : []),
      ...(style === 'structured' ? [OPT.STRUCTURED] : []),
      ...(style === 'extended' ? [OPT.EXTENDED] : []),
      ...(contexts.length > 0 ? [OPT.SET_META] : []),
      isOld ? OPT.EXPORT_NAME : OPT.GO,
    ];
  }

  read(bytes: Uint8Array): Outcome {
    const all = new Uint8Array(this.held.length + bytes.length);
    all.set(this.held);
    all.set(bytes, this.held.length);
    let from = 0;
    for (;;) {
      const view = new DataView(all.buffer, from);
      const taken = this.isGreeted ? this.answer(view) : this.greeting(view);
      if (typeof taken === 'string') {
        if (taken === 'ready' && this.restOf(view) > 0) this.bad('bytes behind the last answer');
        return taken;
      }
      if (taken === 0) break;
      from += taken;
    }
    this.held = all.slice(from);
    return 'goes on';
  }

  private restOf(view: DataView): number {
    if (this.asked === OPT.EXPORT_NAME) return view.byteLength - 10;
    return view.byteLength - OPTION_REPLY_BYTES - view.getUint32(16);
  }

  private bad(message: string): never {
    badAnswer(this.name, message);
  }

  private greeting(view: DataView): number {
    if (view.byteLength < GREETING_BYTES) return 0;
    if (!isGreeting(view) || view.getUint16(16) !== 3) this.bad('no greeting of fixed newstyle');
    this.isGreeted = true;
    this.send(u32(3));
    this.next();
    return GREETING_BYTES;
  }

  private next(): void {
    this.asked = this.steps.shift() ?? -1;
    this.send(option(this.asked, this.dataOf(this.asked)));
  }

  private dataOf(type: number): Uint8Array {
    switch (type) {
      case OPT.SET_META:
        return contextData(NAME, this.wants.contexts);
      case OPT.GO:
        return goData(NAME, [3]);
      case OPT.EXPORT_NAME:
        return textOf(NAME);
      default:
        return new Uint8Array(type === UNKNOWN_OPTION ? 100 : 0);
    }
  }

  private answer(view: DataView): number | Outcome {
    if (this.asked === OPT.EXPORT_NAME) return this.exported(view);
    if (view.byteLength < OPTION_REPLY_BYTES) return 0;
    const type = view.getUint32(12);
    const length = view.getUint32(16);
    if (!isOptionReply(view, 0) || view.getUint32(8) !== this.asked)
      this.bad(`option ${this.asked} is not what is answered`);
    if (view.byteLength < OPTION_REPLY_BYTES + length) return 0;
    if (type === REP.SHUTDOWN) return 'refused';
    this.told(type, new DataView(view.buffer, view.byteOffset + OPTION_REPLY_BYTES, length));
    const isLast = type === REP.ACK && this.asked === OPT.GO;
    if (isLast) {
      if (!this.isTold) this.bad('GO ends without INFO_EXPORT');
      return 'ready';
    }
    if (type === REP.ACK || type === REP.UNSUP) this.next();
    return OPTION_REPLY_BYTES + length;
  }

  private told(type: number, data: DataView): void {
    const { asked } = this;
    if (asked === UNKNOWN_OPTION && type === REP.UNSUP) return;
    if (asked === OPT.GO && type === REP.INFO) {
      if (data.getUint16(0) !== 0) return;
      this.check(u64At(data, 2), data.getUint16(10));
      this.isTold = true;
    } else if (asked === OPT.SET_META && type === REP.META) {
      const name = [...new Uint8Array(data.buffer, data.byteOffset + 4, data.byteLength - 4)];
      this.contexts.set(data.getUint32(0), String.fromCharCode(...name));
    } else if (type !== REP.ACK || asked === UNKNOWN_OPTION) {
      this.bad(`option ${asked} is answered with ${type.toString(16)}`);
    } else if (asked === OPT.SET_META && this.contexts.size !== this.wants.contexts.length) {
      this.bad('a context was not selected');
    }
  }

  private exported(view: DataView): number | Outcome {
    if (view.byteLength < 10) return 0;
    this.check(u64At(view, 0), view.getUint16(8));
    return 'ready';
  }

  /** Every connection is told the same, and that there may be many. */
  private check(sizeBytes: number, flags: number): void {
    const wanted = OFFERS.FLUSH | OFFERS.FUA | OFFERS.MULTI_CONN;
    const isDf = (flags & OFFERS.DF) !== 0;
    const isRight = (flags & wanted) === wanted && isDf === (this.wants.style !== 'simple');
    if (sizeBytes !== this.sizeBytes || !isRight)
      this.bad(`an export of ${sizeBytes} bytes, flags ${flags.toString(2)}`);
  }
}

const NAME = 'sim';
