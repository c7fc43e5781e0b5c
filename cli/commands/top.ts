import { setTimeout as sleep } from 'node:timers/promises';
import type { Command } from 'commander';
import { InvalidArgumentError } from 'commander';
import { Context, countOption, withExample } from '../context.ts';
import { topLines } from '../format-stats.ts';

interface TopOptions {
  interval: number;
  count?: number;
}

/** Home, and what is below goes: a frame is drawn over the last one without a flicker. */
const HOME = '\u001b[H';
const CLEAR_LINE = '\u001b[K';
const CLEAR_BELOW = '\u001b[J';

export function addTop(program: Command): void {
  const command = program
    .command('top')
    .description('watch what devices and legs do; without a terminal, a frame after the other')
    .option('--interval <S>', 'seconds between frames', secondsOption, 1)
    .option('--count <N>', 'end after N frames', countOption);
  withExample(command, 'dmio top', 'dmio top --count 1 --interval 5');
  command.action(async ({ interval, count }: TopOptions) => {
    const context = new Context(command);
    let before = await context.call('stats', {});
    for (let frame = 0; count === undefined || frame < count; frame += 1) {
      await sleep(interval * 1000);
      const now = await context.call('stats', {});
      draw(topLines(before, now), context, { before, now });
      before = now;
    }
  });
}

function draw(lines: readonly string[], context: Context, reports: object): void {
  if (context.isJson) {
    context.print(reports, []);
  } else if (process.stdout.isTTY) {
    const rows = process.stdout.rows - 1;
    const shown = lines.slice(0, rows).map((line) => `${line.slice(0, process.stdout.columns)}`);
    process.stdout.write(`${HOME}${shown.join(`${CLEAR_LINE}\n`)}${CLEAR_LINE}\n${CLEAR_BELOW}`);
  } else {
    process.stdout.write(`${new Date().toISOString()}\n${lines.join('\n')}\n\n`);
  }
}

function secondsOption(text: string): number {
  const value = /^\d+(?:\.\d+)?$/.test(text) ? Number(text) : NaN;
  if (!(value >= 0.1 && value <= 3600)) throw new InvalidArgumentError('Expected 0.1 to 3600.');
  return value;
}
