/** What every command has: the daemon, and a way to print for people or for programs. */
import { resolve } from 'node:path';
import type { Command } from 'commander';
import { InvalidArgumentError } from 'commander';
import { parseSize, SIZE_FORMAT } from '../core/base/units.ts';
import { isLegUri } from '../core/control/leg-name.ts';
import type { CommandArgs, CommandName, CommandResults } from '../core/control/messages.ts';
import { call } from './client.ts';

export const DEFAULT_CONTROL = '/run/dmiod/control.sock';

export class Context {
  readonly control: string;
  readonly isJson: boolean;

  constructor(command: Command) {
    const { control, json } = command.optsWithGlobals<{ control?: string; json?: boolean }>();
    this.control = control ?? process.env['DMIO_CONTROL'] ?? DEFAULT_CONTROL;
    this.isJson = json === true;
  }

  call<C extends CommandName>(command: C, args: CommandArgs<C>): Promise<CommandResults[C]> {
    return call(this.control, command, args);
  }

  /** `text` is for people: no lines, nothing printed. */
  print(value: unknown, text: readonly string[]): void {
    if (this.isJson) process.stdout.write(`${JSON.stringify(value)}\n`);
    else if (text.length > 0) process.stdout.write(`${text.join('\n')}\n`);
  }
}

/** Every command's help ends so. */
export function withExample(command: Command, ...lines: readonly string[]): Command {
  const label = lines.length === 1 ? 'Example' : 'Examples';
  return command.addHelpText(
    'after',
    `\n${label}:\n${lines.map((line) => `  ${line}`).join('\n')}`,
  );
}

/** An option's parser: `1GiB` -> 1073741824. */
export function sizeOption(text: string): number {
  const bytes = parseSize(text);
  if (bytes === undefined) throw new InvalidArgumentError(`Expected ${SIZE_FORMAT}.`);
  return bytes;
}

/** An option that may be given several times, one word each. */
export function wordsOption(text: string, before: readonly string[] | undefined): string[] {
  return [...(before ?? []), text];
}

export const CACHE_HELP =
  'none (O_DIRECT; default of block devices), writeback (page cache; of files), or LEG=MODE for one leg; may be repeated';

export const LOG_HELP =
  "where the mirror remembers who is in sync and what was being written: native (on the legs), disk=PATH (the kernel's dirty log) or core (memory; default)";

export const METADATA_HELP =
  'of the native log: internal (at the end of each leg; default) or external:DIR, a file a leg there, for legs whose end is taken';

export const REGION_SIZE_HELP =
  'a power of two (default: 512KiB; with the native log more above 512GiB)';

export const LEG_TIMEOUT_HELP =
  'after how many seconds without an answer a leg is taken out (default: 30; 0: never), or LEG=SECONDS; may be repeated';

/** An option's parser: a leg, refused where an option was meant (`--mirror --size 1G a.img`). */
export function legOption(text: string): string {
  if (!text.startsWith('-')) return text;
  throw new InvalidArgumentError(`A leg that begins with - is written ./${text}.`);
}

/** As `legOption`, for an option that takes several. */
export function legsOption(text: string, before: readonly string[] | undefined): string[] {
  return [...(before ?? []), legOption(text)];
}

/** An option's parser: a whole number, 0 or more. */
export function countOption(text: string): number {
  const value = /^\d+$/.test(text) ? Number(text) : NaN;
  if (!Number.isSafeInteger(value)) throw new InvalidArgumentError('Expected a whole number.');
  return value;
}

/** The daemon stands in another folder than the user. */
export function absoluteLeg(leg: string): string {
  return leg === '' || isLegUri(leg) ? leg : resolve(leg);
}
