import type { Command } from 'commander';
import { Context, withExample } from '../context.ts';
import { ControlError } from '../../core/control/error.ts';
import { columns } from '../text.ts';

export function addDoctor(program: Command): void {
  const command = program
    .command('doctor')
    .description('say what on this machine helps or hinders, and what to do about it');
  withExample(command, 'dmio doctor', 'dmio doctor --json');
  command.action(async () => {
    const context = new Context(command);
    // The daemon's own eyes, in this process: it works when no daemon does.
    const { examineMachine } = await import('../../daemon/doctor.ts');
    const checks = [...(await examineMachine()), await daemonCheck(context)];
    const rows = checks.map(({ name, verdict, finding, remedy }) => [
      SIGNS[verdict],
      name,
      remedy === null ? finding : `${finding} -> ${remedy}`,
    ]);
    context.print({ checks }, columns(rows));
  });
}

const SIGNS = { ok: 'ok', warn: 'warn', bad: 'BAD' } as const;

async function daemonCheck(context: Context) {
  const name = 'daemon';
  try {
    const { version, engine, pid } = await context.call('version', {});
    const finding = `dmiod ${version} on ${context.control}, engine ${engine}, pid ${pid}`;
    return { name, verdict: 'ok', finding, remedy: null } as const;
  } catch (error) {
    if (!(error instanceof ControlError)) throw error;
    const remedy = 'systemctl start dmiod, or name its socket with --control';
    return { name, verdict: 'warn', finding: error.message, remedy } as const;
  }
}
