import type { Command } from 'commander';
import { InvalidArgumentError } from 'commander';
import { Context, countOption, withExample } from '../context.ts';

interface WaitOptions {
  inSync?: boolean;
  event?: number;
  timeout?: number;
}

export function addWait(program: Command): void {
  const command = program
    .command('wait')
    .description('block until a device is in sync, or something has happened to it')
    .argument('<NAME>', 'the device')
    .option('--in-sync', 'until every leg is in sync')
    .option('--event <N>', 'until the event number has passed N', countOption)
    .option('--timeout <S>', 'give up after S seconds, with exit code 1', secondsOption);
  withExample(command, 'dmio wait data --in-sync --timeout 600', 'dmio wait data --event 3');
  command.action(async (name: string, options: WaitOptions) => {
    if ((options.inSync === true) === (options.event !== undefined)) {
      command.error('error: say what to wait for: either --in-sync or --event N');
    }
    const context = new Context(command);
    const timeoutMs = options.timeout === undefined ? undefined : Math.ceil(options.timeout * 1000);
    const report = await context.call('wait', { name, eventNr: options.event, timeoutMs });
    context.print(report, [`${report.name}: ${report.state}, event ${report.eventNr}`]);
  });
}

function secondsOption(text: string): number {
  const value = /^\d+(?:\.\d+)?$/.test(text) ? Number(text) : NaN;
  if (!(value <= 1e9)) throw new InvalidArgumentError('Expected seconds.');
  return value;
}
