import { isPowerOfTwo, SECTOR_SIZE, sectorsCeil } from '../base/units.ts';
import { diskLogBytes } from '../mirror/disk-log-format.ts';
import type { BlockDevice } from '../block/device.ts';
import { escapeWord, parseCount, parseSectors, splitWords } from './args.ts';
import { TableError } from './target.ts';
import type { DeviceReference, Target, TargetEnvironment, TargetType } from './target.ts';

/** The kernel stops at 9 (kcopyd's 8 destinations and a source); we at the bits of a dm-io write. */
const LEGS_MIN = 2;
const LEGS_MAX = 64;
/** The kernel's smallest region. */
const REGION_SECTORS_MIN = 2;

const USAGE = 'LOGTYPE #LOGARGS LOGARGS... #MIRRORS {DEV OFFSET}... [#FEATURES FEATURE...]';
const LOG_USAGE =
  'core #ARGS REGION_SIZE [sync|nosync], native #ARGS REGION_SIZE [sync|nosync] [external:DIR] ' +
  'or disk #ARGS LOGDEV REGION_SIZE [sync|nosync]';
/** Before the folder, in a table and on a command line. */
export const EXTERNAL = 'external:';
const LOG_TYPES = ['core', 'disk', 'native'] as const;
/** Where dirty regions are remembered: nowhere, on a device of their own, on the legs (ours alone). */
export type MirrorLogType = (typeof LOG_TYPES)[number];

interface MirrorLegArgs {
  readonly path: string;
  readonly startSector: number;
}

interface MirrorFeatures {
  /** A leg that fails is dropped and the rest goes on; without it errors reach the caller. */
  readonly handleErrors: boolean;
  /** The log outlives the failure of the default leg; only with handleErrors. */
  readonly keepLog: boolean;
}

/** What a mirror line says. */
export interface MirrorArgs {
  readonly logType: MirrorLogType;
  /** The device of a `disk` log; null: another log. */
  readonly logDevice: string | null;
  readonly regionSectors: number;
  /** `sync`: copy everything again; `nosync`: the legs are equal already; else the log decides. */
  readonly sync: 'sync' | 'nosync' | undefined;
  /** Of the native log: where the legs' metadata is kept, a file a leg; null: on the legs. */
  readonly metadataFolder: string | null;
  readonly legs: readonly MirrorLegArgs[];
  readonly features: MirrorFeatures;
}

/** What a mirror is made of: its line, its part of the mapped device, its type for `Target.type`. */
export interface MirrorParts {
  readonly type: TargetType;
  readonly startSector: number;
  readonly sectors: number;
  readonly args: MirrorArgs;
}

/** Makes the target; `devices[i]` is the open device of `parts.args.legs[i]`, that of a log comes last. */
export type BuildMirror = (
  parts: MirrorParts,
  devices: readonly BlockDevice[],
  environment: TargetEnvironment,
) => Target;

/**
 * `mirror`: glue between the table line and core/mirror, which `build` calls. `legsMin`: 1 for a
 * mirror that runs or has run, for a leg may have been removed.
 */
export function createMirrorTargetType(build: BuildMirror, legsMin = LEGS_MIN): TargetType {
  const type: TargetType = {
    name: 'mirror',
    version: [1, 15, 0],
    parse(startSector, sectors, words) {
      const args = parseMirrorArgs(sectors, words, legsMin);
      const legs = args.legs.map((leg) => ({ ...leg, sectors, writable: true }));
      const devices: readonly DeviceReference[] = [...legs, ...logReferences(sectors, args)];
      const parts = { type, startSector, sectors, args };
      return {
        type,
        devices,
        build: (legs, environment) => build(parts, legs, environment),
      };
    },
  };
  return type;
}

/**
 * Reads `LOGTYPE #LOGARGS LOGARGS... #MIRRORS {DEV OFFSET}xN [#FEATURES FEATURE...]`.
 * @throws TableError what is wrong, in the user's words
 */
export function parseMirrorArgs(
  sectors: number,
  args: readonly string[],
  legsMin = LEGS_MIN,
): MirrorArgs {
  const words = new Words(args);
  const logType = words.next('the log type');
  const known = LOG_TYPES.find((each) => each === logType);
  if (known === undefined) {
    throw new TableError(
      `unknown mirror log ${JSON.stringify(logType)}, known are ${LOG_TYPES.join(', ')}`,
    );
  }
  const log = parseLog(sectors, known, words.group('the number of log arguments'));
  const legs = parseLegs(words, legsMin);
  const shifted = legs.find(({ startSector }) => startSector !== 0);
  if (known === 'native' && shifted !== undefined) {
    throw new TableError(
      `the offset on ${shifted.path} is ${shifted.startSector}: with the native log a leg is used from 0 on`,
    );
  }
  if (legs.some(({ path }) => path === log.logDevice)) {
    throw new TableError(`the log is on ${log.logDevice}, which is a leg`);
  }
  const features = words.isEmpty ? [] : words.group('the number of features');
  if (!words.isEmpty) {
    throw new TableError(`mirror has too many arguments, from ${words.next('')} on: ${USAGE}`);
  }
  return { ...log, legs, features: parseFeatures(features) };
}

