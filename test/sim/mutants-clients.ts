// Bugs in core/export: what a session may do to its clients, and one client to another.
import { ERRNO } from '../../core/base/errno.ts';
import { Arena } from '../../core/block/arena.ts';
import { Bio } from '../../core/block/bio.ts';
import { REQ_OP, type ReqOp } from '../../core/block/op.ts';
import type { RangeClaim } from '../../core/block/range-lock.ts';
import { RUN, type Run } from '../../core/block/run.ts';
import { MappedDevice } from '../../core/dm/mapped-device.ts';
import type { Export } from '../../core/export/export.ts';
import { replaceSlot } from '../../core/export/late-memory.ts';
import { ReplyQueue } from '../../core/export/reply-queue.ts';
import { Request } from '../../core/export/request.ts';
import { Session } from '../../core/export/session.ts';
import { Stretches } from '../../core/export/stretches.ts';
import { COMMAND, COMMAND_FLAG } from '../../core/nbd/proto.ts';
import type { RequestFramer } from '../../core/nbd/transmission.ts';
import { drawClientOptions, drawStuckClientOptions } from './clients/options.ts';
import { always, replace, type Method, type Mutant } from './plant.ts';
import { runSeed, type SimResult } from './run.ts';

const play = (seed: number): SimResult => runSeed(drawClientOptions(seed));

/** What the bugs reach into. */
interface SessionInsides {
  readonly abandoned: boolean;
  readonly blocked: number;
  readonly framer: RequestFramer;
  current: Request | null;
  inputClosed: boolean;
  run(request: Request): void;
  answer(request: Request): void;
  releaseSlot(request: Request): void;
  leaveSlot(request: Request): void;
  readonly arena: Arena;
  heldBytes: number;
}
interface RequestInsides {
  readonly target: Export;
  readonly bio: Bio;
  readonly claim: RangeClaim;
  enter(step: number): void;
}
interface QueueInsides {
  pushRead(request: Request): void;
}

const inside = (session: Session): SessionInsides => session as unknown as SessionInsides;

function inSession(name: string, make: (original: Method) => Method): void {
  replace(Session.prototype, name, make);
}

/** A WRITE of a copy of the memory, that nobody waits for. */
function writeUnwatched({ target, bio }: RequestInsides): void {
  const copy = new Bio();
  const { page, offset, length } = bio.ownVec(0);
  copy.op = bio.op;
  copy.flags = bio.flags;
  copy.sector = bio.sector;
  copy.sectors = bio.sectors;
  copy.setBuffer(page.slice(offset, offset + length), 0, length);
  copy.owner = { endIo: () => undefined };
  target.device.submit(copy);
  bio.error = 0;
  target.device.loop.defer(bio);
}

const changesData = (type: number): boolean =>
  type === COMMAND.WRITE || type === COMMAND.WRITE_ZEROES || type === COMMAND.TRIM;

