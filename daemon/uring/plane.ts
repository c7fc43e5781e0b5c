import { availableParallelism } from 'node:os';
import { assert } from '../../core/base/assert.ts';
import { Ring as Queue } from '../../core/base/ring.ts';
import { Arena } from '../../core/block/arena.ts';
import { Loop } from '../../core/block/loop.ts';
import type { Export } from '../../core/export/export.ts';
import { Session } from '../../core/export/session.ts';
import { OP } from './abi.ts';
import { UringEngine } from './engine.ts';
import { Memory, type Room } from './memory.ts';
import { Ring, RingOp } from './ring.ts';
import { PlaneTimers } from './timers.ts';
import { GULP_BYTES, UringStream, type StreamHost } from './stream.ts';

export interface PlaneOptions {
  /** Payload memory, a power of two, 64 MiB or more. */
  readonly arenaBytes: number;
  readonly maxConnections: number;
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
 *   run what has ended -> send the replies that are ready -> enter the ring -> reap -> again
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
  onClosed: (stream: UringStream, failure: string) => void = () => undefined;
  private readonly arenaBytes: number;
  private readonly flushes = new Queue<{ flushReplies(): void }>(64);
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
    this.wakeRoom = this.memory.carve(16);
    this.ring.register(this.wakeOp);
    this.timeoutRoom = this.memory.carve(48);
    const { address, words } = this.timeoutRoom;
    const high = Math.floor((address + 32) / 4294967296);
    words[4] = address + 32 - high * 4294967296;
    words[5] = high;
  }

  /** Null: no place for one more connection. */
  connect(fd: number, target: Export, early: Uint8Array): UringStream | null {
    const place = this.freeGulps.pop();
    if (place === undefined) return null;
    const room = this.rooms.pop() ?? this.memory.carve(UringStream.messageBytes);
    const stream = new UringStream(this, fd, this.arenaBytes + place * GULP_BYTES, room);
    this.streams.add(stream);
    stream.begin(new Session(target, this.arena, stream), early);
    return stream;
  }

  wantsFlush(stream: { flushReplies(): void }): void {
    this.flushes.push(stream);
  }

  streamClosed(stream: UringStream, failure: string): void {
    this.streams.delete(stream);
    this.freeGulps.push((stream.gulpAt - this.arenaBytes) / GULP_BYTES);
    this.rooms.push(stream.room);
    this.onClosed(stream, failure);
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
    this.loop.run();
    this.sendReplies();
    if (this.hasWork || !maySleep) this.ring.enter(0);
    else if (this.spin.isWorthIt && this.ring.inFlight <= this.streams.size + 1) this.spinOrBlock();
    else this.sleep();
    this.ring.reap();
    if (!this.clock.isEmpty) this.clock.run();
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

  private spinOrBlock(): void {
    this.ring.enter(0);
    if (this.ring.hasCompletions) return;
    const began = performance.now();
    do {
      this.ring.enter(0);
      if (this.ring.hasCompletions) {
        this.spin.won();
        return;
      }
    } while (performance.now() - began < SPIN_MS);
    this.spin.lost();
    this.sleep();
  }

  private sendReplies(): void {
    let count = this.flushes.length;
    while (count > 0) {
      this.flushes.shift()?.flushReplies();
      count -= 1;
    }
  }

  private block(): boolean {
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

const SPIN_MS = 0.05;
const MAX_SLEEP_MS = 3_600_000;

/**
 * Whether to look a little longer before sleeping. It pays when the next request comes within the
 * spin, and never when the client shares our CPU: so it is judged by its own success. A loss costs
 * what several wins bring, and a looser pauses for ever longer.
 */
class Spin {
  private readonly possible = availableParallelism() > 1;
  private score = 0;
  private pauseTurns = 0;
  private nextPause = 64;

  get isWorthIt(): boolean {
    if (!this.possible) return false;
    if (this.pauseTurns === 0) return true;
    this.pauseTurns -= 1;
    return false;
  }

  won(): void {
    this.score = Math.min(this.score + 1, 32);
    this.nextPause = 64;
  }

  lost(): void {
    this.score -= 4;
    if (this.score > 0) return;
    this.score = 0;
    this.pauseTurns = this.nextPause;
    this.nextPause = Math.min(this.nextPause * 2, 4096);
  }
}
