import { assert } from '../../core/base/assert.ts';
import { Ring as Queue } from '../../core/base/ring.ts';
import { Arena } from '../../core/block/arena.ts';
import { Loop } from '../../core/block/loop.ts';
import type { Export } from '../../core/export/export.ts';
import { Session } from '../../core/export/session.ts';
import { PLAIN, type Agreement } from '../../core/nbd/agreement.ts';
import { OP } from './abi.ts';
import { UringEngine } from './engine.ts';
import { Memory, type Room } from './memory.ts';
import { Ring, RingOp } from './ring.ts';
import { Spin, SPIN_US } from './spin.ts';
import { StallWatch } from './stall-watch.ts';
import { elapsedUs, stopwatchUs } from './stopwatch.ts';
import { GULP_BYTES, UringStream, type StreamFds, type StreamHost } from './stream.ts';
import { PlaneTimers } from './timers.ts';

export interface PlaneOptions {
  /** Payload memory, a power of two, 64 MiB or more. */
  readonly arenaBytes: number;
  readonly maxConnections: number;
  /** A client that holds memory others wait for, and does not move for this long, is dropped. */
  readonly stallTimeoutMs?: number;
}

/** Somebody with something to send. */
interface Sender {
  flushReplies(): void;
  /** It had better wait for the next turn, which comes without sleeping. */
  readonly awaitsCompany?: boolean;
}

class WakeOp extends RingOp {
  private readonly plane: DataPlane;

  constructor(plane: DataPlane) {
    super();
    this.plane = plane;
  }

  ended(): void {
    this.plane.woken();
  }
}

/**
 * A data plane: one thread that owns a ring, an arena, sockets and devices, and sleeps only in
 * io_uring_enter.
 *
 *   go on with what was put off -> run what has ended -> send the replies that are ready
 *     -> enter the ring -> reap -> again
 */
export class DataPlane implements StreamHost {
  readonly ring: Ring;
  readonly loop: Loop;
  readonly memory: Memory;
  readonly arena: Arena;
  readonly engine: UringEngine;
  readonly streams = new Set<UringStream>();
  readonly clock = new PlaneTimers();
  onMessage: () => void = () => undefined;
  private readonly arenaBytes: number;
  private readonly flushes = new Queue<Sender>(64);
  /** Streams that have more to take than one turn's part. */
  private readonly waiting = new Queue<UringStream>(64);
  private readonly stalls: StallWatch;
  private readonly freeGulps: number[] = [];
  private readonly rooms: Room[] = [];
  private readonly wakeOp = new WakeOp(this);
  private readonly wakeRoom: Room;
  private readonly wakeFd: number;
  private hasWork = false;
  private stopping = false;
  private readonly spin = new Spin();
  /** struct io_uring_getevents_arg, and behind it the struct __kernel_timespec it points to. */
  private readonly timeoutRoom: Room;

  constructor(options: PlaneOptions, wakeFd: number) {
    this.ring = new Ring(1024);
    this.loop = new Loop({
      wake: () => {
        this.hasWork = true;
      },
      block: () => this.block(),
    });
    this.arenaBytes = options.arenaBytes;
    this.memory = new Memory(options.arenaBytes + options.maxConnections * GULP_BYTES);
    this.arena = new Arena(this.memory.bytes, this.loop, options.arenaBytes);
    this.engine = new UringEngine(this.ring, this.loop, this.memory);
    for (let i = options.maxConnections - 1; i >= 0; i -= 1) this.freeGulps.push(i);
    this.wakeFd = wakeFd;
    this.stalls = new StallWatch(this, options.stallTimeoutMs ?? STALL_TIMEOUT_MS);
    this.wakeRoom = this.memory.carve(16);
    this.ring.register(this.wakeOp);
    this.timeoutRoom = this.memory.carve(48);
    const { address, words } = this.timeoutRoom;
    const high = Math.floor((address + 32) / 4294967296);
    words[4] = address + 32 - high * 4294967296;
    words[5] = high;
  }

  /**
   * Serves a client; its descriptors are the stream's to close. `ended` is called once, when they are
   * closed. Null: no place for one more.
   */
  connect(
    fds: StreamFds,
    target: Export,
    early: Uint8Array,
    ended: (failure: string) => void,
    agreed: Agreement = PLAIN,
  ): UringStream | null {
    const place = this.freeGulps.pop();
    if (place === undefined) return null;
    const room = this.rooms.pop() ?? this.memory.carve(UringStream.messageBytes);
    const gulpAt = this.arenaBytes + place * GULP_BYTES;
    const stream = new UringStream(this, fds, { gulpAt, room }, ended);
    this.streams.add(stream);
    stream.begin(new Session(target, this.arena, stream, agreed), early);
    return stream;
  }

