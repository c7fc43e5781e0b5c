import { rowsOf } from '../../bench/matrix.ts';
import { costRatio, metricOf, renderReport } from '../../bench/report.ts';
import type { Report } from '../../bench/report.ts';
import { number3, renderTable, times } from '../../bench/table.ts';
import type { Row } from '../../bench/types.ts';
import { cellOf } from './cells.ts';

describe('renderTable', () => {
  it('is Markdown, words to the left and numbers to the right', () => {
    expect(renderTable(['row', 'a', 'longer'], [['randread', '1', '2'], ['x']])).toBe(
      [
        '| row      |   a | longer |',
        '| -------- | --: | -----: |',
        '| randread |   1 |      2 |',
        '| x        |     |        |',
      ].join('\n'),
    );
  });
});

describe('numbers', () => {
  it('have three digits that matter', () => {
    expect([0.1234, 9.876, 12.34, 4567.8].map(number3)).toEqual(['0.12', '9.88', '12.3', '4568']);
    expect([null, NaN, Infinity].map(number3)).toEqual(['-', '-', '-']);
    expect([1.5, null, NaN].map(times)).toEqual(['1.50x', '-', '-']);
  });
});

describe('costRatio', () => {
  it('says times the cost: more time, less throughput, more memory', () => {
    const one = cellOf('1 leg', { 1: 100 });
    const two = cellOf('2 legs', { 1: 80 });
    expect(costRatio(two, one, 'requestsPerSecond')).toBe(1.25);
    const memory = (mib: number) => ({
      ...one,
      samples: one.samples.map((sample) => ({ ...sample, memoryMib: mib })),
    });
    expect(costRatio(memory(30), memory(10), 'memoryMib')).toBe(3);
    expect(costRatio(two, undefined, 'requestsPerSecond')).toBeNull();
  });
});

function rowNamed(name: string): Row {
  const row = rowsOf('standard').find((each) => each.name === name);
  if (row === undefined) throw new Error(`no row ${name}`);
  return row;
}

describe('metricOf', () => {
  it('counts requests when they are small, bytes when they are large', () => {
    expect(metricOf(rowNamed('randread-16k-d1')).unit).toBe('kIOPS');
    expect(metricOf(rowNamed('read-128k-d16')).unit).toBe('MiB/s');
  });
});

const row = rowNamed('randread-4k-d32');
const REPORT: Report = {
  machine: {
    cpu: 'a CPU',
    cpus: [0, 1],
    memoryMib: 1024,
    kernel: '6.1',
    node: 'v20',
    fileSystem: 'ext4',
    loadAverage: [3.5, 2, 1],
    commit: 'abc',
  },
  versions: { 'dmiod-node': '0.1.0', nbdkit: 'nbdkit 1.32' },
  absent: { 'dmiod-uring': 'no such engine' },
  columns: [
    { id: 'dmiod-node', isOurs: true },
    { id: 'nbdkit', isOurs: false },
    { id: 'qemu-nbd', isOurs: false },
    { id: 'qemu-quorum', isOurs: false },
    { id: 'limit', isOurs: false, isLimit: true },
  ],
  rounds: 2,
  seconds: 1,
  sizeBytes: 2 ** 30,
  isComplete: true,
  rows: [
    {
      row,
      outcome: {
        name: row.name,
        cells: [
          cellOf('dmiod-node', { 1: 30000, 2: 60000 }),
          cellOf('nbdkit', { 1: 20000, 2: 40000 }),
          cellOf('qemu-nbd', { 1: 90000 }, 'round 2: did not start'),
          cellOf('limit', { 1: 50000, 2: 70000 }),
        ],
      },
    },
  ],
  costs: [
    {
      cost: { name: 'mirror', metric: 'requestsPerSecond', baseline: '1 leg' },
      outcome: {
        name: 'mirror',
        cells: [cellOf('1 leg', { 1: 100 }), cellOf('2 legs', { 1: 80 })],
      },
    },
  ],
};

/** A line of a table, its cells joined by single bars. */
function lineWith(text: string, start: string): string {
  const lines = text.split('\n').map((line) => line.replace(/^\| *| *\|$/g, ''));
  return (lines.find((line) => line.startsWith(start)) ?? '').replace(/ *\| */g, '|');
}

describe('renderReport', () => {
  const text = renderReport(REPORT);

  it('shows medians, and the ratio against the best other that did not fail and is no limit', () => {
    expect(lineWith(text, 'randread-4k-d32')).toBe(
      'randread-4k-d32|kIOPS|45.0|30.0|failed [1]||60.0|1.50x',
    );
  });

  it('never drops a failed cell or an absent server: each with its reason', () => {
    expect(text).toContain('[1] randread-4k-d32, qemu-nbd: round 2: did not start');
    expect(text).toContain('dmiod-uring: NOT MEASURED, no such engine');
  });

  it('shows costs as times the baseline', () => {
    expect(lineWith(text, 'mirror')).toBe('mirror|1 leg|requests/s|100|1.00x|1 leg');
    expect(text).toMatch(/mirror +\| 2 legs +\| requests\/s +\| +80.0 \| 1.25x \| +1 leg/);
  });

  it('says how busy the machine was, and whether all was measured', () => {
    expect(text).toContain('load average 3.50 at the start, 1.00 in the middle of the turns');
    expect(text).not.toContain('Interrupted');
    expect(renderReport({ ...REPORT, isComplete: false })).toContain('Interrupted');
  });
});
