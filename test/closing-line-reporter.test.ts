import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { closingOf } from './support/closing-line-reporter.ts';
import { ROOT } from './support/root.ts';

const none = {
  numPassedTests: 0,
  numFailedTests: 0,
  numPendingTests: 0,
  numTodoTests: 0,
  numRuntimeErrorTestSuites: 0,
};

describe('the closing line', () => {
  it.each([
    [{ numPassedTests: 3 }, '3 passed, 0 failed, 0 skipped', true],
    [{ numPassedTests: 3, numFailedTests: 1 }, '3 passed, 1 failed, 0 skipped', false],
    [{ numPassedTests: 3, numRuntimeErrorTestSuites: 2 }, '3 passed, 2 failed, 0 skipped', false],
    [
      { numPassedTests: 1, numPendingTests: 1, numTodoTests: 1 },
      '1 passed, 0 failed, 2 skipped',
      true,
    ],
    [{ numPendingTests: 1 }, '0 passed, 0 failed, 1 skipped', false],
    [{}, '0 passed, 0 failed, 0 skipped', false],
  ])('%j gives "%s"', (results, line, ok) => {
    expect(closingOf({ ...none, ...results })).toEqual({ line, ok });
  });
});

// A whole Jest run over planted test files, in a folder of its own: what a shell and CI would see.
describe('a run of Jest', () => {
  let folder = '';
  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'dmiod-jest-'));
    writeFileSync(join(folder, 'package.json'), '{"type":"module"}');
  });
  afterEach(() => {
    rmSync(folder, { recursive: true });
  });

  function run(files: Record<string, string>): {
    lastLine: string | undefined;
    status: number | null;
  } {
    for (const [name, text] of Object.entries(files)) writeFileSync(join(folder, name), text);
    const config = {
      rootDir: folder,
      transform: {},
      testEnvironment: 'node',
      passWithNoTests: true,
      cache: false,
      reporters: ['default', join(ROOT, 'dist/test/support/closing-line-reporter.js')],
    };
    const jest = join(ROOT, 'node_modules/jest/bin/jest.js');
    // stderr joins stdout as in a terminal: the line must be the last of both.
    const { stdout, status } = spawnSync(
      'sh',
      ['-c', 'exec node "$0" --runInBand --config "$1" 2>&1', jest, JSON.stringify(config)],
      { cwd: folder, encoding: 'utf8' },
    );
    expect(stdout.endsWith('\n')).toBe(true);
    return { lastLine: stdout.split('\n').at(-2), status };
  }

  it('counts passed, failed and skipped tests and a file that does not load, and fails', () => {
    const files = {
      'some.test.js': 'it("a",()=>{}); it("b",()=>{throw Error("x")}); it["skip"]("c",()=>{});',
      'broken.test.js': 'import "./absent.js"; it("never",()=>{});',
    };
    expect(run(files)).toEqual({ lastLine: '1 passed, 2 failed, 1 skipped', status: 1 });
  }, 30_000);

  it('exits 0 when all passed, and nothing Jest says late comes after the line', () => {
    // The timer keeps the process alive, so Jest complains "did not exit" after onRunComplete.
    const files = {
      'some.test.js': 'it("a",()=>{ setTimeout(()=>{}, 2500); });',
    };
    expect(run(files)).toEqual({ lastLine: '1 passed, 0 failed, 0 skipped', status: 0 });
  }, 30_000);

  it('fails when no test was found', () => {
    expect(run({})).toEqual({ lastLine: '0 passed, 0 failed, 0 skipped', status: 1 });
  }, 30_000);
});
