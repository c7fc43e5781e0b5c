// A client of the fuzzed server: its bytes, and whether what comes back is NBD.
import type { Prng } from '../../core/base/prng.ts';
import type { Export } from '../../core/export/export.ts';
import type { Offer } from '../../core/export/offer.ts';
import { PLAIN } from '../../core/nbd/agreement.ts';
import { REPLY_STYLE, type ReplyStyle } from '../../core/nbd/chunk.ts';
import { Handshake } from '../../core/nbd/handshake.ts';
import { CHUNK, COMMAND, COMMAND_FLAG, nameIn, NBD_ERROR, SIZE } from '../../core/nbd/proto.ts';
import { flagsOf } from '../../core/nbd/transmission.ts';
import {
  isOptionReply,
  readGreeting,
  readOptionReplyLength,
  readOptionReplyType,
} from '../../core/nbd/wire.ts';
import { concat } from '../support/hex.ts';
import { extendedRequest, request } from '../support/nbd-messages.ts';
import { SessionClient } from '../support/session-client.ts';
import { someRequests, straightHandshake, wildHandshake, type Asked } from './client-bytes.ts';
import { damaged, randomBytes } from './damage.ts';
import { expectThat, type Tally } from './finding.ts';
import type { ServerWorld } from './server-world.ts';

/** What every arena has room for, with edges. */
const ROOM_BYTES = 4096;
/** The longest reply to an option: a name and a description of ours. */
const MOST_REPLY_BYTES = 8192;

export class FuzzClient {
  /** It does nothing but what proto.md allows, reads its replies, and so must get them. */
  readonly isStraight: boolean;
  isGone = false;
  /** Ends with DISC, and wants its answers before. */
  private readonly saysGoodbye: boolean;
  session: SessionClient | undefined;
  private readonly world: ServerWorld;
  private readonly prng: Prng;
  private readonly tally: Tally;
  private readonly handshake: Handshake<Offer>;
  private said: Uint8Array[] = [];
  private script: Uint8Array;
  private at = 0;
  private asked: readonly Asked[] = [];
  /** False: its requests were damaged on the way, and nobody can say what they ask. */
  private isFramed = true;

  constructor(world: ServerWorld, prng: Prng, tally: Tally) {
    this.world = world;
    this.prng = prng;
    this.tally = tally;
    this.isStraight = world.servesPlain && prng.ratio(1, 3);
    this.saysGoodbye = prng.ratio(1, 3);
    this.handshake = new Handshake(
      world.table,
      { write: (bytes) => this.said.push(bytes) },
      world.plain,
    );
    this.script = this.isStraight ? straightHandshake(prng) : wildHandshake(prng);
    tally.streams += 1;
  }

  /** Its next bytes. False: it has no more. */
  step(): boolean {
    if (this.isGone || this.at === this.script.length) return false;
    const { prng } = this;
    const most = prng.pick([1, 3, 30, 400, 3000, 100_000]);
    const end = Math.min(this.script.length, this.at + prng.between(1, most));
    const piece = this.script.subarray(this.at, end);
    this.at = end;
    this.tally.bytes += piece.length;
    if (this.session === undefined) this.negotiate(piece);
    else this.session.send(piece);
    if (this.session !== undefined && !this.isStraight) this.misbehave();
    return true;
  }

  private negotiate(piece: Uint8Array): void {
    const { handshake, tally } = this;
    const taken = handshake.consume(piece, 0, piece.length);
    const { state } = handshake;
    if (state === 'TLS') {
      tally.count('TLS');
      // What came in the clear behind STARTTLS is an attack, and the server hangs up; or it was not sent yet.
      const isAttack = taken < piece.length && this.prng.ratio(1, 4);
      this.at -= piece.length - taken;
      if (isAttack) this.leave();
      else this.secure();
    } else if (state === 'TRANSMISSION') {
      this.transmit(piece.subarray(taken));
    } else {
      expectThat(taken === piece.length, `${piece.length - taken} bytes were left in ${state}`);
      if (state === 'CLOSED') {
        tally.count(handshake.failure === '' ? 'ABORT' : 'refused in the handshake');
        const mayRefuse = !this.isStraight || this.world.isShutDown;
        expectThat(mayRefuse, `a straight client was refused: ${handshake.failure}`);
        this.leave();
      }
    }
  }

