// Medians, and medians of ratios. Turns of one round happened within the same minute, so a ratio is
// taken within a round and the median over the rounds: what slows everyone down cancels out.
import type { Cell, Metric } from './types.ts';

/** NaN of nothing; the mean of the two middle ones of an even number. */
export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  const upper = sorted[middle] ?? NaN;
  return sorted.length % 2 === 1 ? upper : ((sorted[middle - 1] ?? NaN) + upper) / 2;
}

/** Nearest rank, of sorted values. */
export function percentile(sorted: ArrayLike<number>, percent: number): number {
  // 99.9 / 100 * 1000 is a hair above 999; a rank is not off by one for that.
  const rank = Math.ceil((percent / 100) * sorted.length - 1e-6);
  return sorted[Math.max(rank, 1) - 1] ?? NaN;
}

/** The most as times the least. @throws when one got nothing: it starved. */
export function unevennessOf(requests: readonly number[]): number | null {
  if (requests.length < 2 || requests.every((count) => count === 0)) return null;
  const least = Math.min(...requests);
  if (least === 0) throw new Error('a connection got no answer while others did');
  return Math.max(...requests) / least;
}

/** The median of a metric over the rounds; null when the cell failed or does not measure it. */
export function medianOf(cell: Cell, metric: Metric): number | null {
  const values = cell.samples.map((sample) => sample[metric]).filter((value) => value !== null);
  return cell.failure !== null || values.length === 0 ? null : median(values);
}

/** Median over the rounds of `cell / other`; null when they have no round in common. */
export function ratioOf(cell: Cell, other: Cell, metric: Metric): number | null {
  if (cell.failure !== null || other.failure !== null) return null;
  const ratios = cell.samples.flatMap((mine) => {
    const theirs = other.samples.find(({ round }) => round === mine.round)?.[metric];
    const value = mine[metric];
    return value === null || theirs === null || theirs === undefined ? [] : [value / theirs];
  });
  return ratios.length === 0 ? null : median(ratios);
}

/** Against each other cell, the least favourable: `cell` is so many times the best of them. */
export function ratioToBest(cell: Cell, others: readonly Cell[], metric: Metric): number | null {
  const ratios = others
    .map((other) => ratioOf(cell, other, metric))
    .filter((ratio) => ratio !== null);
  return ratios.length === 0 ? null : Math.min(...ratios);
}
