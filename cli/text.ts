/** Pieces of lines for people. Pure. */
import { formatBytes } from '../core/base/units.ts';

/** Columns as wide as their widest cell, two blanks between; the last is not padded. */
export function columns(rows: readonly (readonly string[])[], indent = ''): string[] {
  const widths: number[] = [];
  for (const row of rows) {
    row.forEach((cell, i) => (widths[i] = Math.max(widths[i] ?? 0, cell.length)));
  }
  return rows.map((row) => {
    const cells = row.map((cell, i) => cell.padEnd(widths[i] ?? 0));
    return `${indent}${cells.join('  ')}`.trimEnd();
  });
}

const BAR_CELLS = 20;

interface Progress {
  readonly doneBytes: number;
  readonly totalBytes: number;
  readonly bytesPerSecond: number | null;
  readonly etaSeconds: number | null;
}

export function progressParts(progress: Progress): string[] {
  const { doneBytes, totalBytes, bytesPerSecond, etaSeconds } = progress;
  const ratio = totalBytes === 0 ? 1 : Math.min(1, doneBytes / totalBytes);
  // Rounded down: 100.0 % is said when it is true.
  const percent = (Math.floor(ratio * 1000) / 10).toFixed(1);
  const parts = [
    progressBar(ratio),
    `${percent} %`,
    `${formatBytes(doneBytes)} of ${formatBytes(totalBytes)}`,
  ];
  if (bytesPerSecond !== null) parts.push(`${formatBytes(bytesPerSecond)}/s`);
  if (etaSeconds !== null) parts.push(`about ${durationText(etaSeconds)} left`);
  return parts;
}

export function progressBar(ratio: number): string {
  const done = Math.floor(ratio * BAR_CELLS);
  if (done >= BAR_CELLS) return `[${'='.repeat(BAR_CELLS)}]`;
  return `[${'='.repeat(done)}>${'.'.repeat(BAR_CELLS - done - 1)}]`;
}

/** 5 -> `5 s`, 90 -> `1 min 30 s`, 7300 -> `2 h 1 min`. */
export function durationText(seconds: number): string {
  const whole = Math.ceil(seconds);
  if (whole < 60) return `${whole} s`;
  const minutes = Math.floor(whole / 60);
  if (minutes < 60) return `${minutes} min ${whole % 60} s`;
  return `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}

export function plural(count: number, what: string): string {
  return `${count} ${what}${count === 1 ? '' : 's'}`;
}
