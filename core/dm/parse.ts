import { MAX_SECTORS } from '../base/units.ts';
import { parseSectors, splitWords } from './args.ts';
import type { Table } from './table.ts';
import { targetTypes } from './target-types.ts';
import { TableError } from './target.ts';
import type { TargetSpec, TargetType } from './target.ts';

/** One line of a table, read and checked; its devices are not open yet. */
export interface TableLine {
  /** Counted from 1 over all lines of the text, for messages. */
  readonly lineNumber: number;
  readonly startSector: number;
  readonly sectors: number;
  readonly spec: TargetSpec;
}

/** A whole table, gap-free from sector 0 on. */
export interface TableSpec {
  readonly lines: readonly TableLine[];
  readonly sectors: number;
}

/**
 * Reads a table in dmsetup's form: one target a line, `START LEN TARGET ARGS...`; blank lines and
 * lines that begin with `#` are skipped.
 * @throws TableError one sentence: the line, what is wrong, what is allowed
 */
export function parseTable(text: string, types: readonly TargetType[] = targetTypes): TableSpec {
  const lines: TableLine[] = [];
  let endSector = 0;
  text.split(/\r?\n/).forEach((lineText, index) => {
    if (/^\s*(#|$)/.test(lineText)) return;
    const line = parseLine(lineText, index + 1, endSector, types);
    lines.push(line);
    endSector = line.startSector + line.sectors;
  });
  if (lines.length === 0) {
    throw new TableError(
      'the table is empty, at least one line START LEN TARGET ARGS... is wanted',
    );
  }
  return { lines, sectors: endSector };
}

/** The lines of a live table; parseTable reads them back to the same table. */
export function formatTable(table: Table): string {
  return table.entries
    .map(({ startSector, endSector, target }) => {
      const head = `${startSector} ${endSector - startSector} ${target.type.name}`;
      const args = target.table();
      return args === '' ? `${head}\n` : `${head} ${args}\n`;
    })
    .join('');
}

function parseLine(
  text: string,
  lineNumber: number,
  expectedStart: number,
  types: readonly TargetType[],
): TableLine {
  try {
    const [startWord, lengthWord, name, ...args] = splitWords(text);
    if (startWord === undefined || lengthWord === undefined || name === undefined) {
      throw new TableError('START LEN TARGET ARGS... is wanted');
    }
    const startSector = parseSectors(startWord, 'the start');
    const sectors = parseSectors(lengthWord, 'the length');
    checkRange(startSector, sectors, expectedStart);
    const type = types.find((candidate) => candidate.name === name);
    if (type === undefined) {
      const known = types.map((candidate) => candidate.name).sort();
      throw new TableError(`unknown target ${JSON.stringify(name)}, known are ${known.join(', ')}`);
    }
    return { lineNumber, startSector, sectors, spec: type.parse(startSector, sectors, args) };
  } catch (error) {
    if (!(error instanceof TableError)) throw error;
    throw new TableError(`table line ${lineNumber}: ${error.message}`);
  }
}

function checkRange(startSector: number, sectors: number, expectedStart: number): void {
  if (sectors === 0) throw new TableError('the length is 0, a target has at least 1 sector');
  if (startSector > expectedStart) {
    const where =
      expectedStart === 0
        ? 'the first target must start at 0'
        : `the target before ends at ${expectedStart}`;
    throw new TableError(`a gap before sector ${startSector}: ${where}`);
  }
  if (startSector < expectedStart) {
    throw new TableError(
      `the target starts at ${startSector} and overlaps the one before, which ends at ${expectedStart}`,
    );
  }
  if (startSector + sectors > MAX_SECTORS) {
    throw new TableError(
      `the target ends past the last sector there can be, ${MAX_SECTORS} (2^53 bytes)`,
    );
  }
}