export const CLIENT_MUTANTS: readonly Mutant[] = [
  {
    bug: 'a reply carries the cookie of the one before it',
    play,
    plant: () => {
      const cookies = new WeakMap<ReplyQueue, number>();
      replace(
        ReplyQueue.prototype,
        'push',
        (original) =>
          function (this: ReplyQueue, request: Request) {
            const before = this.length > 0 ? cookies.get(this) : undefined;
            cookies.set(this, request.cookieLow);
            request.cookieLow = before ?? request.cookieLow;
            original.call(this as never, request as never);
          },
      );
    },
  },
  {
    bug: 'a WRITE is answered before the device has ended it',
    play,
    plant: () =>
      replace(
        Request.prototype,
        'submit',
        (original) =>
          function (this: Request, op: ReqOp, sector: number, sectors: number) {
            const insides = this as unknown as RequestInsides;
            const { device } = insides.target;
            const submit = device.submit.bind(device);
            if (op === REQ_OP.WRITE && this.type === COMMAND.WRITE) {
              device.submit = (): void => undefined;
            }
            original.call(this as never, op as never, sector as never, sectors as never);
            device.submit = submit;
            if (op === REQ_OP.WRITE && this.type === COMMAND.WRITE) writeUnwatched(insides);
          },
      ),
  },
  {
    bug: 'the memory of a READ is given back when its reply is queued',
    play,
    plant: () =>
      inSession(
        'answer',
        (original) =>
          function (this: Session, request: Request) {
            original.call(this as never, request as never);
            if (request.type === COMMAND.READ) inside(this).releaseSlot(request);
          },
      ),
  },
  {
    bug: 'the payload of a refused WRITE is taken for requests',
    play,
    plant: () =>
      inSession(
        'acceptRequest',
        (original) =>
          function (this: Session, request: Request) {
            if (request.error !== 0) inside(this).framer.header.lengthBytes = 0;
            original.call(this as never, request as never);
          },
      ),
  },
  {
    bug: 'a flush covers what its own connection has written, and no other',
    play,
    plant: () => {
      const dirty = new WeakSet<Session>();
      inSession(
        'run',
        (original) =>
          function (this: Session, request: Request) {
            const isFlush = request.type === COMMAND.FLUSH && request.error === 0;
            if (isFlush && !dirty.delete(this)) {
              inside(this).answer(request);
              return;
            }
            if (changesData(request.type)) dirty.add(this);
            original.call(this as never, request as never);
          },
      );
    },
  },
  {
    bug: 'FUA is dropped in the session',
    play,
    plant: () =>
      replace(
        Request.prototype,
        'start',
        (original) =>
          function (this: Request) {
            this.flags &= ~COMMAND_FLAG.FUA;
            original.call(this as never);
          },
      ),
  },
  {
    bug: 'DF is ignored',
    play,
    plant: () =>
      replace(
        Stretches.prototype,
        'look',
        (original) =>
          function (this: Stretches, ...args: readonly unknown[]) {
            const [device, offset, bytes] = args;
            original.call(
              this as never,
              device as never,
              offset as never,
              bytes as never,
              false as never,
            );
          },
      ),
  },
  {
    bug: 'the error chunk of a READ is lost',
    play,
    plant: () =>
      replace(
        ReplyQueue.prototype,
        'pushError',
        (original) =>
          function (this: ReplyQueue, request: Request) {
            const isRead = request.type === COMMAND.READ && request.lengthBytes > 0;
            if (!isRead || request.error === ERRNO.EINVAL) {
              original.call(this as never, request as never);
              return;
            }
            (this as unknown as QueueInsides).pushRead(request);
          },
      ),
  },
  {
    bug: 'a chunk says where its block begins, not its bytes',
    play,
    plant: () =>
      replace(
        ReplyQueue.prototype,
        'pushRead',
        (original) =>
          function (this: ReplyQueue, request: Request) {
            const { offset } = request;
            request.offset = request.range.coverStart;
            original.call(this as never, request as never);
            request.offset = offset;
          },
      ),
  },
  {
    bug: 'what is under way when a connection is reset is forgotten',
    play,
    plant: () =>
      inSession(
        'answer',
        (original) =>
          function (this: Session, request: Request) {
            if (!inside(this).abandoned) original.call(this as never, request as never);
          },
      ),
  },
  {
    bug: 'a WRITE is done though its payload never came whole',
    play,
    plant: () =>
      inSession(
        'closeInput',
        (original) =>
          function (this: Session) {
            const session = inside(this);
            const { current } = session;
            const isHere = current !== null && current.slot >= 0 && current.error === 0;
            if (!isHere || current.type !== COMMAND.WRITE) {
              original.call(this as never);
              return;
            }
            session.current = null;
            original.call(this as never);
            session.run(current);
          },
      ),
  },
  {
    bug: 'read-modify-writes of one block share it',
    play,
    plant: () =>
      replace(
        Request.prototype,
        'claimCover',
        () =>
          function (this: Request) {
            const insides = this as unknown as RequestInsides;
            const { claim, target } = insides;
            claim.start = this.range.coverStart / 512;
            claim.end = claim.start + this.range.coverBytes / 512;
            claim.exclusive = false;
            if (target.writes.acquire(claim)) insides.enter(0);
          },
      ),
  },
  {
    bug: 'what was once zeros is called zeros for ever',
    play,
    plant: () => {
      const seen = new WeakMap<MappedDevice, Set<number>>();
      replace(
        MappedDevice.prototype,
        'allocationAt',
        (original) =>
          function (this: MappedDevice, sector: number, sectors: number, run: Run) {
            original.call(this as never, sector as never, sectors as never, run as never);
            const zeros = seen.get(this) ?? new Set<number>();
            seen.set(this, zeros);
            const isZero = (run.flags & RUN.ZERO) !== 0;
            for (let i = 0; isZero && i < run.sectors; i += 1) zeros.add(sector + i);
            if (!isZero && zeros.has(sector)) run.set(1, RUN.ZERO);
          },
      );
    },
  },
  {
    bug: 'who waits for memory that a stuck leg has holds up all behind him in the line',
    play: (seed) => runSeed(drawStuckClientOptions(seed)),
    plant: () => replace(Arena.prototype, 'isBarred', always(false)),
  },
  {
    bug: 'a READ keeps the memory it has lost to a stuck leg until it has other',
    play: (seed) => runSeed(drawStuckClientOptions(seed)),
    plant: () =>
      inSession(
        'memoryLost',
        () =>
          function (this: Session, request: Request) {
            const session = inside(this);
            const { loan } = request;
            const lengthBytes = session.arena.slotBytes(request.slot);
            const kept = request.copyOfKept();
            loan.lend();
            session.leaveSlot(request);
            replaceSlot(session.arena, lengthBytes, (slot) => {
              session.heldBytes += session.arena.slotBytes(slot);
              request.moveTo(slot, kept);
              loan.giveBack();
            });
          },
      ),
  },
  {
    bug: 'DISC ends a connection before its requests are answered',
    play,
    plant: () =>
      inSession(
        'endInput',
        () =>
          function (this: Session) {
            this.abandon();
          },
      ),
  },
  {
    bug: 'bytes behind a request that waits for memory are dropped',
    play,
    plant: () =>
      inSession(
        'consume',
        (original) =>
          function (this: Session, bytes: Uint8Array, start: number, end: number) {
            const taken = original.call(
              this as never,
              bytes as never,
              start as never,
              end as never,
            ) as number;
            return inside(this).blocked === 0 ? taken : end - start;
          },
      ),
  },
];
