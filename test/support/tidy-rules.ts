// The repository's own lint: what eslint and prettier cannot see. Each rule takes a file and answers
// with its complaints, one line each; tidy.test.ts runs them all and plants a violation for each.
import type { SourceFile } from './sources.ts';

export type Complaints = readonly string[];

/** Headings of a layer's README, each the beginning of a heading line, in this order. */
const README_HEADINGS = [
  'Owns',
  'Vocabulary',
  'Invariants',
  'Contract',
  'Differs',
  'How it is tested',
];
const README_MAX_LINES = 120;
/** The two layers with a specification to answer rule by rule. */
const README_MAX_LINES_OF: Readonly<Record<string, number>> = {
  'core/dm-io/README.md': 250,
  'core/mirror/README.md': 250,
};
const MAX_COLUMNS = 120;

// Written with one letter in brackets, so that the rules do not find themselves.
const BANNED: readonly (readonly [RegExp, string])[] = [
  [/\b(?:TOD[O]|FIXM[E]|XX[X])\b/, 'a promise in a comment: do it, or write an issue'],
  [
    /\b(?:it|test|describe)\.(?:ski[p]|tod[o]|onl[y])\b/,
    'a test that does not run, or silences others',
  ],
  [
    /\b(?:xi[t]|xtes[t]|xdescrib[e]|fi[t]|fdescrib[e])\s*\(/,
    'a test that does not run, or silences others',
  ],
  [/\bas an[y]\b/, 'no `any`: take `unknown` and parse it'],
  [/@ts-(?:ignor[e]|nochec[k])/, 'no error of the compiler is silenced'],
  [/eslint-disabl[e](?!.* -- \S)/, 'a disabled lint rule gives its reason: ` -- why`'],
];

export function bannedWords({ path, text }: SourceFile): Complaints {
  return linesOf(text).flatMap((line, i) =>
    BANNED.filter(([pattern]) => pattern.test(line)).map(
      ([, remedy]) => `${path}:${i + 1}: ${remedy}`,
    ),
  );
}

/** Prettier wraps code; it leaves comments and strings alone. A line that is long only by a string is fine. */
export function longLines({ path, text }: SourceFile): Complaints {
  return linesOf(text)
    .map((line, i) => ({ columns: withoutStrings(line).length, at: `${path}:${i + 1}` }))
    .filter(({ columns }) => columns > MAX_COLUMNS)
    .map(({ at }) => `${at}: over ${MAX_COLUMNS} columns`);
}

/** Whole strings go, and so does what an unclosed backtick opens. A comment's apostrophes do not count. */
function withoutStrings(line: string): string {
  if (/^\s*(?:\/\/|\/?\*)/.test(line)) return line.replace(/https?:\S+/, '');
  return line.replace(/(['"`])(?:\\.|(?!\1).)*\1/g, '').replace(/`.*$/, '');
}

/** A test file may call cases it shares with others: the file they are in is held to the same rule. */
const SHARED_CASES = /\b(?:it|holds)[A-Z]\w*[(]/;
const SHARES_CASES = /\bexport function (?:it|holds)[A-Z]/;

export function testWithoutAssertion({ path, text }: SourceFile): Complaints {
  // A file that runs other test files again asserts what they assert.
  const asserts = /\b(?:expect|assert\w*|suite)\b[.\w]*[(]|\bimport\('[^']+\.test\.ts'\)/;
  const isTest = path.endsWith('.test.ts');
  if (asserts.test(text) || !(isTest || SHARES_CASES.test(text))) return [];
  if (isTest && SHARED_CASES.test(text)) return [];
  return [`${path}: a test file that asserts nothing`];
}

export function oneTitle({ path, text }: SourceFile): Complaints {
  const titles = proseOf(text).filter((line) => /^# /.test(line)).length;
  return titles === 1 ? [] : [`${path}: ${titles} first-level headings, one expected`];
}

/** A core layer with code has its one page, with the same headings in the same order as every other. */
export function layerReadmes(
  sources: readonly SourceFile[],
  pages: readonly SourceFile[],
): Complaints {
  const layers = sources.map(({ path }) => /^core\/[^/]+\//.exec(path)?.[0]);
  const wanted = [...new Set(layers.filter((layer) => layer !== undefined))];
  return wanted.flatMap((layer) => {
    const page = pages.find(({ path }) => path === `${layer}README.md`);
    return page === undefined ? [`${layer}README.md: missing`] : layerReadme(page);
  });
}

function layerReadme({ path, text }: SourceFile): Complaints {
  const headings = proseOf(text)
    .filter((line) => /^##+ /.test(line))
    .map((line) => line.replace(/^#+ (?:\d+\.? )?/, ''));
  const positions = README_HEADINGS.map((wanted) =>
    headings.findIndex((h) => h.startsWith(wanted)),
  );
  const missing = README_HEADINGS.filter((_, i) => positions[i] === -1);
  const inOrder = positions.every((position, i) => i === 0 || position > (positions[i - 1] ?? -1));
  const maxLines = README_MAX_LINES_OF[path] ?? README_MAX_LINES;
  const lines = linesOf(text).length;
  return [
    ...missing.map((heading) => `${path}: no heading "${heading}"`),
    ...(missing.length === 0 && !inOrder ? [`${path}: headings out of order`] : []),
    ...(lines >= maxLines ? [`${path}: ${lines} lines, under ${maxLines} expected`] : []),
  ];
}

/** core/version.ts, once it exists, exports the package's version. */
export function versionsAgree(packageJson: string, version: SourceFile | undefined): Complaints {
  if (version === undefined) return [];
  const { version: wanted } = JSON.parse(packageJson) as { version: string };
  const found = /export const \w*VERSION\b[^=]*=\s*['"]([^'"]*)['"]/i.exec(version.text)?.[1];
  if (found === wanted) return [];
  return [`${version.path}: exports ${found ?? 'no version'}, package.json says ${wanted}`];
}

function linesOf(text: string): string[] {
  return text.replace(/\n$/, '').split('\n');
}

/** The lines of a page outside fenced code, where a `#` is a heading. */
function proseOf(text: string): string[] {
  let fenced = false;
  return linesOf(text).filter((line) => {
    if (!/^\s*(?:```|~~~)/.test(line)) return !fenced;
    fenced = !fenced;
    return false;
  });
}
