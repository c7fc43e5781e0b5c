import type { Command } from 'commander';
import { Context, withExample } from '../context.ts';

export function addSuspend(program: Command): void {
  const command = program
    .command('suspend')
    .description('hold back new requests, finish those under way, make all durable')
    .argument('<NAME>', 'the device')
    .option('--noflush', 'do not make durable what is done');
  withExample(command, 'dmio suspend data');
  command.action(async (name: string, { noflush }: { noflush?: boolean }) => {
    const context = new Context(command);
    const report = await context.call('suspend', { name, flush: noflush !== true });
    context.print(report, []);
  });
}
