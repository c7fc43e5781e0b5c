import type { Command } from 'commander';
import type { LegAddReport, LegReport } from '../../core/control/status.ts';
import { formatBytes } from '../../core/base/units.ts';
import { absoluteLeg, Context, withExample } from '../context.ts';

interface NewLegOptions {
  writeMostly?: boolean;
  create?: boolean;
  force?: boolean;
}

const NAME = ['<NAME>', 'the device'] as const;
const KNOWN_LEG = 'the leg, as `status` names it, or its number';
const NEW_LEG = 'a file or a block device, at least as long as the device';

export function addLeg(program: Command): void {
  const leg = program.command('leg').description('change the legs of a running mirror');
  withExample(
    leg,
    'dmio leg add data /srv/c.img',
    'dmio leg replace data /srv/a.img /srv/new.img',
    'dmio leg re-add data 1',
  );
  addLegAdd(leg);
  addLegFail(leg);
  addLegRemove(leg);
  addLegReAdd(leg);
  addLegReplace(leg);
}

function addLegAdd(leg: Command): void {
  const command = leg
    .command('add')
    .description('one more copy: the leg is overwritten with what the others hold')
    .argument(...NAME)
    .argument('<LEG>', NEW_LEG);
  withNewLegOptions(command);
  withExample(
    command,
    'dmio leg add data /srv/c.img',
    'dmio leg add data /srv/c.img --create',
    'dmio leg add data /mnt/slow/d.img --write-mostly',
  );
  command.action(async (name: string, given: string, options: NewLegOptions) => {
    const context = new Context(command);
    const report = await context.call('leg-add', { name, leg: absoluteLeg(given), ...options });
    context.print(report, addedLines(report));
  });
}

function addLegFail(leg: Command): void {
  const command = leg
    .command('fail')
    .description('take a leg out of a mirror, as if it had given a write error')
    .argument(...NAME)
    .argument('<LEG>', KNOWN_LEG);
  withExample(command, 'dmio leg fail data /srv/b.img', 'dmio leg fail data 1');
  command.action(async (name: string, given: string) => {
    const context = new Context(command);
    const report = await context.call('leg-fail', { name, leg: knownLeg(given) });
    const note = report.state === 'failed' ? '' : ', and does not come back by itself';
    context.print(report, [`${legText(report)} is ${report.state}${note}`]);
  });
}

function addLegRemove(leg: Command): void {
  const command = leg
    .command('remove')
    .description('take a leg out for good and let go of its file; the last good one stays')
    .argument(...NAME)
    .argument('<LEG>', KNOWN_LEG);
  withExample(command, 'dmio leg remove data /srv/b.img', 'dmio leg remove data 1');
  command.action(async (name: string, given: string) => {
    const context = new Context(command);
    const report = await context.call('leg-remove', { name, leg: knownLeg(given) });
    const lines = [`${report.name}: ${report.leg} is removed`];
    if (!report.isReleased) lines.push('its file is let go when the requests there have ended');
    context.print(report, [...lines, ...configLines(report)]);
  });
}

function addLegReAdd(leg: Command): void {
  const command = leg
    .command('re-add')
    .description('take a leg in again; copies only what it lacks, where that is known')
    .argument(...NAME)
    .argument('<LEG>', KNOWN_LEG)
    .option('--force', 'overwrite it even if it carries something of its own now');
  withExample(command, 'dmio leg re-add data /srv/b.img', 'dmio leg re-add data 1');
  command.action(async (name: string, given: string, options: { force?: boolean }) => {
    const context = new Context(command);
    const report = await context.call('leg-re-add', { name, leg: knownLeg(given), ...options });
    context.print(report, [`${legText(report)} is ${report.state}${toCopy(report)}`]);
  });
}

function addLegReplace(leg: Command): void {
  const command = leg
    .command('replace')
    .description('a new leg for an old one, which serves until the new one is in sync')
    .argument(...NAME)
    .argument('<OLD>', KNOWN_LEG)
    .argument('<NEW>', NEW_LEG);
  withNewLegOptions(command);
  withExample(
    command,
    'dmio leg replace data /srv/a.img /srv/new.img && dmio wait data --in-sync',
    'dmio leg replace data 0 /srv/new.img --create',
  );
  command.action(async (name: string, old: string, given: string, options: NewLegOptions) => {
    const context = new Context(command);
    const report = await context.call('leg-replace', {
      name,
      old: knownLeg(old),
      leg: absoluteLeg(given),
      ...options,
    });
    context.print(report, addedLines(report));
  });
}

function withNewLegOptions(command: Command): void {
  command
    .option('--write-mostly', 'read it only where no other leg is good')
    .option('--create', 'make the leg file, as long as the device')
    .option('--force', 'take a leg that carries a file system or other data');
}

function addedLines(report: LegAddReport): string[] {
  const made = report.isCreated ? [`created ${report.leg}`] : [];
  const old = report.replaces === null ? '' : `; ${report.replaces} leaves when it is in sync`;
  return [...made, `${legText(report)} is ${report.state}${toCopy(report)}${old}`].concat(
    configLines(report),
  );
}

/** A number is never a path here: a file called 1 is ./1. */
function knownLeg(given: string): string {
  return /^\d+$/.test(given) ? given : absoluteLeg(given);
}

function legText({ name, index, leg }: LegReport): string {
  return `${name}: leg ${index} (${leg})`;
}

function toCopy({ outOfSyncBytes }: LegReport): string {
  if (outOfSyncBytes === null || outOfSyncBytes === 0) return '';
  return `, ${formatBytes(outOfSyncBytes)} to copy`;
}

function configLines({ inConfig }: { readonly inConfig: boolean }): string[] {
  return inConfig
    ? ['the config file names the old legs: change it before the next start, or it is refused']
    : [];
}
