// eslint.config.js bans by selector, and a selector with a slip matches nothing and stays green. So each
// ban is shown one line it must refuse, and the exemptions are shown lines it must let pass.
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';

import { Linter } from 'eslint';
import tseslint from 'typescript-eslint';

import { ROOT } from './support/root.ts';

interface OurConfig {
  readonly HOT_FILES: readonly string[];
  readonly coreRules: Linter.RulesRecord;
  hotSyntax(calls?: string): readonly object[];
}
const ours = (await import(pathToFileURL(join(ROOT, 'eslint.config.js')).href)) as OurConfig;

function complaints(code: string, rules: Linter.RulesRecord): number {
  const parser = tseslint.parser as Linter.Parser;
  const config: Linter.Config = { files: ['**/*.ts'], languageOptions: { parser }, rules };
  const messages = new Linter().verify(code, config, { filename: 'a.ts' });
  expect(messages.filter(({ fatal }) => fatal)).toEqual([]);
  return messages.length;
}

describe('a hot file', () => {
  const rules: Linter.RulesRecord = { 'no-restricted-syntax': ['error', ...ours.hotSyntax()] };

  it.each([
    'function f() { return () => 1; }',
    'class A { m() { function g() {} } }',
    'class A { m() { return { a: 1 }; } }',
    'const f = () => [1];',
    'class A { m() { return new B(); } }',
    'class A { m() { this.pool = new Pool(4, () => new B(this)); } }',
    'const make = () => new B();',
    'class A { m(bio: Bio) { this.g(...args); } }',
    'function f(...rest: number[]) {}',
    'function f() { for (const a of b) a(); }',
    'function f() { const [a] = b; }',
    'function f([a]: number[]) {}',
    'function f(a = {}) {}',
    'async function f() {}',
    'function f() { return 1n; }',
    ...['subarray', 'slice', 'map', 'filter', 'bind'].map(
      (call) => `function f() { a.${call}(b); }`,
    ),
    // A closure made in a constructor is a hot body again.
    'class A { constructor() { this.done = () => { this.list = [1]; }; } }',
  ])('refuses %s', (code) => {
    expect(complaints(code, rules)).toBeGreaterThan(0);
  });

  it.each([
    'const TABLE = { a: [1, 2] } as const; const m = new Map([...TABLE.a]);',
    'class A { list = [1]; constructor() { this.b = new B({ c: [1] }); this.done = () => this.end(); } }',
    'class A { constructor() { this.pool = new Pool(4, () => new B(this)); } }',
    'function f(a: { b: number }): [number, number] { throw new E({ a, list: [1] }); }',
    'class A { m(bio: Bio): void { const { op } = bio; for (let i = 0; i < 2; i++) this.g(op, i, 2 ** 32); } }',
  ])('allows %s', (code) => {
    expect(complaints(code, rules)).toBe(0);
  });

  it('may call target.map(bio) in a table, and nothing else of the list', () => {
    const table: Linter.RulesRecord = {
      'no-restricted-syntax': ['error', ...ours.hotSyntax('subarray|slice|filter|bind')],
    };
    expect(complaints('function f() { target.map(bio); }', table)).toBe(0);
    expect(complaints('function f() { a.slice(1); }', table)).toBe(1);
  });

  it('is named by a path in core/ or daemon/, once', () => {
    expect(new Set(ours.HOT_FILES).size).toBe(ours.HOT_FILES.length);
    for (const path of ours.HOT_FILES)
      expect(path).toMatch(/^(core|daemon)\/[a-z-]+\/[a-z-]+\.ts$/);
  });
});

describe('core/', () => {
  it.each([
    "import fs from 'node:fs';",
    "import type { Stats } from 'fs';",
    "export * from 'node:fs/promises';",
    'process.exit(1);',
    'const a = Buffer.alloc(1);',
    'setTimeout(f, 1);',
    'setImmediate(f);',
    'queueMicrotask(f);',
    'const now = Date.now();',
    'const now = new Date();',
    'const now = performance.now();',
    'console.log(1);',
    'globalThis.a = 1;',
    'const a = Math.random();',
    'const { random } = Math;',
  ])('refuses %s', (code) => {
    expect(complaints(code, ours.coreRules)).toBeGreaterThan(0);
  });

  it.each(["import { assert } from './assert.ts';", 'const a = Math.trunc(1.5);'])(
    'allows %s',
    (code) => {
      expect(complaints(code, ours.coreRules)).toBe(0);
    },
  );
});
