import { Argument } from 'commander';
import type { Command } from 'commander';
import { completionOf, SHELLS } from '../completion.ts';
import type { Shell } from '../completion.ts';
import { withExample } from '../context.ts';
import { manualOf } from '../manual.ts';

export function addCompletion(program: Command): void {
  const command = program
    .command('completion')
    .description('print a completion script for a shell')
    .addArgument(new Argument('<SHELL>', 'which shell').choices(SHELLS));
  withExample(command, 'dmio completion bash > /etc/bash_completion.d/dmio');
  command.action((shell: Shell) => {
    process.stdout.write(completionOf(program, shell));
  });
}

/** For who packages it: not in the help. */
export function addManual(program: Command): void {
  const command = program.command('manual', { hidden: true }).description('print dmio(1) as roff');
  command.action(() => {
    process.stdout.write(manualOf(program));
  });
}
