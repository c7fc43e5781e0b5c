import { assert } from '../base/assert.ts';
import { ERRNO } from '../base/errno.ts';
import { Pool } from '../base/pool.ts';
import { Issuer } from '../block/loan.ts';
import { NO_SLOT, SlotWait, type Arena, type SlotOwner } from '../block/arena.ts';
import { PLAIN, type Agreement } from '../nbd/agreement.ts';
import { COMMAND, LIMIT } from '../nbd/proto.ts';
import { FRAME, RequestFramer } from '../nbd/transmission.ts';
import { Dialect } from './dialect.ts';
import type { Export } from './export.ts';
import { keepUntilFree, replaceSlot } from './late-memory.ts';
import { ReplyQueue, replyPayloadBytes } from './reply-queue.ts';
import { Request, type RequestOwner } from './request.ts';
import { FAULT } from './faults.ts';
import { validate } from './validate.ts';

/** Requests of one connection at a time; beyond, its bytes are left unread. A power of two. */
export const MAX_REQUESTS = 256;
/**
 * What one connection leaves free for each byte it holds with more than one request. Alone it gets a
 * quarter of the arena, and each that comes later a part of what is left: clients that do not read
 * their replies, or do not finish their payloads, never hold all of it, on however many connections.
 */
const FREE_PER_HELD = 3;

/** What a session asks of the stream it lives on. May be called from inside any session method. */
export interface SessionStream {
  /** Replies wait in `session.replies`; called when there were none before. */
  repliesReady(): void;
  /** A session that took less than it was given will take more. */
  intakeResumed(): void;
  /** The last word: `failure` is empty after DISC or the end of input, else one sentence. */
  sessionEnded(failure: string): void;
}

/** Why no bytes are taken just now. */
const BLOCKED = {
  NO: 0,
  /** All request records are in use. */
  RECORDS: 1,
  /** The connection holds its share of the arena. */
  SHARE: 2,
  /** In the arena's line. */
  SLOT: 3,
} as const;
type Blocked = (typeof BLOCKED)[keyof typeof BLOCKED];

/**
 * One connection in transmission with one export: requests in, bios to the device, replies out.
 *
 * The stream gives bytes to `consume`; while `payloadWanted` is above 0 it puts the next bytes
 * straight into the arena at `payloadAt` instead and says `payloadReceived`. It sends what waits in
 * `replies` and says `repliesSent`; only then is a READ's slot free again. When the stream is gone
 * it says `abandon`: requests under way still end, silently.
 */
export class Session implements RequestOwner, SlotOwner {
  readonly target: Export;
  readonly replies: ReplyQueue;

  private readonly stream: SessionStream;
  private readonly arena: Arena;
  private readonly agreed: Agreement;
  private readonly maxHeldBytes: number;
  private readonly framer: RequestFramer;
  private readonly records: Pool<Request>;
  private readonly wait = new SlotWait();
  /** The request whose payload is coming in, or which waits for memory. */
  private current: Request | null = null;
  private blocked: Blocked = BLOCKED.NO;
  private heldBytes = 0;
  /** DISC, the end of input or a failure: no more bytes are looked at. */
  private inputClosed = false;
  private abandoned = false;
  private ended = false;

  constructor(target: Export, arena: Arena, stream: SessionStream, agreed: Agreement = PLAIN) {
    const dialect = new Dialect(agreed, arena);
    this.target = target;
    this.arena = arena;
    this.stream = stream;
    this.agreed = agreed;
    this.maxHeldBytes = agreed.maxHeldBytes ?? arena.maxSlotBytes;
    this.replies = new ReplyQueue(MAX_REQUESTS, agreed.style);
    this.framer = new RequestFramer(agreed.style);
    const issuer = new Issuer();
    this.records = new Pool(
      4,
      MAX_REQUESTS,
      () => new Request(this, target, arena, dialect, issuer),
    );
    this.wait.owner = this;
    target.connections += 1;
  }

  /** Requests taken and not yet answered into the kernel. */
  get requestsInUse(): number {
    return this.records.inUse;
  }

  /** Bytes of the arena held now. */
  get arenaBytes(): number {
    return this.heldBytes;
  }

  /** A request is taken and cannot go on: `intakeResumed` will be called. */
  get isBlocked(): boolean {
    return this.blocked !== BLOCKED.NO;
  }

  /** Payload bytes due at `payloadAt`; 0: give bytes to `consume`. */
  get payloadWanted(): number {
    const wanted = this.framer.state === FRAME.PAYLOAD && !this.isSkipping;
    return wanted ? this.framer.payloadLeft : 0;
  }

