import type { Command } from 'commander';
import { Context, withExample } from '../context.ts';

export function addResume(program: Command): void {
  const command = program
    .command('resume')
    .description('make a reloaded table the live one, if there is one, and go on')
    .argument('<NAME>', 'the device');
  withExample(command, 'dmio resume data');
  command.action(async (name: string) => {
    const context = new Context(command);
    const report = await context.call('resume', { name });
    context.print(report, []);
  });
}
