// A remote device without a network: links whose bytes a test moves by hand, a clock it turns.
import type { Timer } from '../../core/base/ports.ts';
import { SILENT_LOG } from '../../core/base/ports.ts';
import { Bio } from '../../core/block/bio.ts';
import type { ReqOp } from '../../core/block/op.ts';
import { CHUNK, COMMAND } from '../../core/nbd/proto.ts';
import type { ServerFacts } from '../../core/nbd/client-handshake.ts';
import { readRequest, RequestHeader, writeSimpleReply } from '../../core/nbd/wire.ts';
import { RemoteDevice } from '../../core/remote/device.ts';
import { RemoteLink, type LinkTransport, type PieceSink } from '../../core/remote/link.ts';
import { RemoteReport } from '../../core/remote/report.ts';
import { chunk, dataPayload } from '../fuzz/server-bytes.ts';
import type { Remembered } from '../../core/remote/witness.ts';
import { createManualLoop, runUntilIdle } from './manual-loop.ts';

const FACTS: ServerFacts = {
  sizeBytes: 2 ** 20,
  // HAS_FLAGS, FLUSH, FUA, TRIM, WRITE_ZEROES, CAN_MULTI_CONN
  transmissionFlags: 0x16d,
  canonicalName: 'data',
  minimumBlockBytes: 1,
  preferredBlockBytes: 4096,
  maximumPayloadBytes: 2 ** 25,
  isStructured: false,
  allocationId: null,
};

/** Sends everything at once into `sent`. */
export class Wire implements LinkTransport, PieceSink {
  readonly link: RemoteLink;
  sent: number[] = [];
  isAbandoned = false;
  private readonly content: Uint8Array;
  private readonly payloads = new Map<RequestHeader, Uint8Array>();

  /** `content`: what the server holds. A write that is answered well is there. */
  constructor(link: RemoteLink, content: Uint8Array) {
    this.link = link;
    this.content = content;
    link.attach(this);
  }

  sendSoon(): void {
    this.link.sent(this.link.gather(this));
  }

  sendNow(): void {
    this.sendSoon();
  }

  piece(page: Uint8Array, offset: number, length: number): boolean {
    for (let i = 0; i < length; i += 1) this.sent.push(page[offset + i] ?? 0);
    return true;
  }

  abandon(): void {
    this.isAbandoned = true;
    this.link.released();
  }

  /** Requests sent and not taken yet, without their payload. */
  requests(): readonly RequestHeader[] {
    const all = Uint8Array.from(this.sent.splice(0));
    const view = new DataView(all.buffer);
    const found: RequestHeader[] = [];
    for (let at = 0; at < all.length;) {
      const header = new RequestHeader();
      if (!readRequest(view, at, header)) throw new Error('not a request');
      found.push(header);
      at += 28;
      if (header.type !== COMMAND.WRITE) continue;
      this.payloads.set(header, all.slice(at, at + header.lengthBytes));
      at += header.lengthBytes;
    }
    return found;
  }

  /** The only one. */
  oldest(): RequestHeader {
    const [one] = this.requests();
    if (one === undefined) throw new Error('nothing was sent');
    return one;
  }

  two(): readonly [RequestHeader, RequestHeader] {
    const [one, other] = this.requests();
    if (one === undefined || other === undefined) throw new Error('fewer than two were sent');
    return [one, other];
  }

  give(...parts: readonly Uint8Array[]): void {
    for (const part of parts) this.link.consume(part, 0, part.length);
  }

  /** Answers with a simple reply, and data. */
  answer(request: RequestHeader, error = 0, data: Uint8Array = new Uint8Array(0)): void {
    const { offset, lengthBytes, type } = request;
    if (error === 0 && type === COMMAND.WRITE)
      this.content.set(this.payloads.get(request) ?? [], offset);
    if (error === 0 && type === COMMAND.WRITE_ZEROES)
      this.content.fill(0, offset, offset + lengthBytes);
    const bytes = new Uint8Array(16 + data.length);
    const view = new DataView(bytes.buffer);
    writeSimpleReply(view, 0, error, request.cookieHigh, request.cookieLow);
    bytes.set(data, 16);
    this.give(bytes);
  }
}

