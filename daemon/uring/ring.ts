import { assert } from '../../core/base/assert.ts';
import { CQE, ENTER, MMAP_OFFSET, OP, PARAMS, SETUP, SQE, SQ_TASKRUN, type Opcode } from './abi.ts';
import { setup } from './setup.ts';
import { close, ioUringEnter, mapRing, type Mapping } from './syscall.ts';

/**
 * Keyspace contract: `user_data` is the index of the operation's record in the ring's table (low
 * word) and the record's generation (high word). A completion whose generation is not the record's
 * is a broken promise of ours, and is asserted.
 *
 * An operation is submitted, ends once (`ended`), and may then be submitted again.
 */
export abstract class RingOp {
  index = -1;
  generation = 0;
  inFlight = false;

  /** `result`: as the system call would return it, or minus the errno. From `Ring.reap`. */
  abstract ended(result: number, flags: number): void;
}

const EINTR = 4;
const EAGAIN = 11;
const EBUSY = 16;
const ETIME = 62;
const TWO32 = 4294967296;

/** One io_uring, used by one thread. Entries are written into the mapped queue; `enter` sends all. */
export class Ring {
  readonly setupFlags: number;
  private readonly fd: number;
  private readonly words: Uint32Array;
  private readonly results: Int32Array;
  private readonly sqes: Uint32Array;
  private readonly sqMask: number;
  private readonly sqEntries: number;
  private readonly sqHeadAt: number;
  private readonly sqTailAt: number;
  private readonly sqFlagsAt: number;
  private readonly cqHeadAt: number;
  private readonly cqTailAt: number;
  private readonly cqMask: number;
  private readonly cqesAt: number;
  private readonly ops: RingOp[] = [];
  private readonly freeIndexes: number[] = [];
  private tail = 0;
  private submitted = 0;
  private cqHead = 0;
  private opsInFlight = 0;

  /** `entries`: a power of two. Throws RingSetupError when the kernel gives none. */
  constructor(entries = 1024) {
    const params = new Uint8Array(PARAMS.BYTES);
    const view = new DataView(params.buffer);
    const { fd, flags } = setup(entries, params);
    const field = (offset: number): number => view.getUint32(offset, true);
    const cqBytes = field(PARAMS.cqCqes) + field(PARAMS.cqEntries) * CQE.WORDS * 4;
    const sqBytes = field(PARAMS.sqArray) + field(PARAMS.sqEntries) * 4;
    const ringMap: Mapping = mapRing(fd, Math.max(cqBytes, sqBytes), MMAP_OFFSET.SQ_RING);
    const sqeMap = mapRing(fd, field(PARAMS.sqEntries) * SQE.WORDS * 4, MMAP_OFFSET.SQES);
    this.fd = fd;
    this.setupFlags = flags;
    this.words = new Uint32Array(ringMap.buffer);
    this.results = new Int32Array(ringMap.buffer);
    this.sqes = new Uint32Array(sqeMap.buffer);
    this.sqEntries = field(PARAMS.sqEntries);
    this.sqMask = this.sqEntries - 1;
    this.sqHeadAt = field(PARAMS.sqHead) / 4;
    this.sqTailAt = field(PARAMS.sqTail) / 4;
    this.sqFlagsAt = field(PARAMS.sqFlags) / 4;
    this.cqHeadAt = field(PARAMS.cqHead) / 4;
    this.cqTailAt = field(PARAMS.cqTail) / 4;
    this.cqMask = field(PARAMS.cqEntries) - 1;
    this.cqesAt = field(PARAMS.cqCqes) / 4;
    // The indirection array maps slot i to entry i, once and for all.
    const arrayAt = field(PARAMS.sqArray) / 4;
    for (let i = 0; i < this.sqEntries; i += 1) this.words[arrayAt + i] = i;
    this.tail = this.words[this.sqTailAt] ?? 0;
    this.submitted = this.tail;
    this.cqHead = this.words[this.cqHeadAt] ?? 0;
  }

  /** Operations submitted and not ended. */
  get inFlight(): number {
    return this.opsInFlight;
  }

  /** Places in the table of operations, in use or free. */
  get places(): number {
    return this.ops.length;
  }

  /** Entries written and not yet given to the kernel. */
  get unsent(): number {
    return (this.tail - this.submitted) >>> 0;
  }

  /** Gives the record its place in the table; once in its life, before its first use. */
  register(op: RingOp): void {
    assert(op.index === -1, 'a ring operation was registered twice');
    const index = this.freeIndexes.pop() ?? this.ops.length;
    op.index = index;
    this.ops[index] = op;
  }

  /** Takes the record out again; it must not be in flight. */
  unregister(op: RingOp): void {
    assert(
      !op.inFlight && this.ops[op.index] === op,
      'a ring operation in flight was unregistered',
    );
    this.freeIndexes.push(op.index);
    op.index = -1;
  }

