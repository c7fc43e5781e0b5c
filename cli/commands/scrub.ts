import { setTimeout as sleep } from 'node:timers/promises';
import type { Command } from 'commander';
import type { ScrubReport } from '../../core/control/status.ts';
import { absoluteLeg, Context, withExample } from '../context.ts';
import { scrubLines, scrubText } from '../format-upkeep.ts';

interface ScrubOptions {
  repair?: boolean;
  from?: string;
  stop?: boolean;
  restart?: boolean;
  background?: boolean;
}

const LOOK_EVERY_MS = 250;

export function addScrub(program: Command): void {
  const command = program
    .command('scrub')
    .description('compare all legs of a mirror that are in sync; waits for the result')
    .argument('<NAME>', 'the device')
    .option('--repair', 'write what the majority of three or more legs holds over the others')
    .option('--from <LEG>', 'with --repair: where legs differ, this one is right')
    .option('--stop', 'stop the scrub that runs; the next one goes on from there')
    .option('--restart', 'from the beginning, even if one was stopped half-way')
    .option('--background', 'do not wait: `status` and `events` show how it goes');
  withExample(
    command,
    'dmio scrub data',
    'dmio scrub data --repair --from /srv/a.img',
    'dmio --json scrub data',
  );
  command.addHelpText(
    'after',
    '\nInterrupting this command leaves the scrub running; --stop ends it.',
  );
  command.action(async (name: string, options: ScrubOptions) => {
    const { repair, from, stop, restart, background } = options;
    if (from !== undefined && repair !== true) command.error('error: --from goes with --repair');
    if (stop === true && (repair === true || restart === true)) {
      command.error('error: --stop goes alone');
    }
    const context = new Context(command);
    const wanted = from === undefined || /^\d+$/.test(from) ? from : absoluteLeg(from);
    let report = await context.call('scrub', {
      name,
      action: stop === true ? 'stop' : 'start',
      repair: repair !== true ? 'none' : wanted === undefined ? 'majority' : 'from-leg',
      from: wanted,
      anew: restart === true,
    });
    if (stop !== true && background !== true) report = await watch(context, report);
    const { devices } = await context.call('status', { name });
    context.print(report, scrubLines(name, report.scrub, devices[0]?.legs ?? []));
    if (report.scrub?.state === 'failed') process.exitCode = 1;
  });
}

/** Until it ends; a terminal sees how far it is. */
async function watch(context: Context, first: ScrubReport): Promise<ScrubReport> {
  const { name } = first;
  let report = first;
  const isShown = process.stderr.isTTY && !context.isJson;
  while (report.scrub?.state === 'running') {
    if (isShown) process.stderr.write(`\r\u001b[K${name}: ${scrubText(report.scrub)}`);
    await sleep(LOOK_EVERY_MS);
    report = await context.call('scrub', { name, action: 'show' });
  }
  if (isShown) process.stderr.write('\r\u001b[K');
  return report;
}
