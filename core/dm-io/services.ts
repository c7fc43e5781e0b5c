import { assert } from '../base/assert.ts';
import { ErrorBits } from '../base/error-bits.ts';
import { Ring } from '../base/ring.ts';
import type { BioVec } from '../block/bio.ts';
import type { Loop } from '../block/loop.ts';
import { REQ_FLAG, REQ_OP } from '../block/op.ts';
import { DmIoClient } from './client.ts';
import { DmIoArgumentError } from './errors.ts';
import { EIO, refuseRead, setRegions, type DmIoReturn } from './io.ts';
import type { PageList } from './memory.ts';
import type { IoRegionSpec } from './region.ts';
import { DmIoRequest, type DmIoOwner } from './request.ts';
import {
  checkBytes,
  checkLoop,
  checkPageList,
  checkPages,
  checkRegions,
  checkRoutine,
  checkRw,
  checkVecs,
} from './validate.ts';
import { blockUntilEnded, mayBlock, type DmIoSyncResult, type Wait } from './wait.ts';

/** Direction of a seed call: `REQ_OP.READ` or `REQ_OP.WRITE`, the kernel's READ 0 and WRITE 1. */
export type Rw = typeof REQ_OP.READ | typeof REQ_OP.WRITE;
export const READ = REQ_OP.READ;
export const WRITE = REQ_OP.WRITE;

/**
 * A completion routine (rules 7, 24): called exactly once, from the loop, never from inside the call.
 * Bit i of `errorBits` is set if and only if some part of region i failed. `errorBits` and `request`
 * (`request.regions[i].error`: the region's errno) are valid during the call; `errorBits.toBigInt()`
 * keeps. The routine may call any asynchronous service.
 */
export type DmIoRoutine<C> = (errorBits: ErrorBits, context: C, request: DmIoRequest) => void;

/** Seed: a page of the reserve is worth four requests (rule 21). */
export const REQUESTS_PER_PAGE = 4;
/** Most pages that all users of a reserve hold together. */
export const MAX_PAGES = 16384;

/**
 * The seed's services with a reserve of their own. The functions dmIoSync ... dmIoPut are one shared
 * instance of this, as the kernel's pool is one; make another for another loop in the same thread.
 */
export class DmIoServices {
  private readonly waiting = new Ring<ServiceRecord>(16);
  private readonly spare = new Ring<ServiceRecord>(16);
  private client: DmIoClient | null = null;
  private requests = 0;
  private started = 0;

  /** Requests that may be under way at once: 4 for each page held. */
  get reserve(): number {
    return this.requests;
  }

  /** Requests handed to devices and not ended. */
  get underWay(): number {
    return this.started;
  }

  /** Requests accepted that wait for one under way to end. */
  get waitingCount(): number {
    return this.waiting.length;
  }

  /** True once the last user has left and the last request has ended; a new get starts afresh. */
  get isTornDown(): boolean {
    return this.requests === 0 && this.client === null && this.spare.length === 0;
  }

  /**
   * Adds `pages` to the reserve: 4 more requests each. `loop`: where this user's requests end; left
   * out, the first region's loop is taken. All users of one reserve share one loop.
   * @throws DmIoArgumentError pages (1 .. what is left of MAX_PAGES), loop
   */
  get(pages: number, loop?: Loop): void {
    checkPages(pages, MAX_PAGES - this.requests / REQUESTS_PER_PAGE, ', the most there is left');
    if (loop !== undefined) {
      checkLoop(loop);
      this.bind(loop);
    }
    this.requests += pages * REQUESTS_PER_PAGE;
    while (this.spare.length + this.started < this.requests)
      this.spare.push(new ServiceRecord(this));
    this.startWaiting();
  }

  /**
   * Gives `pages` back; never blocks. Requests accepted before still end. The last user's put refuses
   * new calls at once, and the pools go when the last request has ended.
   * @throws DmIoArgumentError pages: more than is held; nothing changes
   */
  put(pages: number): void {
    checkPages(pages, this.requests / REQUESTS_PER_PAGE, ', the pages held');
    this.requests -= pages * REQUESTS_PER_PAGE;
    while (this.spare.length > 0 && this.spare.length + this.started > this.requests) {
      this.spare.shift();
    }
    this.tearDownIfUnused();
  }

