// The simulator's workload, model and laws over a real daemon, its real engine, real files and NBD
// connections. The seed draws what is asked and when the daemon is killed; the machine does the rest.
import { setTimeout as sleep } from 'node:timers/promises';
import { Prng } from '../../../core/base/prng.ts';
import { REQ_OP } from '../../../core/block/op.ts';
import { NBD_ERROR } from '../../../core/nbd/proto.ts';
import { RawClient } from '../../support/raw-client.ts';
import { at } from '../at.ts';
import { READ_LAWS } from '../checkers/read-laws.ts';
import { ZEROS } from '../content.ts';
import { SimFailure } from '../failure.ts';
import { Model } from '../model.ts';
import { drawOptions, type SimOptions } from '../options.ts';
import { tellModel, type Judged } from '../tell-model.ts';
import { Workload, type OpShape } from '../workload.ts';
import { EXPORT, PATIENCE_MS, RealDaemon } from './real-daemon.ts';
import { RealOp } from './real-op.ts';

export interface RealSeed {
  readonly seed: number;
  readonly engine: string;
  readonly log: 'core' | 'native';
  /** Empty, and of this seed alone. */
  readonly folder: string;
}

/** What a story has come to, beside being well. */
export interface RealTally {
  acknowledged: number;
  reads: number;
  kills: number;
  /** Requests under way when the daemon was killed. */
  cutShort: number;
}

const FIRST_WRITE_TAG = 1000;
const CONNECTIONS = 3;

/** The seed's mix of the simulator, as far as it is the client's, on files. */
function drawReal(seed: number, log: RealSeed['log']): SimOptions {
  const options = drawOptions(seed, log);
  const prng = new Prng(seed + 2 ** 45 + 1);
  const regionSectors = prng.pick([8, 16, 128]);
  return {
    ...options,
    legs: prng.pick([2, 2, 3]),
    regionSectors,
    sectors: regionSectors * prng.between(2, 12),
    blockSizes: [512],
    maxOpSectors: regionSectors * 2,
    zeroed: true,
  };
}

/** Plays one seed; throws what breaks a law. */
export async function playReal(real: RealSeed): Promise<RealTally> {
  const story = new RealStory(real);
  try {
    await story.run();
  } finally {
    await story.close();
  }
  return story.tally;
}

class RealStory implements Judged {
  readonly tally: RealTally = { acknowledged: 0, reads: 0, kills: 0, cutShort: 0 };
  private readonly options: SimOptions;
  private readonly daemon: RealDaemon;
  readonly model: Model;
  private readonly workload: Workload;
  private readonly prng: Prng;
  private readonly ops = new Map<number, RealOp>();
  private connections: Connection[] = [];
  step = 0;
  private count = 0;
  /** Of requests that clients may still call in this life. */
  private budget = 0;
  private isTerminated = false;
  private failure: unknown = null;
  private wake: () => void = () => undefined;

  constructor({ seed, engine, log, folder }: RealSeed) {
    this.options = drawReal(seed, log);
    const { legs, sectors, regionSectors } = this.options;
    const readPolicy = new Prng(seed).pick(['least-pending', 'round-robin']);
    const set = { folder, engine, log, legs, sectors, regionSectors, readPolicy };
    this.daemon = new RealDaemon(set);
    this.model = new Model(sectors, ZEROS);
    this.workload = new Workload(this.options, new Prng(seed + 2 ** 43));
    this.prng = new Prng(seed + 2 ** 42);
  }

  async run(): Promise<void> {
    const { daemon, prng } = this;
    await daemon.start();
    await daemon.create();
    for (let lives = prng.between(2, 5); lives > 0; lives -= 1) {
      await this.serve(prng.between(20, 400));
      // Half of the ends come in the middle of what is left, at a moment that nobody has drawn.
      if (prng.ratio(1, 2)) await sleep(prng.below(30));
      await this.end(prng.ratio(1, 5) ? 'SIGTERM' : 'SIGKILL');
      this.judgeLegs();
      await daemon.start();
    }
    await this.serve(prng.between(1, 50));
    await this.until(() => this.ops.size === 0 && this.budget === 0);
    await daemon.waitUntilInSync();
    this.call({ op: REQ_OP.READ, flags: 0, sector: 0, sectors: this.options.sectors });
    await this.until(() => this.ops.size === 0);
    await this.end('SIGTERM');
    this.judgeLegs();
    this.judgeEqual();
  }

  async close(): Promise<void> {
    for (const connection of this.connections) connection.close();
    await this.daemon.stop('SIGKILL');
  }

  /** Clients call until so many requests have been called, or the daemon ends. What was there is read first. */
  private async serve(requests: number): Promise<void> {
    this.isTerminated = false;
    this.connections = [];
    for (let i = 0; i < CONNECTIONS; i += 1) {
      const client = await RawClient.open({ kind: 'unix', path: this.daemon.socket }, EXPORT);
      this.connections.push(new Connection(client, this.ops, (op) => this.ended(op)));
    }
    this.call({ op: REQ_OP.READ, flags: 0, sector: 0, sectors: this.options.sectors });
    this.budget = requests;
    const half = requests / 2;
    this.pump();
    await this.until(() => this.budget <= half);
  }

