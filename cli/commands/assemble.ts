import type { Command } from 'commander';
import { formatBytes } from '../../core/base/units.ts';
import { absoluteLeg, Context, legsOption, withExample } from '../context.ts';

interface AssembleOptions {
  name?: string;
  force?: boolean;
  metadata?: string;
  moved?: boolean;
}

export function addAssemble(program: Command): void {
  const command = program
    .command('assemble')
    .description(
      'start a mirror from the metadata on its legs, in any order, any subset that is safe',
    )
    .argument('<LEG...>', 'its legs, or those that are there', legsOption)
    .option('--name <N>', 'device and export name (default: as the mirror is called)')
    .option('--force', 'leave out legs that are none of the mirror')
    .option('--metadata <PLACE>', 'where its metadata is: internal (default) or external:DIR')
    .option('--moved', 'legs and external metadata were copied here: believe them');
  withExample(
    command,
    'dmio assemble /srv/a.img /srv/b.img',
    'dmio assemble /srv/b.img --name rescue',
    'dmio assemble /dev/sdb /dev/sdc --metadata external:/srv/meta',
  );
  command.action(async (legs: string[], options: AssembleOptions) => {
    const context = new Context(command);
    const report = await context.call('assemble', {
      legs: legs.map(absoluteLeg),
      cwd: process.cwd(),
      ...options,
    });
    const size = formatBytes(report.sizeBytes);
    const out = report.legs.filter(({ state }) => state !== 'in-sync');
    context.print(report, [
      `${report.name}  ${size}  ${report.state}  ${report.uri ?? 'no URI'}`,
      ...out.map(
        ({ leg, state, reason }) => `${leg} is ${state}${reason === null ? '' : `: ${reason}`}`,
      ),
      ...report.leftOut.map((leg) => `${leg} was left out: it is no leg of this mirror`),
    ]);
  });
}
