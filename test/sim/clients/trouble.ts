import type { Prng } from '../../../core/base/prng.ts';
import { badAnswer } from '../checkers/c1-answered-once.ts';
import { checkAllocation } from '../checkers/c5-allocation.ts';
import type { World } from '../world.ts';
import { CMD, FLAG, joined, requestHead, u32, u64, type Head } from './format.ts';
import type { Front } from './front.ts';
import type { ClientLink } from './link.ts';
import { payload, Rogue } from './rogue.ts';

const ESHUTDOWN = 108;
const EINVAL = 22;
const ENOSPC = 28;
/** What a CACHE may fail with, where legs fail, or the record of who has left. */
const EIO = 5;
/** x-dmiod:mirror has four bits. */
const MIRROR_BITS = 15;

/** Something happens to a connection, or a client asks what changes nothing. Returns what, for the trace. */
export function disturb(front: Front, world: World, prng: Prng): string {
  if (front.host === null || front.isShuttingDown) return 'nothing';
  if (prng.ratio(1, 8)) {
    const rogue = new Rogue(front);
    front.rogues.add(rogue);
    return `a rogue: ${rogue.deed}`;
  }
  const ready = front.links.filter(({ standing }) => standing === 'ready');
  if (ready.length === 0) return 'nothing';
  const link = prng.pick(ready);
  const what = prng.ratio(1, 2) ? new Probe(link, front, world, prng).ask() : harm(link, prng);
  return `${link.name}: ${what}`;
}

function harm(link: ClientLink, prng: Prng): string {
  const { wire } = link;
  if (wire === null) return 'nothing';
  const deed = prng.pick([
    'reset',
    'cut to the server',
    'cut to the client',
    'stall',
    'deaf',
    'lose the client',
    'lose the server',
    'DISC',
    'close',
  ] as const);
  if (deed !== 'stall' && deed !== 'deaf' && deed !== 'DISC' && deed !== 'close')
    link.isExpected = true;
  switch (deed) {
    case 'reset':
      wire.reset();
      return deed;
    case 'cut to the server':
      wire.resetAfter('to the server', prng.pick([0, prng.below(60), prng.below(5000)]));
      return deed;
    case 'cut to the client':
      wire.resetAfter('to the client', prng.pick([0, prng.below(60), prng.below(5000)]));
      return deed;
    case 'stall':
    case 'deaf': {
      const ms = prng.pick([1, 20, 300, 3000, 20_000]);
      link.trouble(ms);
      if (deed === 'deaf') link.beDeaf(ms);
      else wire.stall(1000 * ms);
      return `${deed} for ${ms} ms`;
    }
    case 'lose the client':
      return `${deed}, the server ${wire.loseClient()} ms later`;
    case 'lose the server': {
      const ms = wire.loseServer();
      link.trouble(ms);
      return `${deed}, the client ${ms} ms later`;
    }
    case 'DISC':
    case 'close':
      link.leave(deed === 'DISC');
      return deed;
  }
}

/** A request that no model has to know: what it is answered with is judged here. */
class Probe {
  private readonly link: ClientLink;
  private readonly front: Front;
  private readonly world: World;
  private readonly prng: Prng;

  constructor(link: ClientLink, front: Front, world: World, prng: Prng) {
    this.link = link;
    this.front = front;
    this.world = world;
    this.prng = prng;
  }

  ask(): string {
    const { prng } = this;
    const what = prng.pick([
      'CACHE',
      'status',
      'status',
      'status',
      'mistake',
      'past the end',
      'nothing',
    ]);
    switch (what) {
      case 'CACHE':
        this.cache();
        return what;
      case 'status':
        return this.status();
      case 'mistake':
        this.mistake();
        return what;
      case 'past the end':
        this.pastTheEnd();
        return what;
      default:
        this.ofNothing();
        return 'of no bytes';
    }
  }

  private get isExtended(): boolean {
    return this.link.style === 'extended';
  }