  /** Page list, from `offset` bytes into its first page. */
  sync(regions: readonly IoRegionSpec[], rw: Rw, list: PageList, offset: number): DmIoSyncResult {
    const needed = this.checkCall(regions, rw);
    checkPageList(list, offset, needed, rw);
    if (isRefused(regions, rw)) return refusedResult();
    mayBlock(this.clientOf(regions).loop);
    const record = this.takeRecord();
    record.request.memory.setPageList(list, offset);
    return this.finishSync(record, regions, rw);
  }

  /** Page list, from `offset` bytes into its first page. */
  async<C>(
    regions: readonly IoRegionSpec[],
    rw: Rw,
    list: PageList,
    offset: number,
    fn: DmIoRoutine<C>,
    context: C,
  ): DmIoReturn {
    const needed = this.checkCall(regions, rw);
    checkPageList(list, offset, needed, rw);
    checkRoutine(fn);
    const record = this.takeRecord();
    record.request.memory.setPageList(list, offset);
    return this.begin(record, regions, rw, fn as DmIoRoutine<unknown>, context);
  }

  /** Bio vectors: as many of `vecs` as the regions need. */
  syncBvec(regions: readonly IoRegionSpec[], rw: Rw, vecs: readonly BioVec[]): DmIoSyncResult {
    const used = checkVecs(vecs, this.checkCall(regions, rw));
    if (isRefused(regions, rw)) return refusedResult();
    mayBlock(this.clientOf(regions).loop);
    const record = this.takeRecord();
    record.request.memory.setVecs(vecs, used);
    return this.finishSync(record, regions, rw);
  }

  /** Bio vectors: as many of `vecs` as the regions need. */
  asyncBvec<C>(
    regions: readonly IoRegionSpec[],
    rw: Rw,
    vecs: readonly BioVec[],
    fn: DmIoRoutine<C>,
    context: C,
  ): DmIoReturn {
    const used = checkVecs(vecs, this.checkCall(regions, rw));
    checkRoutine(fn);
    const record = this.takeRecord();
    record.request.memory.setVecs(vecs, used);
    return this.begin(record, regions, rw, fn as DmIoRoutine<unknown>, context);
  }

  /** One contiguous buffer, from its start. */
  syncVm(regions: readonly IoRegionSpec[], rw: Rw, data: Uint8Array): DmIoSyncResult {
    checkBytes(data, this.checkCall(regions, rw));
    if (isRefused(regions, rw)) return refusedResult();
    mayBlock(this.clientOf(regions).loop);
    const record = this.takeRecord();
    record.request.memory.setBytes(data, 0);
    return this.finishSync(record, regions, rw);
  }

  /** One contiguous buffer, from its start. */
  asyncVm<C>(
    regions: readonly IoRegionSpec[],
    rw: Rw,
    data: Uint8Array,
    fn: DmIoRoutine<C>,
    context: C,
  ): DmIoReturn {
    checkBytes(data, this.checkCall(regions, rw));
    checkRoutine(fn);
    const record = this.takeRecord();
    record.request.memory.setBytes(data, 0);
    return this.begin(record, regions, rw, fn as DmIoRoutine<unknown>, context);
  }

  /** A request of ours has ended: its place first, then its routine (rules 8 and 24). */
  requestEnded(record: ServiceRecord): void {
    this.started -= 1;
    this.startWaiting();
    const { fn, wait, context, request } = record;
    if (wait !== null) {
      wait.ended = true;
      if (wait.error === null) return; // finishSync takes the result and the record.
      wait.error.inFlight = false;
    }
    try {
      if (fn !== null) fn(request.errorBits, context, request);
    } finally {
      this.recycle(record);
    }
  }

  /** Protected for the tests that plant bugs into a client. */
  protected makeClient(loop: Loop): DmIoClient {
    return new DmIoClient(loop);
  }

  private checkCall(regions: readonly IoRegionSpec[], rw: Rw): number {
    if (this.requests === 0) throw new DmIoArgumentError('reserve', 'none is held: dmIoGet first');
    checkRw(rw);
    const needed = checkRegions(regions, this.client?.loop ?? null);
    if (regions.length === 0 && this.client === null) {
      throw new DmIoArgumentError('regions', 'none, and no loop to end on: give dmIoGet one');
    }
    return needed;
  }

