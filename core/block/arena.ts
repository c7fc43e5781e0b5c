import { assert } from '../base/assert.ts';
import { isPowerOfTwo, PAGE_SIZE } from '../base/units.ts';
import type { Completion, Loop } from './loop.ts';
import { SetAside } from './set-aside.ts';

/** Who waits for a slot. */
export interface SlotOwner {
  /** `wait.slot` is the waiter's now. Called from the loop. */
  slotGranted(wait: SlotWait): void;
}

/** "No slot": what `allocate` answers when there is none now. */
export const NO_SLOT = -1;

const NO_OWNER: SlotOwner = {
  slotGranted(): void {
    throw new Error('a slot was granted to nobody');
  },
};

/** A place in the queue for memory, inside the record of who waits. */
export class SlotWait implements Completion {
  owner: SlotOwner = NO_OWNER;
  lengthBytes = 0;
  slot = NO_SLOT;
  queued = false;
  previous: SlotWait | null = null;
  next: SlotWait | null = null;

  complete(): void {
    this.owner.slotGranted(this);
  }
}

const MIN_ORDER = 12; // 4 KiB: a page, what O_DIRECT is content with
const FREE = 0x80; // in `orders`: the chunk is free
const ORDER = 0x7f;
const NONE = -1;

/**
 * All payload memory of a data plane: one byte array cut by a buddy allocator. A slot is a byte
 * offset into `bytes`, aligned to its own length, a power of two from 4 KiB up to the whole arena.
 * Nothing is allocated per request: free chunks are chained through typed arrays.
 *
 * The array is as long as it says from the start, but an operating system gives a page only when it
 * is first written; chunks are reused last-in first-out, so few pages are ever touched by few clients.
 *
 * Who finds no slot waits in line. The line is strict: while anyone waits, nobody is served out of
 * turn, so a large slot is not starved by small ones. No deadlock: a waiter holds no slot (its owner
 * must see to that), so those that hold one can always end, and an empty arena serves any length
 * it ever accepted. But memory set aside may never come back: who waits for a slot that there cannot be
 * without it keeps his place, and nobody waits behind him.
 */
export class Arena {
  readonly bytes: Uint8Array;
  /** The longest slot there can be; asking for more is refused for ever. */
  readonly maxSlotBytes: number;
  /** Bytes in slots handed out. */
  usedBytes = 0;
  /** Waits in line. */
  waiters = 0;

  private readonly aside = new SetAside();
  private readonly loop: Loop;
  private readonly maxOrder: number;
  /** Per page that begins a chunk: its order, and whether it is free; 0 elsewhere. */
  private readonly orders: Uint8Array;
  /** Free chunks of one order are a list of page numbers. */
  private readonly firstFree: Int32Array;
  private readonly nextFree: Int32Array;
  private readonly previousFree: Int32Array;
  private firstWait: SlotWait | null = null;
  private lastWait: SlotWait | null = null;

  /**
   * Cuts the first `length` of `bytes`: a power of two, from a page to 1 GiB. Page-aligned memory
   * makes page-aligned slots.
   */
  constructor(bytes: Uint8Array, loop: Loop, length = bytes.length) {
    assert(isPowerOfTwo(length), 'arena: its length is not a power of two');
    assert(length >= PAGE_SIZE && length <= bytes.length, 'arena: smaller than a page');
    assert(length <= 2 ** 30, 'arena: lengths must be small integers');
    const pages = length / PAGE_SIZE;
    this.bytes = bytes;
    this.maxSlotBytes = length;
    this.loop = loop;
    this.maxOrder = Math.log2(length);
    this.orders = new Uint8Array(pages);
    this.firstFree = new Int32Array(this.maxOrder + 1).fill(NONE);
    this.nextFree = new Int32Array(pages).fill(NONE);
    this.previousFree = new Int32Array(pages).fill(NONE);
    this.putFree(0, this.maxOrder);
  }

  /** The real length of a slot: what was asked for, rounded up to a power of two. */
  slotBytes(slot: number): number {
    const order = this.orders[slot / PAGE_SIZE]!;
    assert((order & FREE) === 0 && order >= MIN_ORDER, 'arena: not a slot in use');
    return 1 << order;
  }

  /** A slot of at least `lengthBytes`, or NO_SLOT: none is free, or others wait already. */
  allocate(lengthBytes: number): number {
    assert(lengthBytes > 0 && lengthBytes <= this.maxSlotBytes, 'arena: an impossible length');
    return this.hasLine() ? NO_SLOT : this.take(lengthBytes);
  }

  /** The slot comes back when who was given up on has ended, by `release`; until then nobody waits for it. */
  setAside(slot: number): void {
    this.aside.add(slot, this.slotBytes(slot));
    this.grant();
  }

