import { assert } from '../base/assert.ts';
import { ERRNO } from '../base/errno.ts';
import { Pool } from '../base/pool.ts';
import { Ring } from '../base/ring.ts';
import { bytesOfSectors, SECTOR_SIZE } from '../base/units.ts';
import { Bio, type BioVec } from '../block/bio.ts';
import type { Loop } from '../block/loop.ts';
import { hasData, REQ_FLAG, REQ_OP } from '../block/op.ts';
import type { BlockDevice } from '../block/device.ts';
import type { IoRegion } from './region.ts';
import type { DmIoRequest } from './request.ts';

/** Who counts what devices are asked, and how long they take. */
export interface BioWatch {
  nowMs(): number;
  /** A bio is being sent; the time. */
  sending(): number;
  /** Called once a bio, in completion context, before its request hears of it. */
  bioEnded(device: BlockDevice, bio: Bio & SentBio, tookMs: number): void;
  /** The same for a bio that was given up on: it has ended after all. */
  lateEnded(device: BlockDevice, bio: Bio, tookMs: number): void;
  /**
   * A bio has ended well; the watch may think otherwise, and give it an error. False: it has not ended
   * yet; the watch calls `bio.complete` again, from the loop.
   */
  mayEnd(device: BlockDevice, bio: Bio): boolean;
}

/** A bio under way, for who watches how long it takes. */
export interface SentBio {
  readonly request: DmIoRequest | null;
  readonly tag: number;
  readonly sentMs: number;
}

/**
 * A dm-io client (struct dm_io_client): the only way by which a target reaches a device. It turns a
 * request into bios, region by region, and gathers their ends into the error bits. The numbered
 * rules are those of README.md beside this file.
 *
 * Bios come from the client's own pool. When it is empty the request waits, half dispatched, at the
 * head of a queue in order of arrival, and goes on as bios come back: one bio is enough for
 * everything to end (rule 17). Two clients never wait for each other's bios, so a device that stands
 * on others has a client of its own.
 */
export class DmIoClient {
  /** Where requests end that have nothing to send. */
  readonly loop: Loop;
  /** Null: nobody counts. */
  watch: BioWatch | null = null;
  private readonly bios: Pool<DmIoBio>;
  /** All that exist, but for those that were given up on. */
  private readonly made: DmIoBio[] = [];
  private readonly waiting = new Ring<DmIoRequest>(16);
  private resuming = false;

  /**
   * `reserve`: bios that exist from the start, 1 or more; `limit`: the most that ever exist (more
   * are made on demand and kept). Requests beyond that wait.
   */
  constructor(loop: Loop, reserve = 16, limit = 1024) {
    this.loop = loop;
    this.bios = new Pool<DmIoBio>(reserve, limit, () => {
      // eslint-disable-next-line no-restricted-syntax -- once for each bio that is made, as with any pool
      const bio = new DmIoBio(this);
      this.made.push(bio);
      return bio;
    });
  }

  /** Bios under way. 0 and no request waiting: the client is idle. */
  get biosInFlight(): number {
    return this.bios.inUse;
  }

  get requestsWaiting(): number {
    return this.waiting.length;
  }

  /** Those under way; for a look now and then, as it goes through all that ever were at once. */
  eachInFlight(visit: (bio: SentBio) => void): void {
    const { made } = this;
    for (let i = 0; i < made.length; i += 1) if (made[i]!.request !== null) visit(made[i]!);
  }

  /**
   * A device does not answer: every bio that is under way there counts as failed with `errno`, and its
   * request goes on. The bio, and what it was given of memory, stay the device's until they end all the
   * same: `request.isLate` and the loan say so to those who own it. Not from inside a completion.
   */
  abandon(device: BlockDevice, errno: number): void {
    for (let i = this.made.length - 1; i >= 0; i -= 1) {
      const bio = this.made[i]!;
      const { request } = bio;
      if (request === null || request.regions[bio.tag]!.device !== device) continue;
      bio.becomeLate(device);
      this.made.splice(i, 1);
      this.bios.forget();
      failRegionOf(request, bio.tag, errno);
      request.isLate = true;
      request.references -= 1;
      if (request.references === 0 && !this.enterDataPhase(request)) this.loop.defer(request);
    }
    this.resumeWaiting();
  }

  /** A bio that was given up on has ended; called in completion context. */
  lateEnded(bio: DmIoBio, device: BlockDevice): void {
    if (this.watch !== null) this.watch.lateEnded(device, bio, this.watch.nowMs() - bio.sentMs);
    bio.loan?.giveBack();
  }