  private clientOf(regions: readonly IoRegionSpec[]): DmIoClient {
    return this.client ?? this.bind((regions[0] as IoRegionSpec).device.loop);
  }

  private bind(loop: Loop): DmIoClient {
    this.client ??= this.makeClient(loop);
    if (this.client.loop !== loop) {
      throw new DmIoArgumentError('loop', 'another than the loop of the other users');
    }
    return this.client;
  }

  private takeRecord(): ServiceRecord {
    return this.spare.shift() ?? new ServiceRecord(this);
  }

  private begin(
    record: ServiceRecord,
    regions: readonly IoRegionSpec[],
    rw: Rw,
    fn: DmIoRoutine<unknown>,
    context: unknown,
  ): DmIoReturn {
    record.fn = fn;
    record.context = context;
    record.request.op = rw;
    setRegions(record.request, regions);
    const client = this.clientOf(regions);
    if (isRefused(regions, rw)) {
      this.started += 1;
      return refuseRead(record.request, client.loop);
    }
    this.launch(record);
    return 0;
  }

  private finishSync(
    record: ServiceRecord,
    regions: readonly IoRegionSpec[],
    rw: Rw,
  ): DmIoSyncResult {
    const wait: Wait = { ended: false, error: null };
    record.wait = wait;
    record.request.op = rw;
    record.request.flags = REQ_FLAG.SYNC;
    setRegions(record.request, regions);
    const loop = this.clientOf(regions).loop;
    this.launch(record);
    blockUntilEnded(loop, wait);
    const result = resultOf(record.request);
    this.recycle(record);
    return result;
  }

  /** Behind those that wait already, or at once. */
  private launch(record: ServiceRecord): void {
    if (this.waiting.length > 0 || this.started >= this.places()) this.waiting.push(record);
    else this.start(record);
  }

  private start(record: ServiceRecord): void {
    assert(this.client !== null, 'dm-io services without a client');
    this.started += 1;
    this.client.submit(record.request);
  }

  private startWaiting(): void {
    while (this.waiting.length > 0 && this.started < this.places()) {
      this.start(this.waiting.shift() as ServiceRecord);
    }
  }

  /** While the last user's requests drain there is still one place, or they never would. */
  private places(): number {
    return Math.max(this.requests, 1);
  }

  /** A record made beyond the reserve is kept as long as there are users. */
  private recycle(record: ServiceRecord): void {
    record.forget();
    this.spare.push(record);
    this.tearDownIfUnused();
  }

  private tearDownIfUnused(): void {
    if (this.requests > 0 || this.started > 0 || this.waiting.length > 0) return;
    this.client = null;
    while (this.spare.length > 0) this.spare.shift();
  }
}

/** Rule 1. */
function isRefused(regions: readonly IoRegionSpec[], rw: Rw): boolean {
  return rw === REQ_OP.READ && regions.length > 1;
}

/** Bits and errnos untouched, as the kernel leaves them: no region was tried. */
function refusedResult(): DmIoSyncResult {
  return { ret: EIO, errorBits: new ErrorBits(), errnos: [] };
}

function resultOf(request: DmIoRequest): DmIoSyncResult {
  const errorBits = new ErrorBits();
  errorBits.copyFrom(request.errorBits);
  const errnos: number[] = [];
  for (let i = 0; i < request.regionCount; i += 1) errnos.push(request.regions[i]?.error ?? 0);
  return { ret: errorBits.isEmpty ? 0 : EIO, errorBits, errnos };
}

/** A request of the services, under way or waiting for a place. */
class ServiceRecord implements DmIoOwner {
  readonly request = new DmIoRequest();
  fn: DmIoRoutine<unknown> | null = null;
  context: unknown = null;
  wait: Wait | null = null;
  private readonly services: DmIoServices;

  constructor(services: DmIoServices) {
    this.services = services;
    this.request.owner = this;
  }

  dmIoDone(): void {
    this.services.requestEnded(this);
  }

  /** Nothing of the last caller's stays reachable. */
  forget(): void {
    this.fn = null;
    this.context = null;
    this.wait = null;
    this.request.flags = REQ_FLAG.NONE;
    this.request.memory.setNone();
    this.request.clearRegions();
  }
}
