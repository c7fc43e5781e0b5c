import { availableParallelism } from 'node:os';
import type { Command } from 'commander';
import { Context, countOption, withExample } from '../context.ts';

/** More than one processor can keep busy is of no use; more than four never was in measurements. */
const MOST_CONNECTIONS = 4;

interface AttachOptions {
  connections?: number;
  timeout?: number;
  deadTimeout?: number;
}

export function addAttach(program: Command): void {
  const command = program
    .command('attach')
    .description('make a device a block device of this machine, /dev/nbdN')
    .argument('<NAME>', 'the device')
    .argument('[DEVICE]', '/dev/nbdN; without it, the first that is free')
    .option(
      '--connections <C>',
      'sockets between kernel and daemon (default: 1 a CPU, 4 at most)',
      countOption,
    )
    .option(
      '--timeout <S>',
      'a request without a reply for so long is sent again (default: 10)',
      countOption,
    )
    .option(
      '--dead-timeout <S>',
      'so long I/O waits for a daemon that is away, then it fails (default: 300)',
      countOption,
    );
  withExample(command, 'dmio attach data', 'dmio attach data /dev/nbd3 --connections 2');
  command.action(async (name: string, device: string | undefined, options: AttachOptions) => {
    const context = new Context(command);
    const connections = options.connections ?? Math.min(availableParallelism(), MOST_CONNECTIONS);
    const report = await context.call('attach', {
      name,
      device,
      connections,
      timeoutSeconds: options.timeout,
      deadSeconds: options.deadTimeout,
    });
    context.print(report, [report.device]);
    if (report.warning !== null) process.stderr.write(`dmio: warning: ${report.warning}\n`);
  });
}
