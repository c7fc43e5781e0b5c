import type { Command } from 'commander';
import { VERSION } from '../../core/control/version.ts';
import { ControlError } from '../../core/control/error.ts';
import { Context, withExample } from '../context.ts';

export function addVersion(program: Command): void {
  const command = program.command('version').description('print the versions of dmio and dmiod');
  withExample(command, 'dmio version');
  command.action(async () => {
    const context = new Context(command);
    const dmio = `dmio     ${VERSION}`;
    try {
      const daemon = await context.call('version', {});
      const { version, protocol, engine, node, pid } = daemon;
      const about = `(protocol ${protocol}, engine ${engine}, Node ${node}, pid ${pid})`;
      context.print({ version: VERSION, daemon }, [dmio, `dmiod    ${version} ${about}`]);
    } catch (error) {
      // Half an answer is one: the reason for the other half goes to stderr.
      if (error instanceof ControlError && error.code === 'unreachable') {
        context.print({ version: VERSION, daemon: null }, [dmio]);
      }
      throw error;
    }
  });
}
