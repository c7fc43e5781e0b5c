// The Jest reporter that ends the whole output with `N passed, N failed, N skipped`, which CI and
// people read. It is written when the process exits, so nothing Jest still has to say comes after it.

/** The part of Jest's AggregatedResult that is counted. */
export interface RunResults {
  readonly numPassedTests: number;
  readonly numFailedTests: number;
  readonly numPendingTests: number;
  readonly numTodoTests: number;
  /** Files that failed as files: they did not load, held no test, or an afterAll threw. */
  readonly numRuntimeErrorTestSuites: number;
}

export interface Closing {
  readonly line: string;
  readonly ok: boolean;
}

/** A file that failed as a file counts as one failed test; a run in which nothing ran is not a success. */
export function closingOf(results: RunResults): Closing {
  const passed = results.numPassedTests;
  const failed = results.numFailedTests + results.numRuntimeErrorTestSuites;
  const skipped = results.numPendingTests + results.numTodoTests;
  return {
    line: `${passed} passed, ${failed} failed, ${skipped} skipped`,
    ok: failed === 0 && passed > 0,
  };
}

/** Before onRunComplete nothing has run; an exit at that point must say so. */
const NOTHING_RAN: RunResults = {
  numPassedTests: 0,
  numFailedTests: 0,
  numPendingTests: 0,
  numTodoTests: 0,
  numRuntimeErrorTestSuites: 0,
};

export default class ClosingLineReporter {
  private closing: Closing = closingOf(NOTHING_RAN);

  constructor() {
    process.on('exit', (code) => {
      process.stdout.write(`${this.closing.line}\n`);
      if (code === 0 && !this.closing.ok) process.exitCode = 1;
    });
  }

  onRunComplete(_contexts: unknown, results: RunResults): void {
    this.closing = closingOf(results);
  }

  /** Jest asks every reporter at the end; an Error here makes the run a failure. */
  getLastError(): Error | undefined {
    return this.closing.ok ? undefined : new Error(this.closing.line);
  }
}
