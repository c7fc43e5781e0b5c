// The command line of `npm run bench -- ...`.
import { parseArgs } from 'node:util';

import type { MatrixName } from './matrix.ts';
import { SERVERS } from './servers.ts';
import type { Server } from './servers.ts';

export const USAGE = `npm run bench -- [options]
  --quick            a dozen rows, 3 rounds of 2 s (about 15 minutes)
  --full             the product of all axes, for use with --only
  --rounds N         rounds of each cell (default 5)
  --seconds S        seconds of each turn (default 3)
  --only REGEX       only rows of either table whose name matches
  --servers LIST     only these, with commas: ${SERVERS.map(({ id }) => id).join(',')}
  --size S           size of a leg, as 512M or 2G (default 1G)
  --dir DIR          where the legs go: a real disk (default ./var)
  --json FILE        everything measured, every sample
  --realtime         servers and clients before everything else (SCHED_RR, as root): for a machine
                     that others use; in autogroups nice does not help between sessions
  --list             print the names of the rows, and stop
  --help             this`;

export interface Options {
  readonly matrix: MatrixName;
  readonly rounds: number;
  readonly seconds: number;
  readonly warmSeconds: number;
  readonly only: RegExp | undefined;
  readonly servers: readonly Server[];
  readonly sizeBytes: number;
  readonly dir: string | undefined;
  readonly json: string | undefined;
  readonly realtime: boolean;
  readonly list: boolean;
  readonly help: boolean;
}

/** A load of a few seconds warms caches and compilers in the first of them. */
const WARM_SECONDS = 0.5;

/** @throws with one line for the user */
export function parseOptions(args: readonly string[]): Options {
  const { values } = parseArgs({
    args: [...args],
    options: {
      quick: { type: 'boolean', default: false },
      full: { type: 'boolean', default: false },
      rounds: { type: 'string' },
      seconds: { type: 'string' },
      only: { type: 'string' },
      servers: { type: 'string' },
      size: { type: 'string', default: '1G' },
      dir: { type: 'string' },
      json: { type: 'string' },
      realtime: { type: 'boolean', default: false },
      list: { type: 'boolean', default: false },
      help: { type: 'boolean', default: false },
    },
  });
  const { quick, full } = values;
  if (quick && full) throw new Error('--quick and --full exclude each other');
  const seconds = positive('--seconds', values.seconds ?? (quick ? '2' : '3'));
  const rounds = positive('--rounds', values.rounds ?? (quick ? '3' : '5'));
  if (!Number.isInteger(rounds)) throw new Error('--rounds: expected a whole number');
  return {
    matrix: quick ? 'quick' : full ? 'full' : 'standard',
    rounds,
    seconds,
    warmSeconds: Math.min(WARM_SECONDS, seconds),
    only: values.only === undefined ? undefined : regexOf(values.only),
    servers: values.servers === undefined ? SERVERS : serversOf(values.servers),
    sizeBytes: sizeOf(values.size),
    dir: values.dir,
    json: values.json,
    realtime: values.realtime,
    list: values.list,
    help: values.help,
  };
}

function positive(name: string, text: string): number {
  const value = Number(text);
  if (text.trim() === '' || !Number.isFinite(value) || value <= 0) {
    throw new Error(`${name} ${text}: expected a number above 0`);
  }
  return value;
}

function regexOf(text: string): RegExp {
  try {
    return new RegExp(text);
  } catch {
    throw new Error(`--only ${text}: not a regular expression`);
  }
}

function serversOf(list: string): readonly Server[] {
  const wanted = list.split(',');
  const unknown = wanted.find((id) => !SERVERS.some((server) => server.id === id));
  if (unknown !== undefined) {
    const known = SERVERS.map(({ id }) => id).join(', ');
    throw new Error(`--servers ${unknown}: expected some of ${known}`);
  }
  return SERVERS.filter(({ id }) => wanted.includes(id));
}

const UNITS: Readonly<Record<string, number>> = { M: 2 ** 20, G: 2 ** 30 };
/** The largest request of a row times its depth and connections fits, with room. */
const SMALLEST_BYTES = 16 * 2 ** 20;

function sizeOf(text: string): number {
  const [, digits = '', unit = ''] = /^(\d+)([MG])$/.exec(text) ?? [];
  const bytes = Number(digits) * (UNITS[unit] ?? NaN);
  if (!(bytes >= SMALLEST_BYTES)) throw new Error(`--size ${text}: expected 16M or more`);
  return bytes;
}