  /** `wanted`: errors of which one is right; 0 among them: it may go well. */
  private send(
    type: number,
    flags: number,
    [offset, bytes]: readonly [number, number],
    wanted: readonly number[],
    body?: Uint8Array,
  ): void {
    const { front, link } = this;
    this.link.sendHead(
      { type, flags, offset, bytes },
      {
        data: type === CMD.READ && bytes <= front.sizeBytes ? new Uint8Array(bytes) : null,
        done: (error) => {
          const isRight = wanted.includes(error) || (error === ESHUTDOWN && front.isShuttingDown);
          if (isRight) return;
          badAnswer(link.name, `error ${error} for command ${type} ${offset}+${bytes}`);
        },
      },
      body,
    );
  }

  private range(): readonly [number, number] {
    const { prng, front } = this;
    const offset = prng.below(front.sizeBytes);
    const bytes = prng.between(1, front.sizeBytes - offset);
    return [offset, bytes];
  }

  private cache(): void {
    const { atlas, recorderFailureRate } = this.world.options;
    const isCalm = atlas === 'calm' && recorderFailureRate === 0;
    this.send(CMD.CACHE, 0, this.range(), isCalm ? [0] : [0, EIO]);
  }

  /** proto.md: SHOULD EINVAL, and the connection lives. */
  private mistake(): void {
    const { prng } = this;
    const flag = prng.pick([FLAG.NO_HOLE, FLAG.REQ_ONE, 1 << 9]);
    if (prng.ratio(1, 2)) this.send(CMD.READ, flag, [0, 512], [EINVAL]);
    else this.send(prng.pick([8, 9, 77]), 0, this.range(), [EINVAL]);
  }

  private ofNothing(): void {
    const type = this.prng.pick([CMD.READ, CMD.ZEROES, CMD.TRIM, CMD.CACHE]);
    this.send(type, 0, [0, 0], [0]);
  }

  /** A WRITE that is refused has a payload all the same: here it looks like requests. */
  private pastTheEnd(): void {
    const { prng, front } = this;
    if (prng.ratio(1, 2)) {
      this.send(CMD.READ, 0, [front.sizeBytes - 512, 1024], [EINVAL]);
      return;
    }
    const { style } = this.link;
    const flags = this.isExtended ? FLAG.PAYLOAD_LEN : 0;
    const inner: Head = {
      type: CMD.WRITE,
      flags,
      cookieHigh: 9,
      cookieLow: 9,
      offset: 0,
      bytes: 512,
    };
    const one = joined(requestHead(inner, style), payload(512));
    const body = joined(...Array.from({ length: prng.between(1, 6) }, () => one));
    this.send(CMD.WRITE, flags, [front.sizeBytes - 512, body.length], [ENOSPC], body);
  }

  /** base:allocation and x-dmiod:mirror, of all contexts or, by payload, of one. */
  private status(): string {
    const { link, prng, world, isExtended } = this;
    const { contexts } = link;
    const ids = [...contexts.keys()];
    const [offset, bytes] = this.range();
    if (ids.length === 0) {
      const isKnown = link.style !== 'simple';
      this.send(CMD.STATUS, 0, [offset, bytes], [EINVAL]);
      return isKnown ? 'status without a context' : 'status without chunks';
    }
    const isOne = prng.ratio(1, 3);
    const some = isExtended && prng.ratio(1, 2) ? [prng.pick(ids)] : ids;
    const isPart = isExtended && some.length < ids.length;
    const body = isPart ? joined(u64(bytes), ...some.map(u32)) : undefined;
    const flags = (isOne ? FLAG.REQ_ONE : 0) | (isPart ? FLAG.PAYLOAD_LEN : 0);
    const from = world.step;
    link.sendHead(
      { type: CMD.STATUS, flags, offset, bytes: body?.length ?? bytes },
      {
        contexts: some,
        effectBytes: bytes,
        done: (error) => {
          if (error === 0 || (error === ESHUTDOWN && this.front.isShuttingDown)) return;
          badAnswer(link.name, `error ${error} for a status of ${offset}+${bytes}`);
        },
        extent: (context, at, length, bits) => {
          if (contexts.get(context) === 'base:allocation')
            checkAllocation(world, from, { offset: at, bytes: length, flags: bits });
          else if (bits > MIRROR_BITS) badAnswer(link.name, `a mirror's state of ${bits}`);
        },
      },
      body,
    );
    return 'status';
  }
}
