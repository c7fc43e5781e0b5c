import type { Command } from 'commander';
import { Context, sizeOption, withExample } from '../context.ts';

export function addResize(program: Command): void {
  const command = program
    .command('resize')
    .description(
      'a device whose legs have grown becomes as long as they have room for, under traffic',
    )
    .argument('<NAME>', 'the device')
    .option('--size <S>', 'this size (default: all there is room for)', sizeOption);
  withExample(command, 'truncate -s 2G /srv/a.img /srv/b.img && dmio resize data');
  command.action(async (name: string, { size }: { size?: number }) => {
    const context = new Context(command);
    const report = await context.call('resize', { name, sizeBytes: size });
    const { attached, warnings, inConfig } = report;
    const hasGrown = report.sizeBytes > report.beforeBytes;
    context.print(report, [
      hasGrown
        ? `${name}: ${report.beforeBytes} -> ${report.sizeBytes} bytes`
        : `${name} has ${report.sizeBytes} bytes, and its legs have room for no more`,
      ...attached.map((device) => `${device}: the kernel knows; grow what is on it`),
      ...warnings,
      ...(inConfig && hasGrown
        ? [`${name}: the config file names its size too, if it has one`]
        : []),
    ]);
  });
}
