import { Prng } from '../../../core/base/prng.ts';
import { REQ_OP } from '../../../core/block/op.ts';
import { BUCKETS, bucketOf, bucketStartUs, Histogram } from '../../../core/stats/histogram.ts';
import { IoStats } from '../../../core/stats/io-stats.ts';
import { reportOf } from '../../../core/stats/report.ts';
import { StatsWindow } from '../../../core/stats/window.ts';

describe('a histogram', () => {
  it('has a bucket for each latency, and it is the one whose bounds hold it', () => {
    for (let us = 0; us < 5000; us += 1) {
      const bucket = bucketOf(us);
      expect(bucketStartUs(bucket)).toBeLessThanOrEqual(us);
      expect(bucketStartUs(bucket + 1)).toBeGreaterThan(us);
    }
    expect(bucketOf(2 ** 31 - 1)).toBeLessThan(BUCKETS);
  });

  it('gives quantiles that are never below the true ones and an eighth above at most', () => {
    const prng = new Prng(1);
    const histogram = new Histogram();
    const all: number[] = [];
    for (let i = 0; i < 20_000; i += 1) {
      const us = prng.ratio(1, 50) ? prng.below(900_000) : prng.below(3000);
      all.push(us);
      histogram.note(us / 1000);
    }
    all.sort((a, b) => a - b);
    for (const ratio of [0.5, 0.9, 0.99, 0.999, 1]) {
      const exact = all[Math.ceil(all.length * ratio) - 1] ?? 0;
      const found = histogram.quantileUs(ratio);
      expect(found).toBeGreaterThanOrEqual(exact - 1);
      expect(found).toBeLessThanOrEqual(exact * 1.125 + 1);
    }
  });

  it('takes what no clock should say, and says nothing of nothing', () => {
    const histogram = new Histogram();
    expect(histogram.quantileUs(0.5)).toBe(0);
    histogram.note(-1);
    histogram.note(1e12);
    expect(histogram.total).toBe(2);
    expect(histogram.maxUs).toBe(2 ** 31 - 1);
  });
});

describe('counters', () => {
  it('tell operations, bytes and errors apart', () => {
    const stats = new IoStats();
    stats.note(REQ_OP.READ, 8, 1, 0);
    stats.note(REQ_OP.WRITE_ZEROES, 16, 2, 0);
    stats.note(REQ_OP.WRITE, 8, 3, 5);
    const report = reportOf(stats);
    expect(report.read).toMatchObject({ requests: 1, errors: 0, bytes: 4096, meanUs: 1000 });
    expect(report.zeroes).toMatchObject({ requests: 1, bytes: 8192, maxUs: 2000 });
    expect(report.write).toMatchObject({ requests: 1, errors: 1, bytes: 0 });
    expect(report.flush).toMatchObject({ requests: 0, meanUs: null, p50Us: null, maxUs: null });
  });

  it('of a window are those since its start', () => {
    const stats = new IoStats();
    for (let i = 0; i < 100; i += 1) stats.note(REQ_OP.READ, 8, 1000, 0);
    const window = new StatsWindow(stats);
    expect(window.requests).toBe(0);
    for (let i = 0; i < 10; i += 1) stats.note(REQ_OP.WRITE, 8, 1, 0);
    stats.note(REQ_OP.FLUSH, 0, 5000, 0);
    expect(window.requests).toBe(10);
    expect(window.quantileUs(0.99)).toBeLessThan(1200);
    window.restart();
    expect(window.requests).toBe(0);
  });
});
