import { readFileSync } from 'node:fs';
import type { Command } from 'commander';
import { formatBytes } from '../../core/base/units.ts';
import {
  absoluteLeg,
  Context,
  CACHE_HELP,
  LEG_TIMEOUT_HELP,
  LOG_HELP,
  METADATA_HELP,
  REGION_SIZE_HELP,
  legsOption,
  sizeOption,
  withExample,
  wordsOption,
} from '../context.ts';

interface CreateOptions {
  mirror?: string[];
  table?: string;
  size?: number;
  log?: string;
  metadata?: string;
  regionSize?: number;
  readPolicy?: string;
  cache?: string[];
  legTimeout?: string[];
  writeMostly?: string[];
  assumeClean?: boolean;
  readOnly?: boolean;
  force?: boolean;
}

export function addCreate(program: Command): void {
  const command = program
    .command('create')
    .description('make a device and export it; it comes back at the next start')
    .argument('<NAME>', 'device and export name')
    .option('--mirror <LEG...>', 'a mirror of 2 to 64 legs', legsOption)
    .option('--table <TABLE>', "table lines, the kernel's, one a target; - reads stdin")
    .option(
      '--size <S>',
      'size; missing leg files are created (default: the smallest leg)',
      sizeOption,
    )
    .option('--log <LOG>', LOG_HELP)
    .option('--metadata <PLACE>', METADATA_HELP)
    .option('--region-size <S>', REGION_SIZE_HELP, sizeOption)
    .option(
      '--read-policy <P>',
      'which leg answers reads: least-pending (default), round-robin, prefer=N',
    )
    .option('--cache <MODE>', CACHE_HELP, wordsOption)
    .option('--leg-timeout <SECONDS>', LEG_TIMEOUT_HELP, wordsOption)
    .option('--write-mostly <LEG...>', 'legs that are read only where no other is good', legsOption)
    .option('--assume-clean', 'the legs are equal already: no first resync')
    .option('--read-only', 'refuse writes')
    .option('--force', 'take legs that carry a file system or other data');
  withExample(
    command,
    'dmio create data --mirror /srv/a.img /srv/b.img --size 1GiB',
    'dmio create fast --mirror /srv/a.img /dev/vdb --cache none',
    "dmio create part --table '0 2048 linear /srv/a.img 0'",
  );
  command.action(async (name: string, options: CreateOptions) => {
    if ((options.mirror === undefined) === (options.table === undefined)) {
      command.error('error: say what to make: either --mirror LEG LEG... or --table TABLE');
    }
    const context = new Context(command);
    const { size, regionSize, table, mirror, writeMostly, ...rest } = options;
    const report = await context.call('create', {
      name,
      ...rest,
      mirror: mirror?.map(absoluteLeg),
      writeMostly: writeMostly?.map(absoluteLeg),
      table: table === '-' ? readFileSync(0, 'utf8') : table,
      cwd: process.cwd(),
      sizeBytes: size,
      regionSizeBytes: regionSize,
    });
    const made = report.createdLegs.map((leg) => `created ${leg}`);
    const facts = `${report.name}  ${formatBytes(report.sizeBytes)}  ${report.uri ?? 'no URI'}`;
    context.print(report, [...made, facts]);
  });
}
