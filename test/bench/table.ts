// Text tables that are Markdown too, and numbers with three significant digits.
type Align = 'left' | 'right';

/** The first `leftColumns` columns are words, the others numbers. */
export function renderTable(
  head: readonly string[],
  body: readonly (readonly string[])[],
  leftColumns = 1,
): string {
  const widths = head.map((title, i) =>
    Math.max(title.length, 3, ...body.map((cells) => (cells[i] ?? '').length)),
  );
  const alignOf = (i: number): Align => (i < leftColumns ? 'left' : 'right');
  const line = (cells: readonly string[]): string =>
    `| ${widths.map((width, i) => pad(cells[i] ?? '', width, alignOf(i))).join(' | ')} |`;
  const rule = widths.map((width, i) =>
    alignOf(i) === 'left' ? '-'.repeat(width) : `${'-'.repeat(width - 1)}:`,
  );
  return [line(head), `| ${rule.join(' | ')} |`, ...body.map(line)].join('\n');
}

function pad(text: string, width: number, align: Align): string {
  return align === 'left' ? text.padEnd(width) : text.padStart(width);
}

/** `-` for what was not measured. */
export function number3(value: number | null): string {
  if (value === null || !Number.isFinite(value)) return '-';
  const magnitude = Math.abs(value);
  if (magnitude >= 100) return value.toFixed(0);
  if (magnitude >= 10) return value.toFixed(1);
  return value.toFixed(2);
}

export function times(ratio: number | null): string {
  return ratio === null || !Number.isFinite(ratio) ? '-' : `${ratio.toFixed(2)}x`;
}
