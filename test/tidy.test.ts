// Repository lint, after TigerBeetle's: the rules of support/tidy-rules.ts over every file, and each
// rule on a planted violation, since a rule that finds nothing looks like a rule that holds.
import { readFileSync } from 'node:fs';
import { join } from 'node:path';

import { ROOT } from './support/root.ts';
import { sourcesEndingIn } from './support/sources.ts';
import {
  bannedWords,
  layerReadmes,
  longLines,
  oneTitle,
  testWithoutAssertion,
  versionsAgree,
} from './support/tidy-rules.ts';

const sources = sourcesEndingIn('.ts');
const pages = sourcesEndingIn('.md');
const packageJson = readFileSync(join(ROOT, 'package.json'), 'utf8');

describe('the repository', () => {
  it('was read', () => {
    expect(sources.map(({ path }) => path)).toContain('test/tidy.test.ts');
    expect(pages.map(({ path }) => path)).toContain('README.md');
    expect(sources.filter(({ path }) => /node_modules|dist/.test(path))).toEqual([]);
  });

  it.each([bannedWords, longLines, testWithoutAssertion])('holds to $name', (rule) => {
    expect(sources.flatMap(rule)).toEqual([]);
  });

  it('has one title in every page', () => {
    expect(pages.flatMap(oneTitle)).toEqual([]);
  });

  it('has a README with the six headings in every layer of core', () => {
    expect(layerReadmes(sources, pages)).toEqual([]);
  });

  it('exports the version of package.json', () => {
    const version = sources.find(({ path }) => path === 'core/version.ts');
    expect(versionsAgree(packageJson, version)).toEqual([]);
  });
});

const ts = (text: string) => ({ path: 'test/a.test.ts', text });
const md = (text: string) => ({ path: 'core/base/README.md', text });

describe('bannedWords', () => {
  // Joined from two halves: written out, they would be violations of this file.
  it.each([
    ['// TO', 'DO later'],
    ['/* FIX', 'ME */'],
    ['// XX', 'X'],
    ['it.sk', 'ip("a", f);'],
    ['test.sk', 'ip.each([1])("a", f);'],
    ['describe.to', 'do("a");'],
    ['it.on', 'ly("a", f);'],
    ['xi', 't("a", f);'],
    ['const a = b as a', 'ny;'],
    ['// @ts-ig', 'nore'],
    ['// eslint-dis', 'able-next-line no-restricted-syntax'],
    ['// eslint-dis', 'able-next-line no-restricted-syntax -- '],
  ])('finds %s%s', (left, right) => {
    const [complaint] = bannedWords(ts(`\n${left}${right}`));
    expect(complaint).toMatch(/^test\/a\.test\.ts:2: /);
  });

  it('leaves alone what only looks like it', () => {
    const reasoned = '// eslint-disable-next-line no-restricted-syntax -- cold: once a table';
    const text = 'it("skips a TODOS table", f);\nsubmit(as, anyone); exit(1); emit.skip();';
    expect(bannedWords(ts(`${reasoned}\n${text}`))).toEqual([]);
  });
});

describe('longLines', () => {
  it('finds long code and long comments', () => {
    const long = 'x'.repeat(121);
    expect(longLines(ts(`a\n${long};\n// it's ${long}'s`))).toEqual([
      'test/a.test.ts:2: over 120 columns',
      'test/a.test.ts:3: over 120 columns',
    ]);
  });

  it('allows a line that is long by a string or a link only', () => {
    const long = 'x'.repeat(200);
    const text = `f('${long}', "it's", 1);\ng(\`${long}\n// see https://example.org/${long}\n${'y'.repeat(120)}`;
    expect(longLines(ts(text))).toEqual([]);
  });
});

describe('testWithoutAssertion', () => {
  it('finds a test file that asserts nothing', () => {
    expect(testWithoutAssertion(ts('it("a", () => { run(); });'))).toHaveLength(1);
  });

  it('takes expect and assert, and does not ask other files', () => {
    expect(testWithoutAssertion(ts('it("a", () => { expect(1).toBe(1); });'))).toEqual([]);
    expect(testWithoutAssertion(ts('it("a", () => { assert.equal(1, 1); });'))).toEqual([]);
    expect(testWithoutAssertion(ts('fc.assert(property);'))).toEqual([]);
    expect(testWithoutAssertion({ path: 'core/base/bits.ts', text: '' })).toEqual([]);
  });

  it('lets a file call shared cases, whose own file has to assert', () => {
    const shared = (body: string) => ({
      path: 'test/vm/support/power-cut.ts',
      text: `export function itSurvivesPowerCuts() { it('a', () => { ${body} }); }`,
    });
    expect(testWithoutAssertion(ts("itSurvivesPowerCuts({ log: 'core' });"))).toEqual([]);
    expect(testWithoutAssertion(ts('holdsInEverySecondPart(1);'))).toEqual([]);
    expect(testWithoutAssertion(shared('run();'))).toHaveLength(1);
    expect(testWithoutAssertion(shared('expect(run()).toBe(0);'))).toEqual([]);
  });
});

describe('oneTitle', () => {
  it('finds none and two, and does not count fenced code', () => {
    expect(oneTitle(md('## Owns\n'))).toHaveLength(1);
    expect(oneTitle(md('# a\n\n# b\n'))).toHaveLength(1);
    expect(oneTitle(md('# a\n```\n# a comment\n```\n'))).toEqual([]);
  });
});

describe('layerReadmes', () => {
  const source = { path: 'core/base/bits.ts', text: '' };
  const headings = [
    'Owns',
    'Vocabulary (ours)',
    '3. Invariants',
    'Contract',
    'Differs',
    'How it is tested',
  ];
  const page = (list: readonly string[]) => `# base\n${list.map((h) => `## ${h}\n`).join('')}`;

  it('accepts a whole page, and asks nothing of core/index.ts or other folders', () => {
    expect(layerReadmes([source], [md(page(headings))])).toEqual([]);
    expect(layerReadmes([{ path: 'core/index.ts', text: '' }], [])).toEqual([]);
    expect(layerReadmes([{ path: 'daemon/uring/abi.ts', text: '' }], [])).toEqual([]);
  });

  it('finds a missing page, a missing heading, a wrong order', () => {
    expect(layerReadmes([source, source], [])).toEqual(['core/base/README.md: missing']);
    expect(layerReadmes([source], [md(page(headings.slice(1)))])).toEqual([
      'core/base/README.md: no heading "Owns"',
    ]);
    expect(layerReadmes([source], [md(page([...headings].reverse()))])).toEqual([
      'core/base/README.md: headings out of order',
    ]);
  });

  it('finds a page that is too long, and lets the two layers with a specification have more', () => {
    const long = page(headings) + '\n'.repeat(113);
    expect(layerReadmes([source], [md(long)])).toEqual([
      'core/base/README.md: 120 lines, under 120 expected',
    ]);
    const path = 'core/dm-io/README.md';
    expect(layerReadmes([{ path: 'core/dm-io/io.ts', text: '' }], [{ path, text: long }])).toEqual(
      [],
    );
  });
});

describe('versionsAgree', () => {
  const version = (text: string) => ({ path: 'core/version.ts', text });

  it('compares the exported constant with package.json', () => {
    const json = '{"version":"1.2.3"}';
    expect(versionsAgree(json, undefined)).toEqual([]);
    expect(versionsAgree(json, version("export const VERSION = '1.2.3';"))).toEqual([]);
    expect(versionsAgree(json, version("export const VERSION = '1.2.4';"))).toHaveLength(1);
    expect(versionsAgree(json, version('export const other = 1;'))).toHaveLength(1);
  });
});