  private pump(): void {
    while (this.budget > 0 && this.ops.size < this.options.depth) {
      this.budget -= 1;
      this.call(this.workload.next());
    }
  }

  private call(shape: OpShape): void {
    this.step += 1;
    this.count += 1;
    const op = new RealOp(shape, this.count, FIRST_WRITE_TAG + this.count, this.step);
    if (op.isWrite) {
      for (let i = 0; i < op.sectors; i += 1) {
        op.entries.push(this.model.written(op.sector + i, op.effect));
      }
    }
    this.ops.set(op.id, op);
    at(this.connections, op.id % CONNECTIONS).send(op);
  }

  private ended(op: RealOp): void {
    this.step += 1;
    this.ops.delete(op.id);
    try {
      this.judge(op);
    } catch (error) {
      this.failure ??= error;
    }
    this.pump();
    this.wake();
  }

  /** No leg is bad here: nobody may be told of an error, but by a server that goes. */
  private judge(op: RealOp): void {
    const isLeaving = this.isTerminated && op.error === NBD_ERROR.ESHUTDOWN;
    if (op.error !== 0 && !isLeaving)
      throw new SimFailure('I10', `${String(op)} was answered with error ${op.error}`);
    tellModel(this, op);
    for (const law of READ_LAWS) law.opEnded(this, op);
    if (op.error !== 0) return;
    if (op.isWrite) this.tally.acknowledged += 1;
    else this.tally.reads += 1;
  }

  oldestCall(): number {
    let oldest = this.step;
    for (const { from } of this.ops.values()) oldest = Math.min(oldest, from);
    return oldest;
  }

  /** All that the daemon had answered is heard before the rest is called cut short. */
  private async end(signal: 'SIGKILL' | 'SIGTERM'): Promise<void> {
    this.isTerminated = signal === 'SIGTERM';
    this.budget = 0;
    const how = await this.daemon.stop(signal);
    if (how !== (this.isTerminated ? 0 : 'SIGKILL'))
      throw new SimFailure('endings', `${signal} ended dmiod with ${how}`);
    for (const connection of this.connections) await connection.closed;
    this.throwFailure();
    this.step += 1;
    for (const op of this.ops.values()) {
      for (const entry of op.entries) this.model.cutShort(entry, this.step);
    }
    if (signal === 'SIGKILL') {
      this.tally.kills += 1;
      this.tally.cutShort += this.ops.size;
    }
    this.ops.clear();
    this.model.daemonDied();
  }

  /** I5: nobody has failed, so each leg alone is one that the next daemon may believe. */
  private judgeLegs(): void {
    for (let leg = 0; leg < this.options.legs; leg += 1) {
      for (const [sector, shown] of this.daemon.shownBy(leg).entries()) {
        if (this.model.allows(sector, shown)) continue;
        const allowed = this.model.describe(sector);
        throw new SimFailure('I5', `leg ${leg} shows ${shown} in sector ${sector}, of ${allowed}`);
      }
    }
  }

  private judgeEqual(): void {
    const first = this.daemon.shownBy(0).join();
    for (let leg = 1; leg < this.options.legs; leg += 1) {
      if (this.daemon.shownBy(leg).join() !== first)
        throw new SimFailure('I9', `legs 0 and ${leg} differ`);
    }
  }

  private async until(isSo: () => boolean): Promise<void> {
    const end = performance.now() + PATIENCE_MS;
    for (;;) {
      this.throwFailure();
      if (isSo()) return;
      const [op] = this.ops.values();
      if (performance.now() > end) throw new SimFailure('liveness', `${String(op)} never ends`);
      const woken = new Promise<void>((resolve) => {
        this.wake = resolve;
      });
      await Promise.race([woken, sleep(1000)]);
    }
  }

  private throwFailure(): void {
    if (this.failure instanceof Error) throw this.failure;
  }
}

/** One NBD connection; replies come in any order. */
class Connection {
  /** Everything that was sent to us has been read, and the server is gone. */
  readonly closed: Promise<void>;
  private readonly client: RawClient;
  private readonly ops: ReadonlyMap<number, RealOp>;
  private readonly onEnd: (op: RealOp) => void;

  constructor(client: RawClient, ops: ReadonlyMap<number, RealOp>, onEnd: (op: RealOp) => void) {
    this.client = client;
    this.ops = ops;
    this.onEnd = onEnd;
    this.closed = this.listen();
  }

  send(op: RealOp): void {
    this.client.send(op.message());
  }

  close(): void {
    this.client.socket.destroy();
  }

  private async listen(): Promise<void> {
    for (;;) {
      let op: RealOp | undefined;
      try {
        const { error, cookieLow } = await this.client.readReply();
        op = this.ops.get(cookieLow);
        const bytes = error === 0 ? (op?.replyBytes ?? 0) : 0;
        op?.answered(error, await this.client.read(bytes));
      } catch {
        // It is gone; what it has not answered is the story's business.
        return;
      }
      if (op !== undefined) this.onEnd(op);
    }
  }
}
