// A remote device, what is asked of it, and its server: honest, failing, lying, or gone.
import { SILENT_LOG } from '../../core/base/ports.ts';
import type { Prng } from '../../core/base/prng.ts';
import { SECTOR_SIZE } from '../../core/base/units.ts';
import { Bio } from '../../core/block/bio.ts';
import type { Loop } from '../../core/block/loop.ts';
import { hasData, opName, REQ_FLAG, REQ_OP } from '../../core/block/op.ts';
import type { ServerFacts } from '../../core/nbd/client-handshake.ts';
import { COMMAND } from '../../core/nbd/proto.ts';
import { RemoteDevice } from '../../core/remote/device.ts';
import { RemoteLink } from '../../core/remote/link.ts';
import { RemoteReport } from '../../core/remote/report.ts';
import { ManualClock } from '../support/manual-clock.ts';
import { damaged } from './damage.ts';
import { FarWire, type Received } from './far-wire.ts';
import { expectThat, type Tally } from './finding.ts';
import { errorReply, honestReply, LIES } from './server-replies.ts';

const TIMEOUT_MS = 8000;
/** Places of the device that bios are about: one bio a place at a time, so each has one right content. */
const PLACES = 24;
/** Around a bio's memory, to see that nothing is put beside it. */
const GUARD_BYTES = 64;
const GUARD = 0xc5;
const OPS = [
  REQ_OP.READ,
  REQ_OP.READ,
  REQ_OP.WRITE,
  REQ_OP.WRITE,
  REQ_OP.FLUSH,
  REQ_OP.WRITE_ZEROES,
  REQ_OP.DISCARD,
] as const;

interface Asked {
  readonly bio: Bio;
  readonly page: Uint8Array;
  readonly place: number;
  readonly byte: number;
  ends: number;
  /** The page when the bio ended: nobody changes it afterwards. */
  after: Uint8Array | undefined;
}

export class FarSide {
  readonly device: RemoteDevice;
  readonly wires: (FarWire | null)[] = [];
  private readonly loop: Loop;
  private readonly prng: Prng;
  private readonly tally: Tally;
  private readonly facts: ServerFacts;
  private readonly isHonest: boolean;
  private readonly clock = new ManualClock();
  private readonly placeBytes: number;
  /** What the server holds, by place; what a client may rely on, if anything. */
  private readonly content: Uint8Array;
  private readonly known = new Map<number, number>();
  private readonly asked: Asked[] = [];
  private readonly busy = new Set<number>();
  private readonly ended = new Set<Uint8Array>();
  private toConnect: number[] = [];
  private toFence: number[] = [];

  constructor(loop: Loop, prng: Prng, tally: Tally, facts: ServerFacts, isHonest: boolean) {
    this.loop = loop;
    this.prng = prng;
    this.tally = tally;
    this.facts = facts;
    this.isHonest = isHonest;
    const links = isHonest ? 1 : prng.between(1, 3);
    this.device = new RemoteDevice({
      name: 'far',
      facts,
      readOnly: false,
      timeoutMs: TIMEOUT_MS,
      links,
      loop,
      clock: this.clock,
      report: new RemoteReport('far', SILENT_LOG),
      host: {
        connect: (slot) => this.toConnect.push(slot),
        fence: ({ slot }) => this.toFence.push(slot),
      },
    });
    const { logicalBlockSize, maxSectors } = this.device.limits;
    this.placeBytes = Math.max(
      logicalBlockSize,
      Math.min(prng.pick([512, 512, 2048]), maxSectors * SECTOR_SIZE),
    );
    this.content = new Uint8Array(PLACES * this.placeBytes);
    for (let slot = 0; slot < links; slot += 1) this.toConnect.push(slot);
    while (this.toConnect.length > 0) this.connect();
  }

  /** Places there are in an export of so many bytes, with the longest block. */
  static readonly LEAST_BYTES = PLACES * 65_536;

  /** Something happens. */
  step(): void {
    const { prng } = this;
    switch (prng.below(8)) {
      case 0:
      case 1:
      case 2:
        this.submit();
        break;
      case 3:
        this.someWire()?.gather();
        break;
      case 4:
        this.someWire()?.settle();
        break;
      case 5:
      case 6:
        this.answer();
        break;
      default:
        if (!this.isHonest) this.trouble();
    }
    if (prng.ratio(1, 2)) this.loop.run();
  }

  private someWire(): FarWire | null {
    return this.prng.pick(this.wires);
  }

  private connect(): void {
    const slot = this.toConnect.shift();
    if (slot === undefined) return;
    const link = new RemoteLink(slot, this.device, this.facts.isStructured);
    this.wires[slot] = new FarWire(link, this.prng, (page) => this.ended.has(page));
    this.device.connected(link);
    this.tally.streams += 1;
    if (this.prng.ratio(15, 16)) this.show(slot);
  }

