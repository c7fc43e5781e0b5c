import type { Command } from 'commander';
import { Context, withExample } from '../context.ts';
import { dmLines } from '../format.ts';

export function addTable(program: Command): void {
  const command = program
    .command('table')
    .description('print the table lines; `create --table` takes them back')
    .argument('[NAME]', 'one device; without it, all');
  withExample(command, 'dmio table data');
  command.action(async (name: string | undefined) => {
    const context = new Context(command);
    const report = await context.call('table', { name });
    context.print(report, dmLines(report, name !== undefined));
  });
}
