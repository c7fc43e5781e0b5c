import { execFile } from 'node:child_process';
import { tmpdir } from 'node:os';

// Debian's tools want Debian's Python (nbdsh does), whatever else comes first on the user's PATH.
const ENVIRONMENT = {
  ...process.env,
  PATH: `/usr/sbin:/usr/bin:/sbin:/bin:${process.env['PATH'] ?? ''}`,
};

interface RunResult {
  /** Null when a signal ended it. */
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** Runs a program to its end, beside the test's own event loop; killed after `timeoutMs`. Litter goes to tmp. */
function run(command: string, args: readonly string[], timeoutMs = 60_000): Promise<RunResult> {
  return new Promise((resolve) => {
    const options = { timeout: timeoutMs, maxBuffer: 2 ** 24, cwd: tmpdir(), env: ENVIRONMENT };
    const child = execFile(command, args, options, (error, stdout, stderr) => {
      // ENOENT and the like have no exit code, and no process either.
      const why = error !== null && child.pid === undefined ? `${error.message}\n` : '';
      resolve({ code: child.exitCode, stdout, stderr: `${why}${stderr}` });
    });
  });
}

/** As `run`, for programs that must succeed: what they printed, or an error that shows it. */
export async function runWell(command: string, args: readonly string[]): Promise<string> {
  const { code, stdout, stderr } = await run(command, args);
  if (code === 0) return stdout;
  throw new Error(`${command} ${args.join(' ')}: exit ${String(code)}\n${stdout}\n${stderr}`);
}
