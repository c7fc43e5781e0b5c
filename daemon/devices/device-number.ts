import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { ControlError } from '../../core/control/error.ts';

const NUMBER = /^\d+:\d+$/;

/**
 * The path of a block device that a table line names by its number, as `dmsetup table` does (`8:16`); undefined: the
 * word is none. The path is what is kept: a number may be another device's after a boot.
 * @throws ControlError bad-table no device has that number
 */
export function pathOfNumber(word: string, sys = '/sys/dev/block'): string | undefined {
  if (!NUMBER.test(word)) return undefined;
  const mapped = textOf(join(sys, word, 'dm/name'))?.trim();
  if (mapped !== undefined) return `/dev/mapper/${mapped}`;
  const name = /^DEVNAME=(.+)$/m.exec(textOf(join(sys, word, 'uevent')) ?? '')?.[1];
  if (name !== undefined) return `/dev/${name}`;
  throw new ControlError(
    'bad-table',
    `no block device has the number ${word} (a file of that name: ./${word})`,
  );
}

function textOf(path: string): string | undefined {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return undefined;
  }
}
