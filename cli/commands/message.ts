import type { Command } from 'commander';
import { Context, withExample } from '../context.ts';

export function addMessage(program: Command): void {
  const command = program
    .command('message')
    .description('say something to a target of a device, as dmsetup does')
    .argument('<NAME>', 'the device')
    .argument('<ARGS...>', 'the words; a number first is the sector that picks the target (0)');
  withExample(command, 'dmio message disk addbadblock 60', 'dmio message disk 0 enable');
  command.action(async (name: string, args: readonly string[]) => {
    const [first = '', ...rest] = args;
    const hasSector = /^\d+$/.test(first);
    const sector = hasSector ? Number(first) : 0;
    if (!Number.isSafeInteger(sector)) command.error(`error: sector ${first} is too large`);
    const words = hasSector ? rest : [...args];
    if (words.length === 0) command.error('error: a message has at least one word');
    const context = new Context(command);
    const report = await context.call('message', { name, sector, words });
    context.print(report, report.answer === '' ? [] : report.answer.split('\n'));
  });
}
