import type { Command } from 'commander';
import { Context, withExample } from '../context.ts';
import { checkExit, dmLines, statusLines } from '../format.ts';

interface StatusOptions {
  dm?: boolean;
  check?: boolean;
}

export function addStatus(program: Command): void {
  const command = program
    .command('status')
    .description('show devices, their legs and how far they are in sync')
    .argument('[NAME]', 'one device; without it, all')
    .option('--dm', "print the kernel's status lines, as dmsetup does")
    .option('--check', 'exit 0 in sync, 10 degraded, 11 resyncing, 12 failed (the worst decides)');
  withExample(
    command,
    'dmio status data',
    'dmio --json status',
    'dmio status --check || mail root',
  );
  command.action(async (name: string | undefined, options: StatusOptions) => {
    const context = new Context(command);
    if (options.dm === true) {
      const report = await context.call('status-dm', { name });
      context.print(report, dmLines(report, name !== undefined));
      return;
    }
    const report = await context.call('status', { name, cells: mapCells(context, options) });
    if (options.check !== true) {
      context.print(report, statusLines(report.devices));
      return;
    }
    context.print(
      report,
      report.devices.map((device) => `${device.name}: ${device.state}`),
    );
    process.exitCode = checkExit(report.devices);
  });
}

/** What is left of a terminal's line beside the words in front; programs get no map. */
function mapCells(context: Context, { check }: StatusOptions): number | undefined {
  if (context.isJson || check === true) return undefined;
  const width = process.stdout.isTTY ? process.stdout.columns : DEFAULT_WIDTH;
  return Math.max(MIN_CELLS, Math.min(MAX_CELLS, width - LABEL_WIDTH));
}

const DEFAULT_WIDTH = 80;
const LABEL_WIDTH = 12;
const MIN_CELLS = 16;
const MAX_CELLS = 1024;