  /** Most servers show what they hold at once: those that lie then are refused, and see no more of the client. */
  private show(slot: number): void {
    const wire = this.wires[slot] ?? null;
    for (let i = 0; wire !== null && i < 1000 && this.device.isLooking(slot); i += 1) {
      wire.gather();
      wire.settle();
      const request = wire.arrived.shift();
      if (request === undefined) continue;
      const { isStructured } = this.facts;
      const content = this.carryOut(request);
      this.giveRight(wire, honestReply(this.prng, request.header, isStructured, true, content));
    }
  }

  private trouble(): void {
    const { prng, tally } = this;
    const wire = this.someWire();
    switch (prng.below(8)) {
      case 0:
        if (wire !== null && prng.ratio(1, 4)) {
          wire.link.closed('the server has gone');
          tally.count('closed');
        }
        break;
      case 1:
        this.clock.advance(prng.pick([TIMEOUT_MS / 8, TIMEOUT_MS / 8, 2 * TIMEOUT_MS]));
        break;
      case 2:
        if (prng.ratio(1, 12)) {
          this.device.refused('another one');
          tally.count('refused');
        }
        break;
      case 3:
        this.fence();
        break;
      case 4:
        this.connect();
        break;
      default:
        while (this.toFence.length > 0) this.fence();
        while (this.toConnect.length > 0) this.connect();
    }
  }

  private fence(): void {
    for (const wire of this.wires) if (wire?.isAbandoned === true) this.letGo(wire);
    const slot = this.toFence.shift();
    if (slot === undefined) return;
    this.wires[slot] = null;
    this.device.fenced(slot);
  }

  private letGo(wire: FarWire): void {
    wire.settle();
    wire.release();
  }

  // --- the client

  private submit(): void {
    const { prng, placeBytes, device } = this;
    const place = prng.below(PLACES);
    if (this.busy.has(place)) return;
    this.busy.add(place);
    const bio = new Bio();
    const sectors = placeBytes / SECTOR_SIZE;
    bio.op = prng.pick(OPS);
    bio.flags = bio.op === REQ_OP.READ || prng.ratio(2, 3) ? 0 : REQ_FLAG.FUA;
    if (prng.ratio(1, 4)) bio.flags |= REQ_FLAG.SYNC;
    const isFlush = bio.op === REQ_OP.FLUSH;
    bio.sector = isFlush ? 0 : place * sectors;
    bio.sectors = isFlush ? 0 : sectors;
    const page = new Uint8Array(placeBytes + 2 * GUARD_BYTES).fill(GUARD);
    const byte = prng.between(1, 255);
    if (hasData(bio.op)) this.lay(bio, page, byte);
    const one: Asked = { bio, page, place, byte, ends: 0, after: undefined };
    this.asked.push(one);
    bio.owner = { endIo: () => this.onEnd(one) };
    device.submit(bio);
  }

  /** In one piece or two. */
  private lay(bio: Bio, page: Uint8Array, byte: number): void {
    const { placeBytes, prng } = this;
    page.fill(byte, GUARD_BYTES, GUARD_BYTES + placeBytes);
    const cut = prng.ratio(1, 2) ? placeBytes : prng.between(1, placeBytes / 512) * 256;
    const pieces = cut < placeBytes ? [cut, placeBytes - cut] : [placeBytes];
    let at = GUARD_BYTES;
    for (const [i, length] of pieces.entries()) {
      Object.assign(bio.ownVec(i), { page, offset: at, length });
      at += length;
    }
    bio.vecCount = pieces.length;
  }

  private onEnd(one: Asked): void {
    const { bio, page, place, byte } = one;
    one.ends += 1;
    expectThat(one.ends === 1, 'a bio has ended twice');
    one.after = page.slice();
    this.ended.add(page);
    this.busy.delete(place);
    this.tally.count(`${opName(bio.op)} ${bio.error === 0 ? 'well' : 'failed'}`);
    this.expectGuards(one);
    const isChange =
      bio.op === REQ_OP.WRITE || bio.op === REQ_OP.WRITE_ZEROES || bio.op === REQ_OP.DISCARD;
    if (bio.op === REQ_OP.READ && bio.error === 0 && this.isHonest) this.expectRight(one);
    if (!isChange) return;
    if (bio.error !== 0 || bio.op === REQ_OP.DISCARD) this.known.delete(place);
    else this.known.set(place, bio.op === REQ_OP.WRITE ? byte : 0);
  }

  private expectRight({ page, place }: Asked): void {
    const byte = this.known.get(place);
    if (byte === undefined) return;
    const got = page.subarray(GUARD_BYTES, GUARD_BYTES + this.placeBytes);
    expectThat(
      got.every((each) => each === byte),
      'a READ gave other bytes than were written',
    );
  }

