import type { Command } from 'commander';
import { Context, withExample } from '../context.ts';
import { statsLines } from '../format-stats.ts';

export function addStats(program: Command): void {
  const command = program
    .command('stats')
    .description('show counters and latencies of devices and their legs, since they were started')
    .argument('[NAME]', 'one device; without it, all');
  withExample(command, 'dmio stats data', 'dmio --json stats');
  command.action(async (name: string | undefined) => {
    const context = new Context(command);
    const report = await context.call('stats', { name });
    context.print(report, statsLines(report));
  });
}
