import { getStaticTOMLValue, ParseError, parseTOML } from 'toml-eslint-parser';
import type { AST } from 'toml-eslint-parser';

/** A TOML text: its values, and where each of them stands. */
export interface TomlDocument {
  readonly value: unknown;
  /** The line (from 1) of the key or element a path names, or of its nearest ancestor. */
  lineOf(path: readonly PropertyKey[]): number;
}

/** Text that is no TOML 1.0. */
export class TomlError extends Error {
  override readonly name = 'TomlError';
  readonly line: number;

  constructor(line: number, message: string) {
    super(message);
    this.line = line;
  }
}

/** @throws TomlError with the line */
export function parseTomlText(text: string): TomlDocument {
  let program: AST.TOMLProgram;
  try {
    program = parseTOML(text, { tomlVersion: '1.0' });
  } catch (error) {
    if (!(error instanceof ParseError)) throw error;
    throw new TomlError(error.lineNumber, `not TOML: ${lowerFirst(error.message)}`);
  }
  const lines = new Map<string, number>();
  for (const node of program.body[0].body) {
    if (node.type === 'TOMLTable') {
      noteKeys(lines, [], node.resolvedKey, node.loc.start.line);
      for (const entry of node.body) noteEntry(lines, node.resolvedKey, entry);
    } else {
      noteEntry(lines, [], node);
    }
  }
  return { value: getStaticTOMLValue(program), lineOf: (path) => nearestLine(lines, path) };
}

type Path = readonly (string | number)[];

function noteEntry(lines: Map<string, number>, base: Path, entry: AST.TOMLKeyValue): void {
  const keys = entry.key.keys.map((key) => (key.type === 'TOMLBare' ? key.name : key.value));
  noteKeys(lines, base, keys, entry.loc.start.line);
  noteValue(lines, [...base, ...keys], entry.value);
}

function noteValue(lines: Map<string, number>, path: Path, value: AST.TOMLContentNode): void {
  if (value.type === 'TOMLInlineTable') {
    for (const entry of value.body) noteEntry(lines, path, entry);
  } else if (value.type === 'TOMLArray') {
    value.elements.forEach((element, i) => {
      noteKeys(lines, path, [i], element.loc.start.line);
      noteValue(lines, [...path, i], element);
    });
  }
}

/** `a.b.c = 1` is the place of `a`, of `a.b` and of `a.b.c`, unless an earlier line was. */
function noteKeys(lines: Map<string, number>, base: Path, keys: Path, line: number): void {
  keys.forEach((_, i) => {
    const id = idOf([...base, ...keys.slice(0, i + 1)]);
    if (!lines.has(id)) lines.set(id, line);
  });
}

function nearestLine(lines: ReadonlyMap<string, number>, path: readonly PropertyKey[]): number {
  for (let length = path.length; length > 0; length -= 1) {
    const line = lines.get(idOf(path.slice(0, length)));
    if (line !== undefined) return line;
  }
  return 1;
}

function idOf(path: readonly PropertyKey[]): string {
  return JSON.stringify(path.map(String));
}

function lowerFirst(text: string): string {
  return text.charAt(0).toLowerCase() + text.slice(1);
}