  private expectGuards({ page }: Asked): void {
    const end = GUARD_BYTES + this.placeBytes;
    for (let i = 0; i < GUARD_BYTES; i += 1) {
      expectThat(page[i] === GUARD && page[end + i] === GUARD, 'bytes beside the memory of a bio');
    }
  }

  // --- the server

  private answer(): void {
    const { prng, tally } = this;
    const wire = this.someWire();
    if (wire === null || wire.isAbandoned || wire.arrived.length === 0) return;
    const [request] = wire.arrived.splice(prng.below(wire.arrived.length), 1);
    if (request === undefined) return;
    const { header } = request;
    const { isStructured } = this.facts;
    const isRead = header.type === COMMAND.READ;
    const kind = this.isHonest ? 0 : prng.below(9);
    if (kind === 1) {
      this.giveRight(wire, errorReply(prng, header, isStructured));
      return;
    }
    const right = honestReply(prng, header, isStructured, isRead, this.carryOut(request));
    if (kind === 2) {
      wire.isHurt = true;
      wire.give(damaged(prng, right), tally);
    } else if (kind === 3) this.lie(wire, header, isRead);
    else this.giveRight(wire, right);
  }

  /** By the rules: the link must be content. */
  private giveRight(wire: FarWire, bytes: Uint8Array): void {
    const wasLost = wire.link.isLost;
    wire.give(bytes, this.tally);
    // A device that dies of it (its FLUSH failed after a connection was lost) gives its links up.
    const isExcused = wasLost || wire.isHurt || this.device.isDead;
    expectThat(isExcused || !wire.link.isLost, 'a reply by the rules ends the link');
  }

  private lie(wire: FarWire, header: Received['header'], isRead: boolean): void {
    const { prng, tally } = this;
    const { isStructured } = this.facts;
    // A reply that overtakes the end of its own request is kept: here it must not be.
    wire.settle();
    const told = Object.entries(LIES).flatMap(([name, make]) => {
      const bytes = make(header, isRead, isStructured);
      return bytes === undefined ? [] : [{ name, bytes }];
    });
    const { name, bytes } = prng.pick(told);
    if (wire.isAbandoned || wire.isHurt) return;
    tally.count(`lie: ${name}`);
    wire.give(bytes, tally);
    expectThat(wire.link.isLost, `a link goes on after ${name}`);
  }

  /** What the request does to the server; of a READ, the content. */
  private carryOut({ header, payload }: Received): Uint8Array {
    const { offset, lengthBytes, type } = header;
    if (type === COMMAND.READ) {
      // Behind the places there is nothing: the device looks there too.
      const held = new Uint8Array(lengthBytes);
      held.set(this.content.subarray(offset, offset + lengthBytes));
      return held;
    }
    if (type === COMMAND.WRITE) this.content.set(payload, offset);
    if (type === COMMAND.WRITE_ZEROES) this.content.fill(0, offset, offset + lengthBytes);
    return payload;
  }

  // --- the end

  /** An honest server has answered everything: so has the device. */
  expectServed(): void {
    for (let rounds = 0; this.device.inFlight > 0; rounds += 1) {
      expectThat(rounds < 10_000, `${this.device.inFlight} bios wait, and nothing happens`);
      for (const wire of this.wires) {
        wire?.gather();
        wire?.settle();
        while ((wire?.arrived.length ?? 0) > 0) this.answer();
      }
      this.loop.run();
    }
    // What was answered in the last step may still wait for its turn.
    while (this.loop.run() > 0);
    for (const { bio, ends } of this.asked) {
      const isWell =
        ends === 1 &&
        (bio.error === 0 || bio.op === REQ_OP.DISCARD || bio.op === REQ_OP.WRITE_ZEROES);
      expectThat(isWell, `${opName(bio.op)} of an honest server: ${ends} ends, errno ${bio.error}`);
    }
  }

  /** The server is gone for good: every bio ends, once, and nothing is touched afterwards. */
  expectOver(): void {
    for (const wire of this.wires) {
      if (wire === null) continue;
      if (!wire.link.isLost) wire.link.closed('the end');
      this.letGo(wire);
    }
    while (this.toFence.length > 0) this.fence();
    for (let i = 0; i < 12; i += 1) {
      this.clock.advance(TIMEOUT_MS / 8);
      this.loop.run();
    }
    while (this.loop.run() > 0);
    const { inFlight } = this.device;
    expectThat(inFlight === 0, `${inFlight} bios never end`);
    for (const one of this.asked) {
      expectThat(one.ends === 1, `a bio has ended ${one.ends} times`);
      const isSame = one.after !== undefined && Buffer.compare(one.after, one.page) === 0;
      expectThat(isSame, 'memory was written after its bio had ended');
    }
    expectThat(this.clock.timers === 0, 'a timer is left');
  }
}
