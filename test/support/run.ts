import { execFile, spawnSync } from 'node:child_process';
import { tmpdir } from 'node:os';

/**
 * What every program of the tests is given. Debian's tools want Debian's Python (nbdsh does), whatever
 * else comes first on the user's PATH; Jest's own flags are not for children.
 */
export const ENVIRONMENT = {
  ...process.env,
  PATH: `/usr/sbin:/usr/bin:/sbin:/bin:${process.env['PATH'] ?? ''}`,
  NODE_OPTIONS: '',
  DMIO_CONTROL: undefined,
};

const LIMIT_MS = 120_000;
/** Nobody stands still meanwhile: whoever waits has a limit of his own. */
const BESIDE_LIMIT_MS = 900_000;
const MAX_OUTPUT_BYTES = 64 * 1024 * 1024;

export interface Ran {
  /** Null when a signal ended it. */
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** Any program, to its end, in `folder`. The test's own event loop stands still. */
export function run(folder: string, command: string, ...args: readonly string[]): Ran {
  const { status, stdout, stderr, error } = spawnSync(command, args, {
    cwd: folder,
    encoding: 'utf8',
    env: ENVIRONMENT,
    timeout: LIMIT_MS,
    maxBuffer: MAX_OUTPUT_BYTES,
  });
  if (error !== undefined) throw error;
  return { code: status, stdout, stderr };
}

/** As `run`, beside the test's own event loop: for a client of a server in this process. */
export function runBeside(
  folder: string,
  command: string,
  ...args: readonly string[]
): Promise<Ran> {
  return new Promise((resolve) => {
    const limits = { timeout: BESIDE_LIMIT_MS, maxBuffer: MAX_OUTPUT_BYTES };
    const options = { ...limits, cwd: folder, env: ENVIRONMENT };
    const child = execFile(command, args, options, (error, stdout, stderr) => {
      // ENOENT and the like have no exit code, and no process either.
      const why = error !== null && child.pid === undefined ? `${error.message}\n` : '';
      resolve({ code: child.exitCode, stdout, stderr: `${why}${stderr}` });
    });
  });
}

/** As `runBeside`, for programs that must succeed: what they printed. Litter goes to tmp. */
export async function runWell(command: string, args: readonly string[]): Promise<string> {
  const { code, stdout, stderr } = await runBeside(tmpdir(), command, ...args);
  if (code === 0) return stdout;
  throw new Error(`${command} ${args.join(' ')}: exit ${String(code)}\n${stdout}\n${stderr}`);
}