  /** Offset in the arena where the next payload byte goes. */
  get payloadAt(): number {
    const request = this.current;
    assert(request !== null && request.slot !== NO_SLOT, 'no payload is wanted');
    return request.payloadAt + request.lengthBytes - this.framer.payloadLeft;
  }

  /** The payload of a refused WRITE is read and forgotten, however long it is. */
  private get isSkipping(): boolean {
    return this.current !== null && this.current.error !== 0;
  }

  /**
   * Takes bytes [start, end); returns how many. Fewer than given: payload is wanted, or the session
   * is blocked until `intakeResumed`.
   */
  consume(bytes: Uint8Array, start: number, end: number): number {
    let at = start;
    while (at < end && !this.inputClosed) {
      switch (this.framer.state) {
        case FRAME.HEADER:
          at = this.framer.feed(bytes, at, end);
          this.headerFed();
          break;
        case FRAME.PAYLOAD:
          if (!this.isSkipping) return at - start;
          at += this.skipPayload(end - at);
          break;
        case FRAME.REQUEST:
          assert(this.blocked !== BLOCKED.NO, 'a request waits for nothing');
          return at - start;
        case FRAME.DEAD:
          assert(false, 'a dead framer with its input open');
      }
    }
    return this.inputClosed ? end - start : at - start;
  }

  /** `count` bytes of payload are in the arena. */
  payloadReceived(count: number): void {
    assert(count <= this.payloadWanted, 'more payload than wanted');
    this.takePayload(count);
  }

  /** The first `count` replies are with the kernel. */
  repliesSent(count: number): void {
    assert(count <= this.replies.length, 'more replies sent than there were');
    for (let i = 0; i < count; i += 1) this.shiftReply();
    this.unblock();
    this.endIfDone();
  }

  /** The client will send no more: what was asked is answered, a half-sent request forgotten. */
  endInput(): void {
    this.closeInput();
    this.endIfDone();
  }

  /** The client is gone. Nothing half-received is done; what was begun ends without an answer. */
  abandon(): void {
    if (this.abandoned) return;
    this.abandoned = true;
    this.closeInput();
    while (this.replies.length > 0) this.shiftReply();
    this.endIfDone();
  }

  private headerFed(): void {
    if (this.framer.state === FRAME.DEAD) this.fail('a request without its magic');
    else if (this.framer.state === FRAME.REQUEST) this.beginRequest();
  }

  /** The framer has a request: finds it a record and memory, or stays blocked. */
  private beginRequest(): void {
    const header = this.framer.header;
    if (header.type === COMMAND.DISC) {
      this.endInput();
      return;
    }
    if (this.framer.payloadBytes > LIMIT.REFUSED_PAYLOAD_BYTES) {
      this.fail('a WRITE of more bytes than anyone would read to refuse it');
      return;
    }
    const request = this.records.get();
    if (request === undefined) {
      this.blocked = BLOCKED.RECORDS;
      return;
    }
    request.set(header, validate(header, this.target, this.agreed));
    this.current = request;
    if (this.findMemory(request)) this.acceptRequest(request);
  }

  /** False: blocked. A request waits for memory holding none itself, so waiting never locks up. */
  private findMemory(request: Request): boolean {
    const lengthBytes = request.error === 0 ? request.slotBytesNeeded : 0;
    if (lengthBytes > this.arena.maxSlotBytes) request.error = ERRNO.ENOMEM;
    if (lengthBytes === 0 || request.error !== 0) return true;
    if (this.heldBytes > 0 && !this.leavesEnough(lengthBytes)) {
      this.blocked = BLOCKED.SHARE;
      return false;
    }
    const slot = this.arena.allocate(lengthBytes);
    if (slot === NO_SLOT) {
      this.blocked = BLOCKED.SLOT;
      this.arena.wait(this.wait, lengthBytes);
      return false;
    }
    this.hold(request, slot);
    return true;
  }

  /** Only what this connection gives back makes it ask again: it holds something, so it will. */
  private leavesEnough(lengthBytes: number): boolean {
    const freeBytes = this.arena.maxSlotBytes - this.arena.usedBytes - lengthBytes;
    if (this.heldBytes + lengthBytes > this.maxHeldBytes) return false;
    return FREE_PER_HELD * (this.heldBytes + lengthBytes) <= freeBytes;
  }

  private hold(request: Request, slot: number): void {
    request.slot = slot;
    this.heldBytes += this.arena.slotBytes(slot);
  }