  private secure(): void {
    const { handshake, world } = this;
    handshake.secured(world.secured);
    const { style, contexts } = handshake.agreement;
    const isForgotten = style === PLAIN.style && contexts === 0;
    expectThat(isForgotten, 'what was agreed in the clear holds behind TLS');
  }

  private transmit(rest: Uint8Array): void {
    const { handshake, prng, tally, world } = this;
    const target = handshake.chosen as Export;
    const agreed = handshake.agreement;
    expectOptionReplies(concat(...this.said));
    tally.count(`transmission, ${nameIn(REPLY_STYLE, agreed.style).toLowerCase()}`);
    if (agreed.contexts !== 0) tally.count('contexts');
    this.session = new SessionClient(target, world.arena, agreed);
    const style =
      !this.isStraight && prng.ratio(1, 12) ? prng.pick(Object.values(REPLY_STYLE)) : agreed.style;
    this.asked = someRequests(prng, style, target.sizeBytes, this.isStraight);
    let bytes = concat(...this.asked.map((one) => one.bytes));
    if (this.isStraight) {
      if (this.saysGoodbye) bytes = concat(bytes, goodbye(style));
    } else {
      this.isFramed = false;
      if (prng.ratio(1, 2)) bytes = damaged(prng, bytes);
      if (prng.ratio(1, 30)) bytes = randomBytes(prng, prng.between(1, 500));
    }
    // What the wild handshake had behind its GO is taken for requests.
    this.script = concat(rest, this.script.subarray(this.at), bytes);
    this.at = 0;
  }

  private misbehave(): void {
    const { prng, session } = this;
    if (session === undefined) return;
    if (prng.ratio(1, 8)) session.reading = !session.reading;
    if (session.reading && session.session.replies.length > 0) session.takeReplies();
    if (prng.ratio(1, 60) && !session.session.isBlocked) session.session.endInput();
    if (prng.ratio(1, 60)) this.leave();
  }

  /** Hangs up, whatever is under way. */
  leave(): void {
    if (this.isGone) return;
    this.isGone = true;
    if (this.session === undefined) {
      if (this.handshake.state !== 'TRANSMISSION') expectOptionReplies(concat(...this.said));
      return;
    }
    this.judge(this.session);
    this.session.session.abandon();
  }

  private judge({ replies, ended }: SessionClient): void {
    const { tally } = this;
    if (ended !== undefined && ended !== '') tally.count(ended);
    for (const { error, chunks } of replies) {
      tally.count(`reply ${nameIn(NBD_ERROR, error)}`);
      expectThat(Object.values<number>(NBD_ERROR).includes(error), `error ${error} is none of NBD`);
      for (const { type } of chunks) tally.count(`chunk ${nameIn(CHUNK, type)}`);
    }
    if (!this.isFramed) return;
    for (const { cookie, error, data, chunks } of replies) {
      const one = this.asked.find((asked) => asked.cookie === cookie);
      expectThat(one !== undefined, `a reply to ${cookie}, which was not asked`);
      this.judgeError(one, error);
      const length = one.type === COMMAND.READ && error === 0 ? one.length : 0;
      const isSimpleRead = one.type === COMMAND.READ && chunks.length === 0;
      const mayBeSimple = this.handshake.agreement.style === REPLY_STYLE.SIMPLE;
      expectThat(mayBeSimple || !isSimpleRead, 'a READ was not answered in chunks');
      if (error === NBD_ERROR.ESHUTDOWN) {
        expectThat(this.world.isShutDown, 'ESHUTDOWN without a shutdown');
      }
      expectThat(data.length === length, `${data.length} bytes for a READ of ${length}`);
    }
  }

