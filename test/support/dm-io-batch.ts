// Runs batches of random requests against the model: several at once, over few bios, some started from
// the completion of others. A plant swaps in a client with a bug, to see the model catch it.
import { Prng } from '../../core/base/prng.ts';
import { REQ_OP } from '../../core/block/op.ts';
import type { Loop } from '../../core/block/loop.ts';
import { DmIoClient } from '../../core/dm-io/client.ts';
import { dmIo } from '../../core/dm-io/io.ts';
import { MEMORY_KIND, type PageList } from '../../core/dm-io/memory.ts';
import { DmIoRequest } from '../../core/dm-io/request.ts';
import { DmIoServices, type DmIoRoutine, type Rw } from '../../core/dm-io/services.ts';
import type { DmIoSyncResult } from '../../core/dm-io/wait.ts';
import { makeCase, makeDisks, type Case } from './dm-io-cases.ts';
import { DiskWorld, type LogEntry } from './dm-io-disk.ts';
import { checkBatch, claimEntries, copyDisks, markOwnRequest } from './dm-io-model.ts';

export type MakeClient = (loop: Loop, reserve: number, limit: number) => DmIoClient;

const MOST_CASES = 12;
const makeRealClient: MakeClient = (loop, reserve, limit) => new DmIoClient(loop, reserve, limit);

/** One world, one reserve, up to a dozen requests. @returns how many @throws what went wrong */
export function runBatch(seed: number, makeClient = makeRealClient): number {
  const prng = new Prng(seed);
  const batch = new Batch(prng, makeClient);
  batch.run();
  return batch.cases.length;
}

class TestServices extends DmIoServices {
  readonly make: (loop: Loop) => DmIoClient;

  constructor(make: (loop: Loop) => DmIoClient) {
    super();
    this.make = make;
  }

  protected override makeClient(loop: Loop): DmIoClient {
    return this.make(loop);
  }
}

class Batch {
  readonly cases: readonly Case[];
  private readonly prng: Prng;
  private readonly world: DiskWorld;
  private readonly client: DmIoClient;
  private readonly services: DmIoServices;
  private readonly owned = new Map<LogEntry, Case>();
  private started = 0;
  private readonly bytes;

  constructor(prng: Prng, makeClient: MakeClient) {
    this.prng = prng;
    this.world = new DiskWorld(prng);
    const disks = makeDisks(prng, this.world, prng.ratio(1, 4) ? 64 : prng.between(1, 8));
    const count = prng.between(4, MOST_CASES);
    this.cases = Array.from({ length: count }, () => makeCase(prng, disks));
    this.bytes = copyDisks(disks);
    const reserve = prng.pick([1, 1, 2, 16]);
    const limit = reserve + prng.pick([0, 0, 1, 1024]);
    const make = (loop: Loop): DmIoClient => makeClient(loop, reserve, limit);
    this.client = make(this.world.loop);
    this.services = new TestServices(make);
  }

  run(): void {
    this.services.get(1, this.world.loop);
    while (this.started < this.cases.length) {
      for (let n = this.prng.between(1, MOST_CASES); n > 0; n -= 1) this.startNext(true);
      if (this.prng.ratio(2, 3)) this.world.settle();
    }
    this.world.settle();
    this.services.put(1);
    if (!this.services.isTornDown) throw new Error('the services are not torn down');
    if (this.client.biosInFlight + this.client.requestsWaiting > 0) throw new Error('client busy');
    checkBatch(this.cases, this.world, this.owned, this.bytes);
  }

  private startNext(mayBlock: boolean): void {
    const c = this.cases[this.started];
    if (c === undefined || (c.isSync && !mayBlock)) return;
    this.started += 1;
    c.logStart = this.world.log.length;
    if (c.api === 'services') this.startService(c);
    else this.startRequest(c);
  }

  /** The end of any case; some start the next one from here. */
  private ended(c: Case, request: DmIoRequest, inCall: boolean): void {
    c.calls += 1;
    c.insideCall ||= inCall && !c.isSync;
    c.request = request;
    c.errorBits = request.errorBits.toBigInt();
    c.errnos = c.regions.map((_, i) => request.regions[i]?.error ?? NaN);
    claimEntries(this.world, this.owned, c);
    if (this.world.loop.isRunning && this.prng.ratio(1, 2)) this.startNext(false);
  }

  private startService(c: Case): void {
    const { regions, memory } = c;
    const { services } = this;
    const rw = c.op as Rw;
    let inCall = true;
    const fn: DmIoRoutine<Case> = (_bits, context, request) => this.ended(context, request, inCall);
    const list = memory.list as PageList;
    if (c.isSync) {
      if (memory.shape === 'pages') {
        this.endSync(c, services.sync(regions, rw, list, memory.offset));
      } else if (memory.shape === 'vecs') {
        this.endSync(c, services.syncBvec(regions, rw, memory.vecs));
      } else this.endSync(c, services.syncVm(regions, rw, memory.data));
    } else if (memory.shape === 'pages') {
      c.ret = services.async(regions, rw, list, memory.offset, fn, c);
    } else if (memory.shape === 'vecs') {
      c.ret = services.asyncBvec(regions, rw, memory.vecs, fn, c);
    } else c.ret = services.asyncVm(regions, rw, memory.data, fn, c);
    inCall = false;
  }

  private endSync(c: Case, result: DmIoSyncResult): void {
    c.calls += 1;
    c.ret = result.ret;
    c.errorBits = result.errorBits.toBigInt();
    c.errnos = result.errnos;
    claimEntries(this.world, this.owned, c);
  }

  private startRequest(c: Case): void {
    const request = makeRequest(c);
    markOwnRequest(request);
    request.client = this.client;
    let inCall = true;
    if (!c.isSync) {
      request.owner = { dmIoDone: (r: DmIoRequest) => this.ended(c, r, inCall) };
    }
    if (c.api === 'dmIo') {
      c.ret = dmIo(request, c.regions);
      if (c.isSync) {
        if (c.op === REQ_OP.READ && c.regions.length > 1) request.errorBits.clear();
        this.ended(c, request, true);
      }
    } else {
      for (const r of c.regions) request.addRegion(r.device, r.sector, r.count, r.memorySector);
      this.client.submit(request);
      c.ret = 0;
    }
    inCall = false;
  }
}

function makeRequest({ op, flags, memory }: Case): DmIoRequest {
  const request = new DmIoRequest();
  request.op = op;
  request.flags = flags;
  if (memory.shape === 'pages') request.memory.setPageList(memory.list as PageList, memory.offset);
  if (memory.shape === 'vecs') request.memory.setVecs(memory.vecs, memory.vecs.length);
  if (memory.shape === 'vm') request.memory.setBytes(memory.data, memory.offset);
  if (memory.shape === 'none' && request.memory.kind !== MEMORY_KIND.NONE)
    throw new Error('memory');
  return request;
}