  /** Writes one entry. It goes to the kernel with the next `enter` (at once when the queue is full). */
  prepare(
    op: RingOp,
    opcode: Opcode,
    fd: number,
    address: number,
    length: number,
    offset: number,
    opFlags: number,
  ): void {
    assert(!op.inFlight && op.index >= 0, 'a ring operation is in flight or has no place');
    if ((this.tail - this.words[this.sqHeadAt]!) >>> 0 >= this.sqEntries) this.enter(0);
    op.inFlight = true;
    op.generation = (op.generation + 1) >>> 0;
    this.opsInFlight += 1;
    const sqes = this.sqes;
    const at = (this.tail & this.sqMask) * SQE.WORDS;
    const offsetHigh = Math.floor(offset / TWO32);
    const addressHigh = Math.floor(address / TWO32);
    sqes[at + SQE.head] = opcode;
    sqes[at + SQE.fd] = fd;
    sqes[at + SQE.offsetLow] = offset - offsetHigh * TWO32;
    sqes[at + SQE.offsetHigh] = offsetHigh;
    sqes[at + SQE.addressLow] = address - addressHigh * TWO32;
    sqes[at + SQE.addressHigh] = addressHigh;
    sqes[at + SQE.length] = length;
    sqes[at + SQE.opFlags] = opFlags;
    sqes[at + SQE.userLow] = op.index;
    sqes[at + SQE.userHigh] = op.generation;
    sqes[at + SQE.bufIndex] = 0;
    sqes[at + SQE.fileIndex] = 0;
    this.tail = (this.tail + 1) >>> 0;
  }

  /** Asks the kernel to give an operation up; it ends in any case, perhaps as ECANCELED. */
  prepareCancel(op: RingOp, target: RingOp): void {
    assert(target.inFlight, 'an operation that is not under way was taken back');
    this.prepare(op, OP.ASYNC_CANCEL, -1, 0, 0, 0, 0);
    const at = ((this.tail - 1) & this.sqMask) * SQE.WORDS;
    this.sqes[at + SQE.addressLow] = target.index;
    this.sqes[at + SQE.addressHigh] = target.generation;
  }

  /**
   * Gives the kernel what was prepared and waits for at least `wait` completions (0: does not
   * block). `timeoutArgument`: address of a struct io_uring_getevents_arg, 0 for none.
   */
  enter(wait: number, timeoutArgument = 0): void {
    this.words[this.sqTailAt] = this.tail;
    const flags = timeoutArgument === 0 ? ENTER.GETEVENTS : ENTER.GETEVENTS | ENTER.EXT_ARG;
    const bytes = timeoutArgument === 0 ? 0 : 24;
    const result = ioUringEnter(this.fd, this.unsent, wait, flags, timeoutArgument, bytes);
    if (result >= 0) {
      this.submitted = (this.submitted + result) >>> 0;
      return;
    }
    // A signal, the time-out, or a full completion queue: nothing is lost, the caller reaps.
    const errno = -result;
    assert(
      errno === EINTR || errno === ETIME || errno === EAGAIN || errno === EBUSY,
      'io_uring_enter failed',
    );
    this.submitted = this.words[this.sqHeadAt]!;
  }

  /** True when completions are there to be reaped. */
  get hasCompletions(): boolean {
    return this.words[this.cqTailAt] !== this.cqHead;
  }

  /**
   * True when completions are there, or will be with the next `enter`: the kernel has put work for us
   * aside and says so in the mapped queue. For who looks again and again without a system call; where
   * the kernel cannot say so (`tellsWork`), it must enter to see.
   */
  get hasNews(): boolean {
    if (Atomics.load(this.words, this.cqTailAt) !== this.cqHead) return true;
    return (Atomics.load(this.words, this.sqFlagsAt) & SQ_TASKRUN) !== 0;
  }

  /** `hasNews` sees all there is without a system call. */
  get tellsWork(): boolean {
    return (this.setupFlags & SETUP.TASKRUN_FLAG) !== 0;
  }

  /** Ends every operation whose completion is there. Returns how many. */
  reap(): number {
    const words = this.words;
    let count = 0;
    let head = this.cqHead;
    while (head !== words[this.cqTailAt]) {
      const at = this.cqesAt + (head & this.cqMask) * CQE.WORDS;
      const index = words[at + CQE.userLow]!;
      const generation = words[at + CQE.userHigh]!;
      const result = this.results[at + CQE.result]!;
      const flags = words[at + CQE.flags]!;
      head = (head + 1) >>> 0;
      // The place is the kernel's again before anybody can prepare more.
      this.cqHead = head;
      words[this.cqHeadAt] = head;
      const op = this.ops[index]!;
      assert(op.inFlight && op.generation === generation, 'a completion of another operation');
      op.inFlight = false;
      this.opsInFlight -= 1;
      count += 1;
      op.ended(result, flags);
    }
    return count;
  }

  close(): void {
    close(this.fd);
  }
}