  /** Starts the request. It ends by `request.owner.dmIoDone`, never from inside this call. */
  submit(request: DmIoRequest): void {
    assert(!request.inFlight, 'a dm-io request in flight was submitted again');
    assert(request.op !== REQ_OP.READ || request.regionCount <= 1, 'a read of several regions');
    request.inFlight = true;
    request.errorBits.clear();
    for (let i = 0; i < request.regionCount; i += 1) request.regions[i]!.error = 0;
    request.flushing = (request.flags & REQ_FLAG.PREFLUSH) !== 0 || request.op === REQ_OP.FLUSH;
    this.beginPhase(request);
  }

  /** A bio of ours has ended; called in completion context. */
  bioEnded(bio: DmIoBio): void {
    const request = bio.request;
    assert(request !== null, 'a dm-io bio ended twice');
    if (this.watch !== null) {
      const took = this.watch.nowMs() - bio.sentMs;
      this.watch.bioEnded(request.regions[bio.tag]!.device, bio, took);
    }
    if (bio.error !== 0) failRegion(request, bio);
    bio.request = null;
    bio.vecs = bio.ownVecs;
    this.bios.put(bio);
    request.references -= 1;
    const done = request.references === 0 && !this.enterDataPhase(request);
    // First the others, then the owner: what it throws keeps nobody waiting (rule 24).
    if (this.waiting.length > 0) this.resumeWaiting();
    if (done) request.complete();
  }

  /** A bio has ended well. False: who watches wants it to end later. */
  mayEnd(bio: DmIoBio): boolean {
    const { request } = bio;
    if (this.watch === null || request === null) return true;
    return this.watch.mayEnd(request.regions[bio.tag]!.device, bio);
  }

  /** Behind those that wait already: nobody overtakes. */
  private beginPhase(request: DmIoRequest): void {
    request.references = 1;
    request.dispatchIndex = 0;
    request.dispatchDone = 0;
    if (this.waiting.length > 0 || !this.dispatch(request)) this.waiting.push(request);
  }

  /**
   * Gives the bios that have come back to the requests that wait. Not from inside itself: a device
   * may end other bios of ours while it takes one, and no request is dispatched from two places.
   */
  private resumeWaiting(): void {
    if (this.resuming) return;
    this.resuming = true;
    while (this.waiting.length > 0 && !this.bios.isEmpty) {
      if (this.dispatch(this.waiting.peek()!)) this.waiting.shift();
    }
    this.resuming = false;
  }

  /** Sends what is left of the request's phase. False: the pool ran out, call again. */
  private dispatch(request: DmIoRequest): boolean {
    while (request.dispatchIndex < request.regionCount) {
      const region = request.regions[request.dispatchIndex]!;
      const sent = request.flushing
        ? this.dispatchFlush(request, region)
        : this.dispatchRegion(request, region);
      if (!sent) return false;
      request.dispatchIndex += 1;
      request.dispatchDone = 0;
    }
    this.dropDispatchReference(request);
    return true;
  }

  private dispatchFlush(request: DmIoRequest, region: IoRegion): boolean {
    const bio = this.bios.get();
    if (bio === undefined) return false;
    bio.op = REQ_OP.FLUSH;
    bio.flags = request.flags & REQ_FLAG.SYNC;
    bio.sector = 0;
    bio.sectors = 0;
    bio.vecCount = 0;
    this.send(bio, request, region);
    return true;
  }

  private dispatchRegion(request: DmIoRequest, region: IoRegion): boolean {
    // Rule 5: an empty region is skipped. Rule 18: a region whose flush has failed gets no data.
    if (region.count === 0) return true;
    if (request.dispatchDone === 0 && request.errorBits.test(request.dispatchIndex)) return true;
    const max = maxSectorsOf(request, region);
    if (max === 0) {
      // Rule 19: not supported is a set bit without any I/O.
      request.errorBits.set(request.dispatchIndex);
      region.error = ERRNO.EOPNOTSUPP;
      return true;
    }
    const moves = hasData(request.op);
    if (moves && request.dispatchDone === 0) {
      request.memory.rewind(bytesOfSectors(region.memorySector));
    }
    const limits = region.device.limits;
    while (request.dispatchDone < region.count) {
      const bio = this.bios.get();
      if (bio === undefined) return false;
      const left = region.count - request.dispatchDone;
      bio.op = request.op;
      bio.flags = request.flags & ~REQ_FLAG.PREFLUSH;
      bio.sector = region.sector + request.dispatchDone;
      bio.sectors = left < max ? left : max;
      bio.vecCount = 0;
      if (moves) {
        const blockSectors = limits.logicalBlockSize / SECTOR_SIZE;
        bio.sectors = request.memory.fill(bio, bio.sectors, limits.maxSegments, blockSectors);
      }
      request.dispatchDone += bio.sectors;
      this.send(bio, request, region);
    }
    return true;
  }