export class RemoteWorld {
  /** What the server holds, and shows to who looks at it before a connection is used. */
  readonly content: Uint8Array;
  readonly loop = createManualLoop();
  readonly device: RemoteDevice;
  readonly wires: (Wire | undefined)[] = [];
  /** What the host was asked for and has not done: `connect 0`, `fence 1`. */
  asked: string[] = [];
  private timers: { readonly fire: () => void }[] = [];
  private readonly facts: ServerFacts;

  /** `fill`: what the server holds before. */
  constructor(
    facts: Partial<ServerFacts> = {},
    links = 1,
    isVouchedFor = true,
    fill: (content: Uint8Array) => void = () => undefined,
    remembered: readonly Remembered[] = [],
  ) {
    this.facts = { ...FACTS, ...facts };
    this.content = new Uint8Array(this.facts.sizeBytes);
    fill(this.content);
    this.device = new RemoteDevice({
      name: 'far',
      facts: this.facts,
      readOnly: false,
      timeoutMs: 8000,
      links,
      remembered,
      loop: this.loop,
      clock: { nowMs: () => 0, after: (_, fire) => this.after(fire) },
      report: new RemoteReport('far', SILENT_LOG),
      host: {
        connect: (slot) => this.asked.push(`connect ${slot}`),
        fence: ({ slot }) => this.asked.push(`fence ${slot}`),
      },
    });
    this.connect(0);
    // What was there before is kept: a test has nothing to do with the FLUSH that asks for it.
    if (isVouchedFor) for (const flush of this.wire().requests()) this.wire().answer(flush);
    for (let slot = 1; slot < links; slot += 1) this.connect(slot);
  }

  /** `looks` false: the test answers what the device asks to see who is there. */
  connect(slot: number, looks = true): Wire {
    const { isStructured, allocationId = null } = this.facts;
    const link = new RemoteLink(slot, this.device, isStructured, allocationId);
    const wire = new Wire(link, this.content);
    this.wires[slot] = wire;
    this.asked = this.asked.filter((one) => one !== `connect ${slot}`);
    this.device.connected(wire.link);
    if (looks) while (this.device.isLooking(slot)) this.show(wire);
    return wire;
  }

  /** Answers the next READ with which the device looks at a new connection. */
  show(wire: Wire): void {
    const request = wire.oldest();
    if (request.type !== COMMAND.READ) throw new Error('a connection is not looked at by READs');
    const { offset, lengthBytes } = request;
    const data = this.content.slice(offset, offset + lengthBytes);
    if (!this.facts.isStructured) {
      wire.answer(request, 0, data);
      return;
    }
    const place = dataPayload(offset, data);
    wire.give(chunk(request, CHUNK.OFFSET_DATA, true, place));
  }

  fenced(slot: number): void {
    this.asked = this.asked.filter((one) => one !== `fence ${slot}`);
    this.device.fenced(slot);
  }

  wire(slot = 0): Wire {
    const wire = this.wires[slot];
    if (wire === undefined) throw new Error(`no link ${slot}`);
    return wire;
  }

  /** The errno of the bio's end; undefined while it is under way. */
  submit(
    op: ReqOp,
    sector = 0,
    sectors = 0,
    flags = 0,
    byte = 0xee,
  ): { errno: number | undefined; bio: Bio } {
    const bio = new Bio();
    const state: { errno: number | undefined; bio: Bio } = { errno: undefined, bio };
    bio.op = op;
    bio.flags = flags;
    bio.sector = sector;
    bio.sectors = sectors;
    bio.setBuffer(new Uint8Array(sectors * 512).fill(byte), 0, sectors * 512);
    bio.owner = { endIo: () => (state.errno = bio.error) };
    this.device.submit(bio);
    return state;
  }

  run(): void {
    runUntilIdle(this.loop);
  }

  /** Turns the clock by a part of the time-out; nine parts are more than all of it. */
  tick(times: number): void {
    for (let i = 0; i < times; i += 1) {
      const due = this.timers.splice(0);
      for (const { fire } of due) fire();
    }
    this.run();
  }

  private after(fire: () => void): Timer {
    const timer = { fire };
    this.timers.push(timer);
    return { cancel: () => (this.timers = this.timers.filter((one) => one !== timer)) };
  }
}
