import { GARBAGE } from '../content.ts';
import type { Front } from './front.ts';
import { CMD, goData, joined, OPT, option, requestHead, u32 } from './format.ts';
import { SimWire, type Peer } from './wire.ts';

/** What a rogue writes, if anybody lets him: the tag of no write. */
const ROGUE_TAG = 0x7badbad7;
const STAYS_MS = [1, 100, 5000, 90_000] as const;
const MANY = 300;

const DEEDS = [
  'garbage',
  'half an option',
  'garbage for a request',
  'half a request',
  'half a payload',
  'takes no replies',
  'asks small things without end',
  'a WRITE nobody would read',
  'a refused WRITE, in part',
] as const;
type Deed = (typeof DEEDS)[number];

/** A client that misbehaves, or has died in the middle of it. Nobody judges what it is answered. */
export class Rogue implements Peer {
  readonly deed: Deed;
  private readonly front: Front;
  private readonly wire: SimWire;
  private readonly bytes: Uint8Array;
  private at = 0;

  constructor(front: Front) {
    const { prng, clock, host } = front;
    this.front = front;
    this.deed = prng.pick(DEEDS);
    this.wire = new SimWire(clock, prng);
    this.bytes = this.script();
    this.wire.clientEnd = this;
    this.wire.toServer.onRoom = (): void => this.pump();
    host?.accept(this.wire);
    this.pump();
    clock.in(1000 * prng.pick(STAYS_MS), () => this.leave());
  }

  leave(): void {
    if (this.front.prng.ratio(1, 2)) this.wire.toServer.end();
    this.front.clock.in(1000, () => this.wire.reset());
  }

  received(bytes: Uint8Array): number {
    return this.deed === 'takes no replies' ? 0 : bytes.length;
  }

  inputEnded(): void {
    this.wire.reset();
  }

  lost(): void {
    this.at = this.bytes.length;
  }

  private pump(): void {
    this.at += this.wire.toServer.write(this.bytes, this.at, this.bytes.length);
  }

  private script(): Uint8Array {
    const { prng } = this.front;
    const noise = (): Uint8Array =>
      Uint8Array.from({ length: prng.between(1, 400) }, () => prng.below(256));
    if (this.deed === 'garbage') return noise();
    const hello = joined(u32(3), option(OPT.GO, goData('sim', [])));
    if (this.deed === 'half an option') return hello.subarray(0, prng.below(hello.length));
    return joined(hello, this.requests(noise));
  }

  private requests(noise: () => Uint8Array): Uint8Array {
    const { prng, sizeBytes } = this.front;
    const cut = (bytes: Uint8Array): Uint8Array => bytes.subarray(0, prng.below(bytes.length));
    switch (this.deed) {
      case 'garbage for a request':
        return joined(Uint8Array.of(1, 2, 3, 4), noise());
      case 'half a request':
        return cut(this.head(CMD.WRITE, 0, 512));
      case 'half a payload': {
        const bytes = 512 * prng.between(1, sizeBytes / 512);
        return joined(this.head(CMD.WRITE, 0, bytes), cut(payload(bytes)));
      }
      case 'takes no replies':
        return joined(
          ...Array.from({ length: MANY }, () => {
            const bytes = prng.ratio(1, 4) ? sizeBytes : 512 * prng.between(1, 8);
            return this.head(CMD.READ, 0, Math.min(bytes, sizeBytes));
          }),
        );
      case 'asks small things without end':
        return joined(...Array.from({ length: 2 * MANY }, () => this.head(CMD.READ, 0, 1)));
      case 'a WRITE nobody would read':
        return joined(this.head(CMD.WRITE, 0, 2 ** 28), payload(4096));
      case 'garbage':
      case 'half an option':
        return noise();
      case 'a refused WRITE, in part':
        return joined(this.head(CMD.WRITE, sizeBytes, 8192), cut(payload(8192)));
    }
  }

  private head(type: number, offset: number, bytes: number): Uint8Array {
    const cookieLow = this.front.prng.u32();
    return requestHead({ type, flags: 0, cookieHigh: GARBAGE, cookieLow, offset, bytes }, 'simple');
  }
}

/** Sectors of a WRITE that must not happen. */
export function payload(bytes: number): Uint8Array {
  return new Uint8Array(new Uint32Array(bytes / 4).fill(ROGUE_TAG).buffer);
}
