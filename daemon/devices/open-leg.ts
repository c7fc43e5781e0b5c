/** What a LEG may be, and who opens each kind. */
import type { Clock, Log } from '../../core/base/ports.ts';
import type { CacheMode } from '../../core/control/cache.ts';
import type { Loop } from '../../core/block/loop.ts';
import type { Remembered } from '../../core/remote/witness.ts';
import { parseNbdUri } from '../../core/nbd/uri.ts';
import { openFileDevice } from '../fsio/engine.ts';
import type { FileDevice } from '../fsio/file-device.ts';
import { OpenError } from '../fsio/open-error.ts';
import { openRemoteLeg, type RemoteLeg } from '../remote/leg.ts';

/** An open leg: a device, and how it is given back. */
export type LegDevice = FileDevice | RemoteLeg;

export interface OpenLegOptions {
  readonly loop: Loop;
  readonly clock: Clock;
  readonly log: Log;
  readonly readOnly: boolean;
  /** Where nothing is: make it, this long. Only a file can be made. */
  readonly createBytes: number | null;
  /** Of files and block devices; undefined: their kind's default. */
  readonly cache: CacheMode | undefined;
  /** Of a remote leg: what it must hold, as far as that is known. */
  readonly remembered?: readonly Remembered[];
  readonly isOther?: boolean;
}

interface LegKind {
  readonly matches: RegExp;
  /** What is wrong with the words; undefined: nothing. */
  problem(leg: string): string | undefined;
  open(leg: string, options: OpenLegOptions): Promise<LegDevice>;
}

function uriProblem(leg: string): string | undefined {
  const uri = parseNbdUri(leg);
  return typeof uri === 'string' ? uri : undefined;
}

const never = (leg: string): never => {
  throw new OpenError('uri', `${leg}: ${kindOf(leg).problem(leg) ?? 'it cannot be opened'}`);
};

/** The first that matches; what is none of the others is a path. */
const KINDS: readonly LegKind[] = [
  { matches: /^nbds?(?:\+unix)?:\/\//, problem: uriProblem, open: openRemoteLeg },
  { matches: /^/, problem: () => undefined, open: openFile },
];

function kindOf(leg: string): LegKind {
  const kind = KINDS.find(({ matches }) => matches.test(leg));
  return kind ?? never(leg);
}

/** What is wrong with the words of a leg, whatever is there; undefined: nothing. */
export function legProblem(leg: string): string | undefined {
  return kindOf(leg).problem(leg);
}

/** @throws OpenError */
export function openLeg(leg: string, options: OpenLegOptions): Promise<LegDevice> {
  return kindOf(leg).open(leg, options);
}

function openFile(leg: string, options: OpenLegOptions): Promise<FileDevice> {
  const { loop, readOnly, createBytes, cache } = options;
  const create = createBytes === null ? {} : { create: { sizeBytes: createBytes } };
  return openFileDevice(leg, { loop, readOnly, exclusive: true, ...create, cache });
}