  slotGranted(wait: SlotWait): void {
    const slot = wait.slot;
    wait.slot = NO_SLOT;
    const request = this.current;
    if (this.inputClosed || request === null) {
      this.arena.release(slot);
      return;
    }
    assert(this.blocked === BLOCKED.SLOT, 'memory for a session that did not wait');
    this.blocked = BLOCKED.NO;
    this.hold(request, slot);
    this.acceptRequest(request);
    this.stream.intakeResumed();
  }

  /** The request has all it needs but its payload. */
  private acceptRequest(request: Request): void {
    this.framer.accept();
    if (this.framer.state === FRAME.PAYLOAD) return;
    this.current = null;
    this.run(request);
  }

  private skipPayload(most: number): number {
    const left = this.framer.payloadLeft;
    const count = most < left ? most : left;
    this.takePayload(count);
    return count;
  }

  private takePayload(count: number): void {
    this.framer.payloadTaken(count);
    if (this.framer.state === FRAME.PAYLOAD) return;
    const request = this.current;
    assert(request !== null, 'payload of no request');
    this.current = null;
    this.run(request);
  }

  private run(request: Request): void {
    // A shutdown may have begun while the payload came in.
    if (request.error === 0 && this.target.isShuttingDown) request.refuse(FAULT.SHUTTING_DOWN);
    if (request.error !== 0) {
      this.answer(request);
      return;
    }
    this.target.requestStarted();
    request.start();
  }

  requestDone(request: Request): void {
    this.target.requestEnded();
    this.answer(request);
  }

  memoryLost(request: Request): void {
    const lengthBytes = this.arena.slotBytes(request.slot);
    // What it holds of the client's goes along: who waits for memory must not keep any from coming back.
    const kept = request.copyOfKept();
    this.leaveSlot(request);
    // eslint-disable-next-line no-restricted-syntax -- once for each read that its device did not answer
    replaceSlot(this.arena, lengthBytes, (slot) => {
      this.heldBytes += this.arena.slotBytes(slot);
      request.moveTo(slot, kept);
    });
  }

  /** Somebody may still use it: the arena gets it back from him. It is not this client's share any more. */
  private leaveSlot(request: Request): void {
    const { slot, loan } = request;
    if (slot !== NO_SLOT) {
      this.heldBytes -= this.arena.slotBytes(slot);
      keepUntilFree(this.arena, slot, loan);
    }
    request.leaveMemory();
  }

  private answer(request: Request): void {
    if (this.abandoned) {
      this.recycle(request);
      this.endIfDone();
      return;
    }
    // Only the reply of a READ or a BLOCK_STATUS still needs the memory.
    if (replyPayloadBytes(request) === 0) this.releaseSlot(request);
    const wasEmpty = this.replies.length === 0;
    this.replies.push(request);
    if (wasEmpty) this.stream.repliesReady();
    this.unblock();
  }

  /** A reply of several pieces gives its record back with the last. */
  private shiftReply(): void {
    const request = this.replies.shift();
    if (request !== null) this.recycle(request);
  }

  private recycle(request: Request): void {
    this.releaseSlot(request);
    this.records.put(request);
  }

  private releaseSlot(request: Request): void {
    if (request.loan.isOut) this.leaveSlot(request);
    if (request.slot === NO_SLOT) return;
    this.heldBytes -= this.arena.slotBytes(request.slot);
    this.arena.release(request.slot);
    request.slot = NO_SLOT;
  }

  /** A record or memory of ours has come back: perhaps the waiting request can go on. */
  private unblock(): void {
    const waiting = this.blocked;
    if (waiting === BLOCKED.NO || waiting === BLOCKED.SLOT || this.inputClosed) return;
    this.blocked = BLOCKED.NO;
    if (waiting === BLOCKED.RECORDS) {
      this.beginRequest();
    } else {
      const request = this.current;
      assert(request !== null, 'no request waits for the share');
      if (this.findMemory(request)) this.acceptRequest(request);
    }
    if (this.blocked === BLOCKED.NO) this.stream.intakeResumed();
  }

  private fail(failure: string): void {
    this.closeInput();
    this.end(failure);
  }

  private closeInput(): void {
    if (this.inputClosed) return;
    this.inputClosed = true;
    this.framer.kill();
    if (this.blocked === BLOCKED.SLOT) this.arena.cancel(this.wait);
    this.blocked = BLOCKED.NO;
    const request = this.current;
    this.current = null;
    if (request !== null) this.recycle(request);
  }

  private endIfDone(): void {
    if (this.inputClosed && this.records.inUse === 0) this.end('');
  }

  private end(failure: string): void {
    if (this.ended) return;
    this.ended = true;
    this.target.connections -= 1;
    this.stream.sessionEnded(failure);
  }
}