  private judgeError({ type, flags, offset, length }: Asked, error: number): void {
    const name = `${nameIn(COMMAND, type)} flags ${flags} at ${offset} length ${length}`;
    const said = `${name} got ${nameIn(NBD_ERROR, error)}`;
    const size = this.session?.session.target.sizeBytes ?? 0;
    const isKnown = type < COMMAND.RESIZE;
    const isRange = isKnown && type !== COMMAND.FLUSH && (flags & COMMAND_FLAG.PAYLOAD_LEN) === 0;
    if (this.mustDo(type, flags, offset, length)) expectThat(error === 0, said);
    if (!isKnown || flags >= 64) expectThat(error !== 0, said);
    if (isRange && offset + length > size) expectThat(error !== 0, said);
    if (error === NBD_ERROR.ENOTSUP) {
      expectThat((flags & COMMAND_FLAG.FAST_ZERO) !== 0, said);
    }
    expectThat(error !== NBD_ERROR.EOVERFLOW, said);
  }

  /** Nothing in this world keeps the server from it. */
  private mustDo(type: number, flags: number, offset: number, length: number): boolean {
    const { world, session, handshake } = this;
    const { style, readOnly } = handshake.agreement;
    if (!world.isFaultless || world.isShutDown || session === undefined) return false;
    if (type >= COMMAND.BLOCK_STATUS || type === COMMAND.DISC) return false;
    if ((flags & ~flagsOf(type, style)) !== 0 || (flags & COMMAND_FLAG.FAST_ZERO) !== 0)
      return false;
    const { target } = session.session;
    if (readOnly || target.readOnly) return false;
    return length <= ROOM_BYTES && offset + length <= target.sizeBytes;
  }

  /** Everything has had its time: a straight client has an answer to all it asked, each once. */
  expectServed(): void {
    const { session, world } = this;
    if (!this.isStraight || this.isGone) return;
    if (session === undefined && world.isShutDown) return;
    expectThat(session !== undefined, `a straight client is still in ${this.handshake.state}`);
    const ended = this.saysGoodbye ? '' : undefined;
    const said = session.ended === '' ? 'in silence' : session.ended;
    expectThat(session.ended === ended, `a straight client was dropped: ${said ?? 'not at all'}`);
    const { replies } = session;
    const cookies = new Set(replies.map(({ cookie }) => cookie));
    const asked = this.asked.length;
    expectThat(
      replies.length === asked && cookies.size === asked,
      `${replies.length} replies to ${cookies.size} of ${asked} requests`,
    );
  }
}

function goodbye(style: ReplyStyle): Uint8Array {
  const make = style === REPLY_STYLE.EXTENDED ? extendedRequest : request;
  return make({ type: COMMAND.DISC, cookie: 4242 });
}

/** The greeting, replies to options, and at the end perhaps EXPORT_NAME's, which has no magic. */
function expectOptionReplies(bytes: Uint8Array): void {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  expectThat(bytes.length >= SIZE.GREETING, 'no greeting');
  expectThat(readGreeting(view, 0) !== undefined, 'a greeting without its magic');
  let at: number = SIZE.GREETING;
  while (at < bytes.length) {
    const left = bytes.length - at;
    const isLast =
      [10, 134].includes(left) && !(left >= SIZE.OPTION_REPLY && isOptionReply(view, at));
    if (isLast) return;
    expectThat(left >= SIZE.OPTION_REPLY && isOptionReply(view, at), 'no option reply');
    const length = readOptionReplyLength(view, at);
    expectThat(length <= MOST_REPLY_BYTES, `an option reply of ${length} bytes`);
    expectThat(readOptionReplyType(view, at) !== 0, 'an option reply of no type');
    at += SIZE.OPTION_REPLY + length;
  }
  expectThat(at === bytes.length, 'an option reply shorter than it says');
}