  private send(bio: DmIoBio, request: DmIoRequest, region: IoRegion): void {
    bio.request = request;
    bio.tag = request.dispatchIndex;
    bio.loan = request.loan;
    bio.error = 0;
    request.references += 1;
    if (this.watch !== null) bio.sentMs = this.watch.sending();
    region.device.submit(bio);
  }

  /** The submitter's own reference: nothing may end inside submit, so the loop says it (rule 7). */
  private dropDispatchReference(request: DmIoRequest): void {
    request.references -= 1;
    if (request.references > 0 || this.enterDataPhase(request)) return;
    this.loop.defer(request);
  }

  /** After the flushes of a PREFLUSH request its data goes out. False: the request is done. */
  private enterDataPhase(request: DmIoRequest): boolean {
    if (!request.flushing || request.op === REQ_OP.FLUSH) return false;
    request.flushing = false;
    this.beginPhase(request);
    return true;
  }
}

class DmIoBio extends Bio implements SentBio {
  request: DmIoRequest | null = null;
  /** It was given up on while this device had it. */
  private late: BlockDevice | null = null;
  /** Set while somebody watches. */
  sentMs = 0;
  private readonly client: DmIoClient;

  constructor(client: DmIoClient) {
    super();
    this.client = client;
  }

  override complete(): void {
    if (this.error === 0 && !this.client.mayEnd(this)) return;
    this.uncount();
    if (this.late === null) this.client.bioEnded(this);
    else this.client.lateEnded(this, this.late);
  }

  /** Its request goes on without it. The table of pieces is the request's: it gets one of its own. */
  becomeLate(device: BlockDevice): void {
    this.late = device;
    this.request = null;
    this.loan?.lend();
    if (this.vecs === this.ownVecs) return;
    for (let i = 0; i < this.vecCount; i += 1) {
      const shared = this.vecs[i]!;
      const own = this.ownVec(i);
      own.page = shared.page;
      own.offset = shared.offset;
      own.length = shared.length;
    }
    this.vecs = this.ownVecs;
  }
}

/** Rule 6: the bit is set by any part that fails, and stays set; the others go on. */
function failRegionOf(request: DmIoRequest, index: number, errno: number): void {
  const region = request.regions[index]!;
  request.errorBits.set(index);
  if (region.error === 0) region.error = errno;
}

function failRegion(request: DmIoRequest, bio: Bio): void {
  failRegionOf(request, bio.tag, bio.error);
  // Rule 11: the part of a failed read is zeros, never what the memory held before.
  if (bio.op === REQ_OP.READ) zeroVecs(bio.vecs, bio.vecCount, bytesOfSectors(bio.sectors));
}

/** The longest bio of the request's kind that the region's device takes; 0: none at all. */
function maxSectorsOf(request: DmIoRequest, region: IoRegion): number {
  const limits = region.device.limits;
  switch (request.op) {
    case REQ_OP.READ:
    case REQ_OP.WRITE:
      return limits.maxSectors;
    case REQ_OP.DISCARD:
      return wholeBlocks(limits.maxDiscardSectors, limits.logicalBlockSize);
    case REQ_OP.WRITE_ZEROES:
      return wholeBlocks(limits.maxWriteZeroesSectors, limits.logicalBlockSize);
    case REQ_OP.FLUSH:
      return 1;
  }
}

/** Rule 20: a cut between two bios lies between two logical blocks. */
function wholeBlocks(sectors: number, logicalBlockSize: number): number {
  return sectors - (sectors % (logicalBlockSize / SECTOR_SIZE));
}

function zeroVecs(vecs: readonly BioVec[], count: number, bytes: number): void {
  let rest = bytes;
  for (let i = 0; i < count && rest > 0; i += 1) {
    const vec = vecs[i]!;
    const length = rest < vec.length ? rest : vec.length;
    vec.page.fill(0, vec.offset, vec.offset + length);
    rest -= length;
  }
}
