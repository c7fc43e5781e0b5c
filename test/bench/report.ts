// What is printed: throughput with ratios, the details of each cell, the costs, and why cells failed.
import type { CostRow } from './costs.ts';
import type { Machine } from './machine.ts';
import { median, medianOf, ratioOf, ratioToBest } from './stats.ts';
import { number3, renderTable, times } from './table.ts';
import type { Cell, Metric, Outcome, Row } from './types.ts';

/** From here on a row is about bytes, below about requests. */
const BYTES_MATTER_FROM = 64 * 1024;

export interface MeasuredRow {
  readonly row: Row;
  readonly outcome: Outcome;
}

export interface MeasuredCost {
  readonly cost: Pick<CostRow, 'name' | 'metric' | 'baseline'>;
  readonly outcome: Outcome;
}

interface Column {
  readonly id: string;
  readonly isOurs: boolean;
  readonly isLimit?: boolean;
}

export interface Report {
  readonly machine: Machine;
  readonly versions: Readonly<Record<string, string>>;
  /** Servers that were asked for and are not there, with the reason. */
  readonly absent: Readonly<Record<string, string>>;
  readonly columns: readonly Column[];
  readonly rounds: number;
  readonly seconds: number;
  readonly sizeBytes: number;
  readonly isComplete: boolean;
  readonly rows: readonly MeasuredRow[];
  readonly costs: readonly MeasuredCost[];
}

/** Numbers failures in the order they are met, and lists them below the tables. */
class Footnotes {
  readonly lines: string[] = [];

  mark(where: string, cell: Cell): string {
    this.lines.push(`[${this.lines.length + 1}] ${where}, ${cell.label}: ${cell.failure ?? ''}`);
    return `failed [${this.lines.length}]`;
  }
}

export function renderReport(report: Report): string {
  const notes = new Footnotes();
  const parts = [renderHead(report)];
  if (report.rows.length > 0) {
    parts.push('## Throughput: medians, and dmiod against the best other server');
    parts.push(renderThroughput(report, notes), '## Latency, CPU, memory: medians');
    parts.push(renderDetails(report));
  }
  if (report.costs.length > 0) {
    parts.push('## Costs: times the baseline, less is better', renderCosts(report, notes));
  }
  if (notes.lines.length > 0) parts.push('## Failed cells', notes.lines.join('\n'));
  if (!report.isComplete) parts.push('Interrupted: what is missing was not measured.');
  return parts.join('\n\n');
}

function renderHead({ machine, versions, absent, ...report }: Report): string {
  const samples = [...report.rows, ...report.costs]
    .flatMap(({ outcome }) => outcome.cells)
    .flatMap((cell) => cell.samples);
  const busy = median(samples.map(({ loadAverage }) => loadAverage));
  const size = `legs of ${report.sizeBytes / 2 ** 20} MiB on ${machine.fileSystem}`;
  return [
    `${report.rounds} rounds of ${report.seconds} s, ${size}; load average ${number3(machine.loadAverage[0] ?? null)} at the start, ${number3(busy)} in the middle of the turns`,
    `${machine.cpu}, CPUs ${machine.cpus.join(',')}, ${machine.memoryMib} MiB, Linux ${machine.kernel}, Node ${machine.node}, commit ${machine.commit}`,
    ...Object.entries(versions).map(([id, version]) => `  ${id}: ${version}`),
    ...Object.entries(absent).map(([id, why]) => `  ${id}: NOT MEASURED, ${why}`),
  ].join('\n');
}

export function metricOf({ load }: Row): { metric: Metric; unit: string; divisor: number } {
  return load.blockBytes >= BYTES_MATTER_FROM
    ? { metric: 'mibPerSecond', unit: 'MiB/s', divisor: 1 }
    : { metric: 'requestsPerSecond', unit: 'kIOPS', divisor: 1000 };
}

function renderThroughput({ rows, columns }: Report, notes: Footnotes): string {
  const ours = columns.filter(({ isOurs }) => isOurs);
  const others = columns.filter(({ isOurs, isLimit = false }) => !isOurs && !isLimit);
  const isOther = (cell: Cell): boolean => others.some(({ id }) => id === cell.label);
  const head = [
    'row',
    'unit',
    ...columns.map(({ id }) => id),
    ...ours.map(({ id }) => `${id} : best`),
  ];
  const body = rows.map(({ row, outcome: { cells } }) => {
    const { metric, unit, divisor } = metricOf(row);
    const cellOf = (id: string): Cell | undefined => cells.find(({ label }) => label === id);
    const value = ({ id }: Column): string => {
      const cell = cellOf(id);
      if (cell === undefined) return '';
      if (cell.failure !== null) return notes.mark(row.name, cell);
      const median = medianOf(cell, metric);
      return number3(median === null ? null : median / divisor);
    };
    const ratio = ({ id }: Column): string => {
      const cell = cellOf(id);
      return times(cell === undefined ? null : ratioToBest(cell, cells.filter(isOther), metric));
    };
    return [row.name, unit, ...columns.map(value), ...ours.map(ratio)];
  });
  return renderTable(head, body, 2);
}

const DETAILS: readonly (readonly [string, Metric])[] = [
  ['p50 us', 'p50Us'],
  ['p99 us', 'p99Us'],
  ['p99.9 us', 'p999Us'],
  ['CPU us/request', 'cpuUsPerRequest'],
  ['CPU %', 'cpuPercent'],
  ['VmHWM MiB', 'memoryMib'],
];

function renderDetails({ rows }: Report): string {
  const body = rows.flatMap(({ row, outcome }) =>
    outcome.cells.map((cell) => [
      row.name,
      cell.label,
      ...DETAILS.map(([, metric]) =>
        cell.failure === null ? number3(medianOf(cell, metric)) : 'failed',
      ),
    ]),
  );
  return renderTable(['row', 'server', ...DETAILS.map(([title]) => title)], body, 2);
}

const UNITS: Readonly<Record<Metric, string>> = {
  requestsPerSecond: 'requests/s',
  mibPerSecond: 'MiB/s',
  p50Us: 'us',
  p99Us: 'us',
  p999Us: 'us',
  unevenness: 'most/least',
  cpuUsPerRequest: 'us/request',
  cpuPercent: '% CPU',
  memoryMib: 'MiB',
  startMs: 'ms',
};

const MORE_IS_BETTER: ReadonlySet<Metric> = new Set(['requestsPerSecond', 'mibPerSecond']);

/** Always "so many times the baseline's time, memory or CPU": for throughput the inverse. */
export function costRatio(cell: Cell, baseline: Cell | undefined, metric: Metric): number | null {
  if (baseline === undefined) return null;
  return MORE_IS_BETTER.has(metric)
    ? ratioOf(baseline, cell, metric)
    : ratioOf(cell, baseline, metric);
}

function renderCosts({ costs }: Report, notes: Footnotes): string {
  const body = costs.flatMap(({ cost: { name, metric, baseline }, outcome: { cells } }) => {
    const base = cells.find(({ label }) => label === baseline);
    return cells.map((cell) => [
      name,
      cell.label,
      UNITS[metric],
      cell.failure === null ? number3(medianOf(cell, metric)) : notes.mark(name, cell),
      times(costRatio(cell, base, metric)),
      base === undefined ? '' : baseline,
    ]);
  });
  return renderTable(['row', 'contestant', 'unit', 'median', 'cost', 'baseline'], body, 3);
}
