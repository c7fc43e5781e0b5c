import type { Command } from 'commander';
import { Context, withExample } from '../context.ts';
import { infoLines } from '../format.ts';

export function addInfo(program: Command): void {
  const command = program
    .command('info')
    .description('print state, open count, event number and size, as dmsetup does')
    .argument('[NAME]', 'one device; without it, all');
  withExample(command, 'dmio info data');
  command.action(async (name: string | undefined) => {
    const context = new Context(command);
    const report = await context.call('info', { name });
    context.print(report, infoLines(report.devices));
  });
}