/** The way back: `parseMirrorArgs` of its words gives the same again. */
export function formatMirrorArgs(args: MirrorArgs): string {
  const log = [
    ...(args.logDevice === null ? [] : [escapeWord(args.logDevice)]),
    args.regionSectors,
    ...(args.sync === undefined ? [] : [args.sync]),
    ...(args.metadataFolder === null ? [] : [escapeWord(EXTERNAL + args.metadataFolder)]),
  ];
  const legs = args.legs.map((leg) => `${escapeWord(leg.path)} ${leg.startSector}`);
  const features = [
    ...(args.features.handleErrors ? ['handle_errors'] : []),
    ...(args.features.keepLog ? ['keep_log'] : []),
  ];
  const words = [args.logType, log.length, ...log, legs.length, ...legs];
  if (features.length > 0) words.push(features.length, ...features);
  return words.join(' ');
}

/** A mirror's table line with other legs. */
export function withMirrorLegs(line: string, legs: MirrorArgs['legs']): string {
  const [start = '', length = '', type = '', ...words] = splitWords(line);
  const args = parseMirrorArgs(Number(length), words, 1);
  return `${start} ${length} ${type} ${formatMirrorArgs({ ...args, legs })}`;
}

function parseLog(
  sectors: number,
  logType: MirrorLogType,
  logArgs: readonly string[],
): Pick<MirrorArgs, 'logType' | 'logDevice' | 'regionSectors' | 'sync' | 'metadataFolder'> {
  const last = logArgs.at(-1);
  const place = logType === 'native' && last?.startsWith(EXTERNAL) === true ? last : undefined;
  const metadataFolder = place === undefined ? null : parseFolder(place);
  const words = place === undefined ? logArgs : logArgs.slice(0, -1);
  const [logDevice, rest] = logType === 'disk' ? [words[0] ?? null, words.slice(1)] : [null, words];
  const [regionWord, sync] = rest;
  if (regionWord === undefined || rest.length > 2) {
    const counts = { core: '1 or 2', disk: '2 or 3', native: '1 to 3' }[logType];
    throw new TableError(`the ${logType} log takes ${counts} arguments: ${LOG_USAGE}`);
  }
  const regionSectors = parseSectors(regionWord, 'the region size');
  if (!isPowerOfTwo(regionSectors) || regionSectors < REGION_SECTORS_MIN) {
    throw new TableError(
      `the region size is ${regionSectors} sectors, ` +
        `a power of two of at least ${REGION_SECTORS_MIN} is wanted`,
    );
  }
  if (regionSectors > sectors) {
    throw new TableError(
      `the region size is ${regionSectors} sectors, more than the target's length ${sectors}`,
    );
  }
  if (sync !== undefined && sync !== 'sync' && sync !== 'nosync') {
    throw new TableError(`${JSON.stringify(sync)} after the region size, sync or nosync is wanted`);
  }
  return { logType, logDevice, regionSectors, sync, metadataFolder };
}

function parseFolder(place: string): string {
  const folder = place.slice(EXTERNAL.length);
  if (folder !== '' && !/[\0\n\r]/.test(folder)) return folder;
  throw new TableError(`${JSON.stringify(place)}: ${EXTERNAL} and the path of a folder is wanted`);
}

/** The part of the log's device that the log takes. */
function logReferences(
  sectors: number,
  { logDevice, regionSectors }: MirrorArgs,
): readonly DeviceReference[] {
  if (logDevice === null) return [];
  const bytes = diskLogBytes(Math.ceil(sectors / regionSectors), SECTOR_SIZE);
  return [{ path: logDevice, startSector: 0, sectors: sectorsCeil(bytes), writable: true }];
}

function parseLegs(words: Words, legsMin: number): MirrorLegArgs[] {
  const count = parseCount(words.next('the number of legs'), 'the number of legs');
  if (count < legsMin || count > LEGS_MAX) {
    throw new TableError(`a mirror has ${LEGS_MIN} to ${LEGS_MAX} legs, not ${count}`);
  }
  const legs: MirrorLegArgs[] = [];
  while (legs.length < count) {
    const path = words.next(`the device of leg ${legs.length}`);
    const startSector = parseSectors(
      words.next(`the offset of leg ${legs.length}`),
      `the offset on ${path}`,
    );
    const twin = legs.findIndex((leg) => leg.path === path);
    if (twin !== -1) throw new TableError(`legs ${twin} and ${legs.length} are both ${path}`);
    legs.push({ path, startSector });
  }
  return legs;
}

function parseFeatures(names: readonly string[]): MirrorFeatures {
  for (const name of names) {
    if (name === 'handle_errors' || name === 'keep_log') continue;
    throw new TableError(
      `unknown mirror feature ${JSON.stringify(name)}, known are handle_errors, keep_log`,
    );
  }
  const features = {
    handleErrors: names.includes('handle_errors'),
    keepLog: names.includes('keep_log'),
  };
  if (features.keepLog && !features.handleErrors) {
    throw new TableError('the mirror feature keep_log needs handle_errors too');
  }
  return features;
}

/** The arguments, taken one after the other. */
class Words {
  private readonly words: readonly string[];
  private taken = 0;

  constructor(words: readonly string[]) {
    this.words = words;
  }

  get isEmpty(): boolean {
    return this.taken === this.words.length;
  }

  next(what: string): string {
    const word = this.words[this.taken];
    if (word === undefined) throw new TableError(`mirror ends before ${what}: ${USAGE}`);
    this.taken += 1;
    return word;
  }

  /** `N WORD...`: a count and as many words. */
  group(what: string): string[] {
    const count = parseCount(this.next(what), what);
    const left = this.words.length - this.taken;
    if (count > left) {
      throw new TableError(`${what} is ${count}, but only ${left} arguments follow`);
    }
    this.taken += count;
    return this.words.slice(this.taken - count, this.taken);
  }
}
