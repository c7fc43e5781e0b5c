import { IO_OPS, type IoOp, type IoStats } from './io-stats.ts';

/** One operation in a report. Latencies in microseconds; null where nothing was counted. */
export interface OpReport {
  readonly requests: number;
  readonly errors: number;
  readonly bytes: number;
  /** Of all requests together. */
  readonly totalUs: number;
  readonly meanUs: number | null;
  readonly p50Us: number | null;
  readonly p99Us: number | null;
  readonly p999Us: number | null;
  readonly maxUs: number | null;
}

export type IoReport = Readonly<Record<IoOp, OpReport>>;

export function reportOf(stats: IoStats): IoReport {
  const report: Partial<Record<IoOp, OpReport>> = {};
  for (const [i, { errors, bytes, latency }] of stats.ops.entries()) {
    const op = IO_OPS[i];
    if (op === undefined) continue;
    const { total } = latency;
    const quantile = (ratio: number): number | null =>
      total === 0 ? null : latency.quantileUs(ratio);
    report[op] = {
      requests: total,
      errors,
      bytes,
      totalUs: latency.sumUs,
      meanUs: total === 0 ? null : Math.round(latency.sumUs / total),
      p50Us: quantile(0.5),
      p99Us: quantile(0.99),
      p999Us: quantile(0.999),
      maxUs: total === 0 ? null : latency.maxUs,
    };
  }
  return report as IoReport;
}
