// The server of a remote leg: NBD's transmission phase by proto.md, written without the core's own
// readers and writers, on a simulated disk.
import { ERRNO } from '../../../core/base/errno.ts';
import type { Prng } from '../../../core/base/prng.ts';
import { Bio } from '../../../core/block/bio.ts';
import { Loop } from '../../../core/block/loop.ts';
import { REQ_FLAG, REQ_OP, type ReqOp } from '../../../core/block/op.ts';
import type { ServerFacts } from '../../../core/nbd/client-handshake.ts';
import type { SimClock } from '../clock.ts';
import type { SimDisk } from '../disk.ts';
import { Connection, type ConnectionEnd, type Endpoint } from './connection.ts';

const REQUEST_BYTES = 28;
const REQUEST_MAGIC = 0x25609513;
const COMMAND = { READ: 0, WRITE: 1, DISC: 2, FLUSH: 3, TRIM: 4, WRITE_ZEROES: 6 } as const;
const FLAG_FUA = 1;

interface Wanted {
  readonly type: number;
  readonly flags: number;
  readonly cookieHigh: number;
  readonly cookieLow: number;
  readonly offset: number;
  readonly bytes: number;
}

/** How a server parts with a connection. */
export type Parting = 'waits for its requests' | 'closes before they have ended';

export class SimServer {
  readonly facts: ServerFacts;
  isUp = true;
  readonly connections = new Set<Service>();
  /** Parted with, but for requests that have not ended; which may be minutes, where its disk is stuck. */
  readonly parting = new Set<Service>();
  readonly disk: SimDisk;
  private readonly clock: SimClock;
  private readonly prng: Prng;

  constructor(disk: SimDisk, clock: SimClock, prng: Prng) {
    this.disk = disk;
    this.clock = clock;
    this.prng = prng;
    this.facts = this.drawFacts();
  }

  private drawFacts(): ServerFacts {
    const { limits, sectors } = this.disk;
    const fua = this.prng.ratio(1, 2) ? 1 << 3 : 0;
    const trim = limits.maxDiscardSectors > 0 ? 1 << 5 : 0;
    const zeroes = limits.maxWriteZeroesSectors > 0 ? 1 << 6 : 0;
    const many = 1 << 8;
    return {
      sizeBytes: sectors * 512,
      transmissionFlags: 1 | (1 << 2) | fua | trim | zeroes | many,
      canonicalName: this.disk.name,
      minimumBlockBytes: limits.logicalBlockSize,
      preferredBlockBytes: 4096,
      maximumPayloadBytes: limits.maxSectors * 512,
      isStructured: this.prng.ratio(1, 2),
    };
  }

  /** It runs from now on; nobody is connected. */
  start(believed: boolean): void {
    this.isUp = true;
    this.connections.clear();
    this.parting.clear();
    const loop: Loop = new Loop({
      wake: () => {
        this.clock.in(this.prng.below(3), () => loop.run());
      },
      block: () => false,
    });
    this.disk.open(loop, believed);
  }

  accept(): Connection {
    const connection = new Connection(this.clock, this.prng);
    this.connections.add(new Service(this, connection, this.prng));
    return connection;
  }

  /** Its process is killed, or its machine loses power and all that was in its caches. */
  die(power: boolean): void {
    this.isUp = false;
    if (power) this.disk.powerCut();
    else this.disk.daemonDied();
    for (const service of [...this.connections, ...this.parting]) service.vanish();
    this.connections.clear();
    this.parting.clear();
  }
}

/** One connection of the server. */
export class Service implements Endpoint {
  readonly connection: Connection;
  private readonly server: SimServer;
  private readonly prng: Prng;
  private held = new Uint8Array(0);
  private underWay = 0;
  private isClosing = false;
  private isGone = false;

  constructor(server: SimServer, connection: Connection, prng: Prng) {
    this.server = server;
    this.connection = connection;
    this.prng = prng;
    connection.toServer.to = this;
  }

  received(bytes: Uint8Array): void {
    if (this.isClosing) return;
    const all = new Uint8Array(this.held.length + bytes.length);
    all.set(this.held);
    all.set(bytes, this.held.length);
    let from = 0;
    while (!this.isClosing) {
      const taken = this.take(all, from);
      if (taken === 0) break;
      from += taken;
    }
    this.held = all.slice(from);
  }

  /** The client has closed, or is out of sight: what was received whole is still done. */
  ended(_how: ConnectionEnd): void {
    this.part('waits for its requests');
  }

  part(how: Parting): void {
    this.isClosing = true;
    this.server.connections.delete(this);
    if (how === 'waits for its requests') {
      if (!this.isGone) this.server.parting.add(this);
      this.closeWhenIdle();
    } else {
      this.isGone = true;
      this.connection.serverGone();
    }
  }

  /** The process is gone. */
  vanish(): void {
    this.isClosing = true;
    this.isGone = true;
    this.connection.serverGone();
  }

