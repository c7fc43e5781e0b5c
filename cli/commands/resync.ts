import type { Command } from 'commander';
import { Context, sizeOption, withExample } from '../context.ts';
import { resyncLines } from '../format-upkeep.ts';

interface ResyncOptions {
  pause?: boolean;
  minRate?: number;
  maxRate?: number;
}

export function addResync(program: Command): void {
  const command = program
    .command('resync')
    .description('copy what legs lack, now: ends a pause, tries again what could not be read')
    .argument('<NAME>', 'the device')
    .option('--pause', 'copy nothing but what clients need at once, until the next `resync`')
    .option('--min-rate <S>', 'bytes a second in any case, however busy clients are', sizeOption)
    .option('--max-rate <S>', 'never more bytes a second than this; 0: no limit', sizeOption);
  withExample(command, 'dmio resync data', 'dmio resync data --max-rate 50MiB');
  command.action(async (name: string, { pause, minRate, maxRate }: ResyncOptions) => {
    if (minRate === 0)
      command.error('error: --min-rate 0: a resync that may stand still never ends');
    const context = new Context(command);
    const report = await context.call('resync', {
      name,
      action: pause === true ? 'pause' : 'start',
      minBytesPerSecond: minRate,
      maxBytesPerSecond: maxRate,
    });
    context.print(report, resyncLines(report));
  });
}
