import type { Command } from 'commander';
import { ControlError } from '../../core/control/error.ts';
import { isLegUri } from '../../core/control/leg-name.ts';
import { absoluteLeg, Context, withExample } from '../context.ts';
import { columns } from '../text.ts';

export function addExamine(program: Command): void {
  const command = program
    .command('examine')
    .description('print the native metadata of a leg; needs no daemon, and changes nothing')
    .argument('<LEG>', 'a file or a block device');
  command.option('--metadata <PLACE>', 'where its metadata is: internal (default) or external:DIR');
  withExample(
    command,
    'dmio examine /srv/a.img',
    'dmio --json examine /dev/sdb1',
    'dmio examine /dev/sdb --metadata external:/srv/meta',
  );
  command.action(async (given: string, { metadata }: { metadata?: string }) => {
    const context = new Context(command);
    if (isLegUri(given)) {
      throw new ControlError('unsupported', `leg ${given}: a file or a block device is wanted`);
    }
    const leg = absoluteLeg(given);
    const { examineLeg } = await import('../../daemon/examine.ts');
    const { description, facts, legs, problem } = await examineLeg(leg, metadata);
    const heading = ['', 'Legs as this one saw them last:'];
    const lines = [...columns(facts), ...heading, ...columns(legs, '  ')];
    context.print({ leg, ...description }, problem === null ? lines : []);
    if (problem !== null) throw new ControlError('bad-leg', `leg ${leg}: ${problem}`);
  });
}
