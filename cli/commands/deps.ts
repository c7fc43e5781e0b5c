import type { Command } from 'commander';
import { Context, withExample } from '../context.ts';

export function addDeps(program: Command): void {
  const command = program
    .command('deps')
    .description('list what a device stands on')
    .argument('<NAME>', 'the device');
  withExample(command, 'dmio deps data');
  command.action(async (name: string) => {
    const context = new Context(command);
    const report = await context.call('deps', { name });
    const list = report.deps.map((dep) => `(${dep})`).join(' ');
    context.print(report, [`${report.deps.length} dependencies  : ${list}`.trimEnd()]);
  });
}
