// Bugs planted into both ends, from outside. A fuzzer that finds none of them finds nothing.
import { Session } from '../../core/export/session.ts';
import { ReplyQueue } from '../../core/export/reply-queue.ts';
import { Request } from '../../core/export/request.ts';
import { ERRNO } from '../../core/base/errno.ts';
import { RangeLock } from '../../core/block/range-lock.ts';
import { ClientHandshake } from '../../core/nbd/client-handshake.ts';
import { ReplyFramer } from '../../core/nbd/client-replies.ts';
import { Coverage } from '../../core/nbd/coverage.ts';
import { Handshake } from '../../core/nbd/handshake.ts';
import { COMMAND } from '../../core/nbd/proto.ts';
import { RequestFramer } from '../../core/nbd/transmission.ts';
import { RemoteDevice } from '../../core/remote/device.ts';
import { RemoteLink } from '../../core/remote/link.ts';
import { always, nothing, replace, uproot } from '../sim/plant.ts';
import { playSeed, type End } from './ends.ts';
import { Tally } from './finding.ts';

export interface Mutant {
  readonly end: End;
  readonly bug: string;
  /** A seed that found it; others do too, this one only saves the search. */
  readonly seed: number;
  readonly plant: () => void;
}

/** Before or instead of the original; `call` is the original with what it was given. */
type Changed<T> = (self: T, call: () => unknown, args: readonly unknown[]) => unknown;

function change<T>(prototype: object, name: string, changed: Changed<T>): void {
  replace(
    prototype,
    name,
    (original) =>
      function (this: unknown, ...args: readonly unknown[]) {
        const call = (): unknown => Reflect.apply(original, this, args);
        return changed(this as T, call, args);
      },
  );
}

const server = (bug: string, seed: number, plant: () => void): Mutant => {
  return { end: 'server', bug, seed, plant };
};
const client = (bug: string, seed: number, plant: () => void): Mutant => {
  return { end: 'client', bug, seed, plant };
};

interface LinkInside {
  framer: { cookieHigh: number; cookieLow: number };
  generations: Uint32Array;
  pageAt: number;
  dataAt: number;
}

