import type { Command } from 'commander';
import { absoluteLeg, Context, withExample } from '../context.ts';

export function addLeg(program: Command): void {
  const leg = program.command('leg').description('change the legs of a running mirror');
  withExample(leg, 'dmio leg fail data /srv/b.img');
  addLegFail(leg);
}

function addLegFail(leg: Command): void {
  const command = leg
    .command('fail')
    .description('take a leg out of a mirror, as if it had given a write error')
    .argument('<NAME>', 'the device')
    .argument('<LEG>', 'the leg, as `status` names it, or its number');
  withExample(command, 'dmio leg fail data /srv/b.img', 'dmio leg fail data 1');
  command.action(async (name: string, given: string) => {
    const context = new Context(command);
    const wanted = /^\d+$/.test(given) ? given : absoluteLeg(given);
    const report = await context.call('leg-fail', { name, leg: wanted });
    context.print(report, [`${report.name}: leg ${report.index} (${report.leg}) is failed`]);
  });
}
