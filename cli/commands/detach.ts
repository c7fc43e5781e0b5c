import { spawnSync } from 'node:child_process';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Command } from 'commander';
import { ControlError } from '../../core/control/error.ts';
import type { DetachReport } from '../../core/control/status.ts';
import { Context, countOption, withExample } from '../context.ts';

/** At a shutdown, who uses a file system is being stopped at the same time. */
const RETRY_MS = 250;
const DEFAULT_TIMEOUT_SECONDS = 60;

interface DetachOptions {
  unmount?: boolean;
  timeout?: number;
}

export function addDetach(program: Command): void {
  const command = program
    .command('detach')
    .description('take /dev/nbdN away again; refused while it is mounted or in use')
    .argument('<NAME|/dev/nbdN>', 'the device, for all it is attached as, or one of them')
    .option('--unmount', 'unmount its file systems first; wait for those who use them')
    .option('--timeout <S>', 'with --unmount: give up after S seconds (default: 60)', countOption);
  withExample(command, 'dmio detach data', 'dmio detach /dev/nbd3 --unmount');
  command.action(async (target: string, options: DetachOptions) => {
    if (options.timeout !== undefined && options.unmount !== true) {
      command.error('error: --timeout goes with --unmount');
    }
    const context = new Context(command);
    const report =
      options.unmount === true
        ? await unmountAndDetach(context, target, options.timeout ?? DEFAULT_TIMEOUT_SECONDS)
        : await context.call('detach', { target });
    context.print(
      report,
      report.detached.map((device) => `detached ${device}`),
    );
  });
}

/** The daemon may live in a name space of its own, so the unmounting is ours. */
async function unmountAndDetach(
  context: Context,
  target: string,
  timeoutSeconds: number,
): Promise<DetachReport> {
  const endMs = performance.now() + timeoutSeconds * 1000;
  for (;;) {
    const { attached } = await context.call('attached', {});
    for (const { device, name, mounts } of attached) {
      if (device !== target && name !== target) continue;
      // What was mounted last lies on top.
      for (const path of [...mounts].reverse()) spawnSync('umount', [path], { stdio: 'ignore' });
    }
    try {
      return await context.call('detach', { target });
    } catch (error) {
      const isBusy = error instanceof ControlError && error.code === 'busy';
      if (!isBusy || performance.now() >= endMs) throw error;
    }
    await sleep(RETRY_MS);
  }
}
