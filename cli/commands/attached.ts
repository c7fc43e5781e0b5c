import type { Command } from 'commander';
import { Context, withExample } from '../context.ts';
import { attachedLines } from '../format.ts';

export function addAttached(program: Command): void {
  const command = program
    .command('attached')
    .description('list the /dev/nbdN that devices are attached as, and where they are mounted');
  withExample(command, 'dmio attached');
  command.action(async () => {
    const context = new Context(command);
    const report = await context.call('attached', {});
    context.print(report, attachedLines(report));
  });
}
