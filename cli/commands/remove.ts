import type { Command } from 'commander';
import { Context, withExample } from '../context.ts';

export function addRemove(program: Command): void {
  const command = program
    .command('remove')
    .description('stop a device and forget it; the data on its legs stays')
    .argument('<NAME>', 'the device')
    .option('--force', 'even while clients are connected');
  withExample(command, 'dmio remove data');
  command.action(async (name: string, options: { force?: boolean }) => {
    const context = new Context(command);
    const report = await context.call('remove', { name, force: options.force });
    const later = report.inConfig ? '; the config file brings it back at the next start' : '';
    context.print(report, [`removed ${report.name}${later}`]);
  });
}
