import type { Command } from 'commander';
import { Context, withExample } from '../context.ts';

export function addDetach(program: Command): void {
  const command = program
    .command('detach')
    .description('take /dev/nbdN away again; refused while it is mounted or in use')
    .argument('<NAME|/dev/nbdN>', 'the device, for all it is attached as, or one of them');
  withExample(command, 'dmio detach data', 'dmio detach /dev/nbd3');
  command.action(async (target: string) => {
    const context = new Context(command);
    const report = await context.call('detach', { target });
    context.print(
      report,
      report.detached.map((device) => `detached ${device}`),
    );
  });
}
