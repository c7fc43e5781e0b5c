import { REQ_OP } from '../block/op.ts';
import { BUCKETS, quantileOf } from './histogram.ts';
import type { IoStats } from './io-stats.ts';

/**
 * What has been added to counters since a moment: the latencies of the clients of just now. It looks
 * at the counters that are kept anyway, so that nobody pays for it while nobody looks.
 */
export class StatsWindow {
  private readonly stats: IoStats;
  private readonly before = new Float64Array(BUCKETS);
  private readonly since = new Float64Array(BUCKETS);
  private totalBefore = 0;

  constructor(stats: IoStats) {
    this.stats = stats;
    this.restart();
  }

  /** Requests that have ended since the window began. */
  get requests(): number {
    return this.total() - this.totalBefore;
  }

  /** Microseconds. */
  quantileUs(ratio: number): number {
    this.addUp(this.since);
    for (let i = 0; i < BUCKETS; i += 1) this.since[i]! -= this.before[i]!;
    return quantileOf(this.since, this.requests, ratio);
  }

  restart(): void {
    this.addUp(this.before);
    this.totalBefore = this.total();
  }

  private total(): number {
    const { ops } = this.stats;
    return ops[REQ_OP.READ]!.latency.total + ops[REQ_OP.WRITE]!.latency.total;
  }

  /** Reads and writes only: a flush takes as long as what it flushes. */
  private addUp(sums: Float64Array): void {
    const reads = this.stats.ops[REQ_OP.READ]!.latency.counts;
    const writes = this.stats.ops[REQ_OP.WRITE]!.latency.counts;
    for (let i = 0; i < BUCKETS; i += 1) sums[i] = reads[i]! + writes[i]!;
  }
}
