import {
  median,
  medianOf,
  percentile,
  ratioOf,
  ratioToBest,
  unevennessOf,
} from '../../bench/stats.ts';
import { cellOf } from './cells.ts';

describe('median', () => {
  it('is the middle one, or the mean of the two middle ones, whatever the order', () => {
    expect(median([3, 1, 2])).toBe(2);
    expect(median([4, 1, 3, 2])).toBe(2.5);
    expect(median([7])).toBe(7);
    expect(median([])).toBeNaN();
  });

  it('leaves its argument as it was', () => {
    const values = [3, 1, 2];
    median(values);
    expect(values).toEqual([3, 1, 2]);
  });
});

describe('percentile', () => {
  it('is the nearest rank', () => {
    const sorted = Float64Array.from({ length: 1000 }, (_, i) => i + 1);
    expect(percentile(sorted, 50)).toBe(500);
    expect(percentile(sorted, 99)).toBe(990);
    expect(percentile(sorted, 99.9)).toBe(999);
    expect(percentile([5], 99.9)).toBe(5);
    expect(percentile([], 50)).toBeNaN();
  });
});

describe('unevennessOf', () => {
  it('is the most as times the least, and nothing of one connection or of idle ones', () => {
    expect(unevennessOf([10, 40, 20])).toBe(4);
    expect(unevennessOf([7, 7])).toBe(1);
    expect(unevennessOf([7])).toBeNull();
    expect(unevennessOf([0, 0])).toBeNull();
  });

  it('takes a connection without an answer beside others for a failure', () => {
    expect(() => unevennessOf([5, 0])).toThrow('got no answer');
  });
});

describe('medianOf', () => {
  it('is null for a failed cell, and for a metric that no sample has', () => {
    expect(medianOf(cellOf('a', { 1: 10, 2: 30 }), 'requestsPerSecond')).toBe(20);
    expect(medianOf(cellOf('a', { 1: 10 }, 'round 2: gone'), 'requestsPerSecond')).toBeNull();
    expect(medianOf(cellOf('a', { 1: 10 }), 'startMs')).toBeNull();
    expect(medianOf(cellOf('a', {}), 'requestsPerSecond')).toBeNull();
  });
});

describe('ratioOf', () => {
  it('divides within a round, so a slow minute cancels out', () => {
    const ours = cellOf('ours', { 1: 20, 2: 2, 3: 40 });
    const other = cellOf('other', { 1: 10, 2: 1, 3: 10 });
    expect(ratioOf(ours, other, 'requestsPerSecond')).toBe(2);
  });

  it('uses only rounds both have', () => {
    const ours = cellOf('ours', { 1: 20, 3: 50 });
    const other = cellOf('other', { 2: 1, 3: 10 });
    expect(ratioOf(ours, other, 'requestsPerSecond')).toBe(5);
    expect(ratioOf(ours, cellOf('other', { 2: 1 }), 'requestsPerSecond')).toBeNull();
  });
});

describe('ratioToBest', () => {
  const ours = cellOf('ours', { 1: 30 });

  it('is against the best of the others, which is the smallest ratio', () => {
    const others = [cellOf('slow', { 1: 10 }), cellOf('fast', { 1: 20 })];
    expect(ratioToBest(ours, others, 'requestsPerSecond')).toBe(1.5);
  });

  it('does not count a failed other as a slow one, nor hide that nothing is left', () => {
    const failed = cellOf('fast', { 1: 20 }, 'round 1: no');
    expect(ratioToBest(ours, [cellOf('slow', { 1: 10 }), failed], 'requestsPerSecond')).toBe(3);
    expect(ratioToBest(ours, [failed], 'requestsPerSecond')).toBeNull();
  });
});
