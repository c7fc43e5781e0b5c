import { readFileSync } from 'node:fs';
import type { Command } from 'commander';
import { Context, withExample } from '../context.ts';

export function addReload(program: Command): void {
  const command = program
    .command('reload')
    .alias('load')
    .description('check a table and keep it ready: `resume` makes it the live one')
    .argument('<NAME>', 'the device')
    .requiredOption('--table <TABLE>', "table lines, the kernel's, one a target; - reads stdin")
    .option('--force', 'take legs that carry other data, or are known not to be in sync');
  withExample(
    command,
    "dmio reload data --table '0 2048 linear /srv/a.img 0' && dmio resume data",
    'dmio table data | sed s/b.img/c.img/ | dmio reload data --table -',
  );
  command.action(async (name: string, options: { table: string; force?: boolean }) => {
    const context = new Context(command);
    const { table, force } = options;
    const report = await context.call('reload', {
      name,
      table: table === '-' ? readFileSync(0, 'utf8') : table,
      cwd: process.cwd(),
      force,
    });
    const config = report.inConfig
      ? [`${name}: the config file names this device too; its table there must become this one`]
      : [];
    context.print(report, config);
  });
}

export function addClear(program: Command): void {
  const command = program
    .command('clear')
    .description('forget a reloaded table')
    .argument('<NAME>', 'the device');
  withExample(command, 'dmio clear data');
  command.action(async (name: string) => {
    const context = new Context(command);
    const report = await context.call('clear', { name });
    context.print(report, []);
  });
}