export const MUTANTS: readonly Mutant[] = [
  server('memory of a refused request is kept', 31, () =>
    change<{ error: number }>(Session.prototype, 'releaseSlot', (_, call, [request]) =>
      (request as { error: number }).error === ERRNO.EIO ? undefined : call(),
    ),
  ),
  server('the payload of a refused WRITE is not skipped', 1, () =>
    replace(Session.prototype, 'isSkipping', always(false)),
  ),
  server('the payload of BLOCK_STATUS is taken for the next request', 7, () =>
    change<RequestFramer>(RequestFramer.prototype, 'payloadBytes', (self, call) =>
      self.header.type === COMMAND.WRITE ? call() : 0,
    ),
  ),
  server('an error is answered twice', 1, () =>
    change<ReplyQueue>(ReplyQueue.prototype, 'pushError', (_, call) => {
      call();
      return call();
    }),
  ),
  server('a failed READ is answered without a chunk', 1, () =>
    change<{ pushSimple: (request: unknown) => void }>(
      ReplyQueue.prototype,
      'pushError',
      (self, _, [request]) => self.pushSimple(request),
    ),
  ),
  server('TLS keeps what was said in the clear', 20, () =>
    change<{ agreed: unknown }>(Handshake.prototype, 'secured', (self, call) => {
      const { agreed } = self;
      call();
      self.agreed = agreed;
    }),
  ),
  server('the data of an unknown option is skipped but for a byte', 7, () =>
    change<{ skip: unknown }>(Handshake.prototype, 'skip', (self, call, args) => {
      const [lengthBytes] = args as [number];
      call();
      (self as unknown as { due: number }).due = lengthBytes > 20 ? lengthBytes - 1 : lengthBytes;
    }),
  ),
  server('who vanishes stays connected', 1, () => replace(Session.prototype, 'abandon', nothing)),
  server('who waits for its share is forgotten', 2, () =>
    replace(Session.prototype, 'unblock', nothing),
  ),
  server('one client that breaks the rules ends the export', 1, () =>
    change<Session>(Session.prototype, 'fail', (self, call) => {
      const { target } = self;
      if (!target.isShuttingDown) void target.beginShutdown();
      return call();
    }),
  ),
  server('a failed write keeps its claim', 31, () =>
    change<{ error: number; claim: { held: boolean } }>(Request.prototype, 'end', (self, call) => {
      if (self.error !== 0) self.claim.held = false;
      return call();
    }),
  ),
  server('a claim of many sectors is never given back', 11, () =>
    change<RangeLock>(RangeLock.prototype, 'release', (_, call, [claim]) => {
      const { start, end } = claim as { start: number; end: number };
      return end - start > 100 ? undefined : call();
    }),
  ),
  server('zeroing always has to be fast', 3, () =>
    replace(Request.prototype, 'isFastZero', always(true)),
  ),
  server('DISC forgets what is in flight', 3, () =>
    change<Session>(Session.prototype, 'endInput', (self) => self.abandon()),
  ),
  client('any cookie of a slot will do', 28, () =>
    change<LinkInside>(RemoteLink.prototype, 'onReply', (self, call) => {
      const slot = self.framer.cookieLow;
      if (slot < self.generations.length) self.framer.cookieHigh = self.generations[slot] ?? 0;
      return call();
    }),
  ),
  client('data may come twice', 59, () =>
    change<Coverage>(Coverage.prototype, 'add', (_, call) => call() === true || true),
  ),
  client('a READ may be answered with less', 17, () =>
    replace(Coverage.prototype, 'isWhole', always(true)),
  ),
  client('data is put one byte too far', 1, () =>
    change<LinkInside>(RemoteLink.prototype, 'locate', (self, call) => {
      call();
      if (self.dataAt > 0) self.pageAt += 1;
    }),
  ),
  client('a bio ends while its memory is being sent', 1, () =>
    change<RemoteLink>(RemoteLink.prototype, 'end', (_, call, args) => {
      const [, request] = args as [number, { isSent: boolean }];
      request.isSent = true;
      return call();
    }),
  ),
  client('a lost link keeps its requests', 1, () =>
    replace(RemoteLink.prototype, 'takeBack', always(null)),
  ),
  client('the text of an error is taken for a reply', 5, () =>
    change<{ skipLeft: number }>(ReplyFramer.prototype, 'endReply', (self, call) => {
      self.skipLeft = 0;
      return call();
    }),
  ),
  client('a size beyond 2^53 is believed', 4, () =>
    change<ClientHandshake>(ClientHandshake.prototype, 'refuse', (_, call, [why]) =>
      String(why).includes('2^53') ? undefined : call(),
    ),
  ),
  client('an answer of any length is buffered', 188, () =>
    change<{ answerBytes: number; due: number }>(
      ClientHandshake.prototype,
      'refuse',
      (self, call, [why]) => {
        const length = /^an option reply of (\d+)/.exec(String(why))?.[1];
        if (length === undefined) return call();
        self.answerBytes = Number(length);
        self.due = Number(length);
        return undefined;
      },
    ),
  ),
  client('time does not pass', 2, () => replace(RemoteDevice.prototype, 'armTick', nothing)),
  client('what waited is forgotten when the device dies', 2, () =>
    change<{ queue: { shift: () => unknown } }>(RemoteDevice.prototype, 'die', (self, call) => {
      const { queue } = self;
      if (!(self as unknown as RemoteDevice).isDead) while (queue.shift() !== undefined);
      return call();
    }),
  ),
];

export interface Found {
  readonly seed: number;
  readonly says: string;
}

/** Seeds a planted bug may hide for. */
const MUTANT_SEEDS = 600;

/** The seed that finds it, and what it says; null: it has survived. `first` is tried before all others. */
export function hunt({ end, plant }: Mutant, first = 1): Found | null {
  for (let seed = first, tried = 0; tried <= MUTANT_SEEDS; tried += 1, seed = tried) {
    plant();
    try {
      const failure = playSeed(end, seed, new Tally());
      if (failure !== null) return { seed, says: failure.message };
    } finally {
      uproot();
    }
  }
  return null;
}

/** Prints the table; returns how many have survived. */
export function huntMutants(ends: readonly End[]): number {
  let survived = 0;
  console.log('| end | planted bug | found by seed | as |\n|---|---|---|---|');
  for (const mutant of MUTANTS.filter(({ end }) => ends.includes(end))) {
    const found = hunt(mutant);
    if (found === null) survived += 1;
    const [seed, says] = found === null ? ['SURVIVED', '-'] : [found.seed, found.says];
    console.log(`| ${mutant.end} | ${mutant.bug} | ${seed} | ${says} |`);
  }
  return survived;
}