  setStallTimeout(timeoutMs: number): void {
    this.stalls.setTimeout(timeoutMs);
  }

  wantsFlush(stream: Sender): void {
    this.flushes.push(stream);
  }

  get isFull(): boolean {
    return this.engine.inPlaceBytes <= 0;
  }

  wantsTurn(stream: UringStream): void {
    this.waiting.push(stream);
  }

  streamClosed(stream: UringStream): void {
    this.streams.delete(stream);
    this.freeGulps.push((stream.gulpAt - this.arenaBytes) / GULP_BYTES);
    this.rooms.push(stream.room);
    stream.ended(stream.failure);
  }

  /** Serves until `stop`. Blocks the thread. */
  run(): void {
    this.armWake();
    while (!this.stopping) this.turn(true);
  }

  /** One turn without sleeping, for a thread that has a loop of its own (tests). */
  poll(): void {
    this.turn(false);
  }

  /** Nothing is in flight but the wake-up and the receives of idle clients. */
  close(): void {
    this.ring.close();
  }

  stop(): void {
    this.stopping = true;
    // Whoever says so may do it from a completion, just before the plane would sleep.
    this.hasWork = true;
  }

  woken(): void {
    this.armWake();
    this.onMessage();
  }

  private turn(maySleep: boolean): void {
    this.hasWork = false;
    this.engine.refill();
    this.continueStreams();
    this.clock.tick();
    this.loop.run();
    this.engine.throttle.judge();
    this.sendReplies();
    if (this.hasWork || this.hasMore || !maySleep) this.ring.enter(0);
    else if (this.spin.isWorthIt && this.isQuiet) this.spinOrSleep();
    else this.sleep();
    this.clock.tick();
    this.ring.reap();
    if (!this.clock.isEmpty) this.clock.run();
    this.engine.throttle.judge();
    this.stalls.look();
  }

  /** Something was put off to the next turn. */
  private get hasMore(): boolean {
    return this.engine.hasWaiting || this.waiting.length > 0 || this.flushes.length > 0;
  }

  /** Nothing is under way but receives, and the wake-up. */
  private get isQuiet(): boolean {
    return this.ring.inFlight <= this.streams.size + 1;
  }

  /** Until something completes, or a timer is due. */
  private sleep(): void {
    if (this.clock.isEmpty) {
      this.ring.enter(1);
      return;
    }
    const ms = Math.min(this.clock.untilNextMs(), MAX_SLEEP_MS);
    const seconds = Math.floor(ms / 1000);
    const words = this.timeoutRoom.words;
    words[8] = seconds;
    words[9] = 0;
    words[10] = Math.ceil((ms - seconds * 1000) * 1e6);
    words[11] = 0;
    this.ring.enter(1, this.timeoutRoom.address);
  }

  private spinOrSleep(): void {
    const { ring, spin } = this;
    ring.enter(0);
    if (ring.hasCompletions) return;
    const began = stopwatchUs();
    do {
      if (!ring.tellsWork) ring.enter(0);
      for (let i = 0; i < LOOKS_PER_CLOCK; i += 1) {
        if (!ring.hasNews) continue;
        spin.won();
        ring.enter(0);
        return;
      }
    } while (elapsedUs(began, stopwatchUs()) < SPIN_US);
    spin.lost();
    this.sleep();
  }

  private continueStreams(): void {
    let count = this.waiting.length;
    while (count > 0) {
      this.waiting.shift()?.goOn();
      count -= 1;
    }
  }

  private sendReplies(): void {
    let count = this.flushes.length;
    while (count > 0) {
      const sender = this.flushes.shift();
      assert(sender !== undefined, 'a sender vanished');
      if (sender.awaitsCompany === true) this.flushes.push(sender);
      else sender.flushReplies();
      count -= 1;
    }
  }

  private block(): boolean {
    if (this.engine.hasWaiting) {
      this.engine.refill();
      return true;
    }
    if (this.ring.inFlight === 0) return false;
    this.ring.enter(1);
    this.ring.reap();
    return true;
  }

  private armWake(): void {
    assert(!this.wakeOp.inFlight, 'the wake-up was armed twice');
    this.ring.prepare(this.wakeOp, OP.READ, this.wakeFd, this.wakeRoom.address, 8, 0, 0);
  }
}

/** Looks at the ring between two looks at the clock: a fraction of a microsecond. */
const LOOKS_PER_CLOCK = 32;
const MAX_SLEEP_MS = 3_600_000;
const STALL_TIMEOUT_MS = 30_000;
