import type { Command } from 'commander';
import { Context, countOption, withExample } from '../context.ts';
import { eventLine } from '../format-upkeep.ts';

interface EventsOptions {
  follow?: boolean;
  after?: number;
}

/** One question waits so long; then the next is asked. */
const WAIT_MS = 60_000;

export function addEvents(program: Command): void {
  const command = program
    .command('events')
    .description('what has happened to devices: legs that failed, resyncs, scrubs')
    .argument('[NAME]', 'one device; without it, all')
    .option('--follow', 'go on with what happens from now on, until interrupted')
    .option('--after <SEQ>', 'only events behind this one (seq of the JSON lines)', countOption);
  withExample(command, 'dmio events', 'dmio --json events --follow');
  command.action(async (name: string | undefined, options: EventsOptions) => {
    const context = new Context(command);
    let after = options.after ?? 0;
    let report = await context.call('events', { name, after });
    for (;;) {
      if (report.lost > 0 && after > 0) {
        process.stderr.write(`dmio: ${report.lost} events are too long ago\n`);
      }
      for (const event of report.events) context.print(event, [eventLine(event)]);
      if (options.follow !== true) return;
      after = report.lastSeq;
      report = await context.call('events', { name, after, waitMs: WAIT_MS });
    }
  });
}