  /** Bytes in slots that were set aside. */
  get asideBytes(): number {
    return this.aside.bytes;
  }

  /** Gets in line behind those who wait. `owner.slotGranted` will be called, from the loop. */
  wait(wait: SlotWait, lengthBytes: number): void {
    assert(!wait.queued && wait.slot === NO_SLOT, 'arena: this wait is in use');
    assert(lengthBytes > 0 && lengthBytes <= this.maxSlotBytes, 'arena: an impossible length');
    wait.lengthBytes = lengthBytes;
    wait.queued = true;
    wait.next = null;
    wait.previous = this.lastWait;
    if (this.lastWait === null) this.firstWait = wait;
    else this.lastWait.next = wait;
    this.lastWait = wait;
    this.waiters += 1;
    this.grant();
  }

  /** Leaves the line. False: too late, `slotGranted` will still be called. */
  cancel(wait: SlotWait): boolean {
    if (!wait.queued) return false;
    this.unlink(wait);
    // The one behind may be content with less.
    this.grant();
    return true;
  }

  release(slot: number): void {
    const bytes = this.slotBytes(slot);
    assert(this.usedBytes >= bytes, 'arena: more released than handed out');
    this.usedBytes -= bytes;
    if (this.aside.bytes > 0) this.aside.delete(slot);
    this.join(slot / PAGE_SIZE);
    if (this.firstWait !== null) this.grant();
  }

  /** Serves the line from its head, as far as memory goes; not for those whom only what is aside would serve. */
  private grant(): void {
    let wait = this.firstWait;
    while (wait !== null) {
      const next = wait.next;
      const slot = this.take(wait.lengthBytes);
      if (slot !== NO_SLOT) {
        this.unlink(wait);
        wait.slot = slot;
        this.loop.defer(wait);
      } else if (!this.isBarred(wait)) return;
      wait = next;
    }
  }

  /** Somebody waits whose turn comes before that of who asks now. */
  private hasLine(): boolean {
    let wait = this.firstWait;
    while (wait !== null && this.isBarred(wait)) wait = wait.next;
    return wait !== null;
  }

  private isBarred(wait: SlotWait): boolean {
    if (this.aside.bytes === 0) return false;
    return this.aside.bars(1 << orderOf(wait.lengthBytes), this.maxSlotBytes);
  }

  private unlink(wait: SlotWait): void {
    if (wait.previous === null) this.firstWait = wait.next;
    else wait.previous.next = wait.next;
    if (wait.next === null) this.lastWait = wait.previous;
    else wait.next.previous = wait.previous;
    wait.previous = null;
    wait.next = null;
    wait.queued = false;
    this.waiters -= 1;
  }

  private take(lengthBytes: number): number {
    const order = orderOf(lengthBytes);
    let found = order;
    while (found <= this.maxOrder && this.firstFree[found] === NONE) found += 1;
    if (found > this.maxOrder) return NO_SLOT;
    const page = this.firstFree[found]!;
    this.takeFree(page, found);
    // The upper halves of what is too long stay free.
    while (found > order) {
      found -= 1;
      this.putFree(page + pagesOf(found), found);
    }
    this.orders[page] = order;
    this.usedBytes += 1 << order;
    return page * PAGE_SIZE;
  }

  /** Frees the chunk at `page` and joins it with its buddy, again and again while that is free too. */
  private join(page: number): void {
    let order = this.orders[page]! & ORDER;
    let start = page;
    this.orders[start] = 0;
    while (order < this.maxOrder) {
      const buddy = start ^ pagesOf(order);
      if (this.orders[buddy] !== (order | FREE)) break;
      this.takeFree(buddy, order);
      if (buddy < start) start = buddy;
      order += 1;
    }
    this.putFree(start, order);
  }

  private putFree(page: number, order: number): void {
    const next = this.firstFree[order]!;
    this.orders[page] = order | FREE;
    this.previousFree[page] = NONE;
    this.nextFree[page] = next;
    if (next !== NONE) this.previousFree[next] = page;
    this.firstFree[order] = page;
  }

  private takeFree(page: number, order: number): void {
    assert(this.orders[page] === (order | FREE), 'arena: a chunk in the wrong list');
    const previous = this.previousFree[page]!;
    const next = this.nextFree[page]!;
    if (previous === NONE) this.firstFree[order] = next;
    else this.nextFree[previous] = next;
    if (next !== NONE) this.previousFree[next] = previous;
    this.orders[page] = 0;
  }
}

function pagesOf(order: number): number {
  return 1 << (order - MIN_ORDER);
}

/** The smallest order whose chunks hold `lengthBytes`. */
function orderOf(lengthBytes: number): number {
  const order = 32 - Math.clz32(lengthBytes - 1);
  return order < MIN_ORDER ? MIN_ORDER : order;
}
