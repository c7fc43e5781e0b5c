import type { Command } from 'commander';
import { Context, withExample } from '../context.ts';
import { listLines } from '../format.ts';

export function addLs(program: Command): void {
  const command = program.command('ls').description('list the devices');
  withExample(command, 'dmio ls');
  command.action(async () => {
    const context = new Context(command);
    const report = await context.call('ls', {});
    context.print(report, listLines(report));
  });
}