  private closeWhenIdle(): void {
    if (!this.isClosing || this.underWay > 0 || this.isGone) return;
    this.isGone = true;
    this.server.parting.delete(this);
    this.connection.serverGone();
  }

  /** Bytes of the whole message at `from`; 0: it is not whole yet. */
  private take(all: Uint8Array, from: number): number {
    if (all.length - from < REQUEST_BYTES) return 0;
    const view = new DataView(all.buffer, from, REQUEST_BYTES);
    if (view.getUint32(0) !== REQUEST_MAGIC) throw new Error('a server was sent no request');
    const wanted = {
      flags: view.getUint16(4),
      type: view.getUint16(6),
      cookieHigh: view.getUint32(8),
      cookieLow: view.getUint32(12),
      offset: view.getUint32(16) * 2 ** 32 + view.getUint32(20),
      bytes: view.getUint32(24),
    };
    const payload = wanted.type === COMMAND.WRITE ? wanted.bytes : 0;
    if (all.length - from < REQUEST_BYTES + payload) return 0;
    const start = from + REQUEST_BYTES;
    if (wanted.type === COMMAND.DISC) this.part('waits for its requests');
    else this.serve(wanted, all.slice(start, start + payload));
    return REQUEST_BYTES + payload;
  }

  private serve(wanted: Wanted, payload: Uint8Array): void {
    const bio = new Bio();
    bio.op = opOf(wanted.type);
    bio.flags = (wanted.flags & FLAG_FUA) !== 0 ? REQ_FLAG.FUA : REQ_FLAG.NONE;
    bio.sector = wanted.offset / 512;
    bio.sectors = wanted.type === COMMAND.FLUSH ? 0 : wanted.bytes / 512;
    const page = wanted.type === COMMAND.READ ? new Uint8Array(wanted.bytes) : payload;
    if (page.length > 0) bio.setBuffer(page, 0, page.length);
    this.underWay += 1;
    bio.owner = {
      endIo: () => {
        this.underWay -= 1;
        if (!this.isGone) this.reply(wanted, bio.error, page);
        this.closeWhenIdle();
      },
    };
    this.server.disk.submit(bio);
  }

  private reply(wanted: Wanted, errno: number, data: Uint8Array): void {
    const error = errno === ERRNO.EOPNOTSUPP ? 95 : errno;
    const isRead = wanted.type === COMMAND.READ;
    const { isStructured } = this.server.facts;
    const send = (bytes: Uint8Array): void => this.connection.toClient.send(bytes);
    if (isStructured && isRead && error === 0) this.sendChunks(wanted, data);
    else if (isStructured && (isRead || this.prng.ratio(1, 2))) {
      if (error === 0) send(chunk(wanted, 1, 0, []));
      else send(chunk(wanted, 1, 0x8001, [u32(error), u16(0)]));
    } else {
      const parts = [u32(0x67446698), u32(error), u32(wanted.cookieHigh), u32(wanted.cookieLow)];
      send(joined(isRead && error === 0 ? [...parts, data] : parts));
    }
  }

  /** In one piece or in two, the second one first. */
  private sendChunks(wanted: Wanted, data: Uint8Array): void {
    const cut = data.length > 512 && this.prng.ratio(1, 3) ? 512 : 0;
    const piece = (from: number, end: number, flags: number): void => {
      const at = wanted.offset + from;
      const place = [u32(Math.floor(at / 2 ** 32)), u32(at % 2 ** 32)];
      this.connection.toClient.send(chunk(wanted, flags, 1, [...place, data.subarray(from, end)]));
    };
    if (cut > 0) piece(cut, data.length, 0);
    piece(0, cut > 0 ? cut : data.length, 1);
  }
}

function opOf(type: number): ReqOp {
  switch (type) {
    case COMMAND.READ:
      return REQ_OP.READ;
    case COMMAND.WRITE:
      return REQ_OP.WRITE;
    case COMMAND.FLUSH:
      return REQ_OP.FLUSH;
    case COMMAND.TRIM:
      return REQ_OP.DISCARD;
    case COMMAND.WRITE_ZEROES:
      return REQ_OP.WRITE_ZEROES;
    default:
      throw new Error(`a server was asked for command ${type}`);
  }
}

function chunk(
  { cookieHigh, cookieLow }: Wanted,
  flags: number,
  type: number,
  payload: readonly Uint8Array[],
): Uint8Array {
  const length = payload.reduce((sum, part) => sum + part.length, 0);
  const head = [u32(0x668e33ef), u16(flags), u16(type), u32(cookieHigh), u32(cookieLow)];
  return joined([...head, u32(length), ...payload]);
}

function u32(value: number): Uint8Array {
  return Uint8Array.of(value >>> 24, value >>> 16, value >>> 8, value);
}

function u16(value: number): Uint8Array {
  return Uint8Array.of(value >>> 8, value);
}

function joined(parts: readonly Uint8Array[]): Uint8Array {
  const all = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    all.set(part, at);
    at += part.length;
  }
  return all;
}
