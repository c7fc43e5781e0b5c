import type { Command } from 'commander';
import { Context, withExample } from '../context.ts';

export function addTargets(program: Command): void {
  const command = program.command('targets').description('list the kinds of targets');
  withExample(command, 'dmio targets');
  command.action(async () => {
    const context = new Context(command);
    const report = await context.call('targets', {});
    context.print(
      report,
      report.targets.map(({ name, version }) => `${name.padEnd(16)} v${version.join('.')}`),
    );
  });
}
