/** From table lines to a device: open what they name, put the targets together, all or nothing. */
import { resolve } from 'node:path';
import type { BlockDevice } from '../../core/block/device.ts';
import type { QueueLimits } from '../../core/block/limits.ts';
import type { Loop } from '../../core/block/loop.ts';
import { bytesOfSectors } from '../../core/base/units.ts';
import { escapeWord, splitWords } from '../../core/dm/args.ts';
import { buildTable } from '../../core/dm/build.ts';
import { MappedDevice } from '../../core/dm/mapped-device.ts';
import { parseTable } from '../../core/dm/parse.ts';
import type { TableSpec } from '../../core/dm/parse.ts';
import type { Table } from '../../core/dm/table.ts';
import { createMirrorTargetType, EXTERNAL } from '../../core/dm/target-mirror.ts';
import type { BuildMirror, MirrorArgs, MirrorParts } from '../../core/dm/target-mirror.ts';
import { targetTypes } from '../../core/dm/target-types.ts';
import { TableError } from '../../core/dm/target.ts';
import type { TargetEnvironment, TargetType } from '../../core/dm/target.ts';
import { Export } from '../../core/export/export.ts';
import type { MirrorEvent, ReadPolicy } from '../../core/mirror/options.ts';
import type { MirrorRecorder } from '../../core/mirror/record.ts';
import type { NativeRecorder } from '../../core/mirror/native-recorder.ts';
import { MirrorSet } from '../../core/mirror/set.ts';
import { IoStats } from '../../core/stats/io-stats.ts';
import { ControlError } from '../../core/control/error.ts';
import { isLegUri } from '../../core/control/leg-name.ts';
import { checkDistinct } from '../fsio/engine.ts';
import { checkDistinctExports, type RemotePlan } from '../remote/leg.ts';
import { pathOfNumber } from './device-number.ts';
import { controlErrorOf } from './legs.ts';
import { MirrorTarget } from './mirror-target.ts';
import type { LegPlace, MirrorStart } from './standing.ts';

/** Where a `disk` log is, and of how many regions. */
interface LogPlace {
  readonly device: BlockDevice;
  readonly regions: number;
}

/** How the one mirror of a table comes to life. */
export interface MirrorPlan {
  readonly readPolicy: ReadPolicy;
  /** After how long a leg is given up on; undefined: the default. */
  readonly legTimeoutMs?: (leg: string) => number | undefined;
  readonly recorder: MirrorRecorder;
  readonly onEvent: (event: MirrorEvent) => void;
  /** The last event's number of the mirror that this one replaces. */
  readonly eventNr?: number;
  /** `log`: the device of a `disk` log. */
  start(places: readonly LegPlace[], args: MirrorArgs, log: LogPlace | null): MirrorStart;
}

/** Where the devices of a table come from. */
interface LegSource {
  /** Legs that are not there, and why. */
  readonly missing: ReadonlyMap<string, string>;
  deviceOf(path: string, loop: Loop): BlockDevice;
  /** The device of a leg that the control thread has opened just now. */
  attach(leg: OpenLeg): BlockDevice;
}

/** An open leg, as it crosses threads. */
export interface OpenLeg {
  readonly path: string;
  /** Stays the control thread's to close, and to hold the lock with; -1 for a remote leg. */
  readonly fd: number;
  /** More descriptions of the same file: see daemon/uring/shared-sync.ts. */
  readonly syncFds: readonly number[];
  /** Opened with O_DIRECT. */
  readonly direct: boolean;
  readonly sectors: number;
  readonly limits: QueueLimits;
  /** Another server's export: its connections come by message. */
  readonly remote: RemotePlan | null;
  /** The file that its metadata is in; null: it is in the leg itself, or there is none. */
  readonly metadata: OpenLeg | null;
}

export interface AssemblyRequest {
  readonly name: string;
  readonly table: string;
  readonly legs: LegSource;
  readonly readOnly: boolean;
  readonly mirror: MirrorPlan;
}

export interface Assembled {
  readonly mapped: MappedDevice;
  readonly exported: Export;
  /** That of the live table. */
  mirror: MirrorSet | null;
  /** Who knows what is on the legs of a set with the native log. */
  native: NativeRecorder | null;
  attach(leg: OpenLeg): BlockDevice;
  /** What clients have asked of it, and how long that took. */
  readonly clients: IoStats;
}

const never: BuildMirror = () => {
  throw new Error('this type only reads lines');
};

/** Every target there is, for `dmio targets` and for reading tables. */
export const ALL_TARGET_TYPES: readonly TargetType[] = [
  ...targetTypes,
  createMirrorTargetType(never),
];

/** The same for tables of devices that run or have run: a mirror may be down to one leg. */
const KNOWN_TARGET_TYPES: readonly TargetType[] = [
  ...targetTypes,
  createMirrorTargetType(never, 1),
];

/** As `readTable`, for a table that was in use. */
export function readKnownTable(text: string): TableSpec {
  return readTable(text, KNOWN_TARGET_TYPES);
}

/**
 * Reads a table without touching anything it names.
 * @throws ControlError bad-table
 */
export function readTable(
  text: string,
  types: readonly TargetType[] = ALL_TARGET_TYPES,
): TableSpec {
  try {
    const spec = parseTable(text, types);
    const mirrors = spec.lines.filter((line) => line.spec.type.name === 'mirror');
    const log = linesOf(text)
      .map(logDeviceIn)
      .find((path) => path !== undefined);
    if (log !== undefined && isLegUri(log)) {
      throw new TableError(`the log ${log}: a file or a block device is wanted`);
    }
    if (mirrors.length > 0 && spec.lines.length > 1) {
      throw new TableError('a mirror must be the only target of its table');
    }
    return spec;
  } catch (error) {
    throw tableErrorOf(error);
  }
}

/** Of a line that has been parsed. */
function logDeviceIn(line: string): string | undefined {
  const [, , type, log, , device] = splitWords(line);
  return type === 'mirror' && log === 'disk' ? device : undefined;
}

/** The path of the `disk` log of a table that can be read. */
export function logPathOf(text: string): string | undefined {
  return linesOf(text)
    .map(logDeviceIn)
    .find((path) => path !== undefined);
}

/** True for the lines of a mirror whose legs carry its metadata. */
export function isNativeTable(text: string): boolean {
  return linesOf(text).some((line) => {
    const [, , type, log] = splitWords(line);
    return type === 'mirror' && log === 'native';
  });
}

/** The lines that are targets: no blank ones, no comments. */
export function linesOf(text: string): readonly string[] {
  return text.split(/\r?\n/).filter((line) => !/^\s*(#|$)/.test(line));
}

/** The paths a table names, each as often as it does. */
export function pathsOf(spec: TableSpec): readonly string[] {
  return spec.lines.flatMap((line) => line.spec.devices.map(({ path }) => path));
}

export function isMirror(spec: TableSpec): boolean {
  return spec.lines[0]?.spec.type.name === 'mirror';
}

/**
 * Makes relative device paths of table lines absolute: they were written in the user's folder, or are numbers (`8:16`).
 * @throws ControlError bad-table
 */
export function withAbsolutePaths(text: string, folder: string): string {
  const relative = new Set(
    pathsOf(readTable(text)).filter((path) => !isLegUri(path) && resolve(path) !== path),
  );
  if (relative.size === 0 && !text.includes(EXTERNAL)) return text;
  const number = [...relative].find((path) => /^\d+$/.test(path));
  if (number !== undefined) {
    throw new ControlError('bad-table', `a device called ${number}: write ./${number}`);
  }
  return linesOf(text)
    .map((line) => withAbsoluteWords(line, relative, folder))
    .join('\n');
}

/** START, LEN and TARGET come first; a number is never a path here. */
function withAbsoluteWords(line: string, relative: ReadonlySet<string>, folder: string): string {
  const words = splitWords(line).map((word, i) =>
    i > 2 ? absoluteWord(word, relative, folder) : word,
  );
  return words.map(escapeWord).join(' ');
}

function absoluteWord(word: string, relative: ReadonlySet<string>, folder: string): string {
  if (word.startsWith(EXTERNAL)) return EXTERNAL + resolve(folder, word.slice(EXTERNAL.length));
  return relative.has(word) ? (pathOfNumber(word) ?? resolve(folder, word)) : word;
}

/**
 * A mirror of one file twice is no mirror, whatever links lead there.
 * @throws ControlError bad-leg
 */
export async function refuseTwins(paths: readonly string[]): Promise<void> {
  const twice = paths.find((path, i) => paths.indexOf(path) !== i);
  if (twice !== undefined) throw new ControlError('bad-leg', `leg ${twice} is named twice`);
  try {
    checkDistinctExports(paths);
    await checkDistinct(paths.filter((path) => !isLegUri(path)));
  } catch (error) {
    throw controlErrorOf(error);
  }
}

/**
 * Puts the device together. The legs stay the caller's to close when this fails.
 * @throws ControlError
 */
export function assemble(request: AssemblyRequest, environment: TargetEnvironment): Assembled {
  const { name, readOnly, legs } = request;
  const clients = new IoStats();
  const { table, mirror, native } = assembleTable(request, environment, clients);
  const mapped = new MappedDevice(name, table, environment.loop);
  const watch = { clock: environment.clock, stats: clients };
  const exported = new Export({ name, device: mapped, readOnly, watch });
  return { mapped, exported, mirror, native, clients, attach: (leg) => legs.attach(leg) };
}

/**
 * Puts another table under a device that is suspended and, if it is a mirror, frozen. Its mirror
 * begins when the device is resumed.
 * @throws ControlError the device has its table still
 */
export function swapTable(
  parts: Assembled,
  request: AssemblyRequest,
  environment: TargetEnvironment,
): void {
  const { table, mirror, native } = assembleTable(request, environment, parts.clients);
  parts.native = native;
  if (mirror !== null && parts.mirror !== null) mirror.losses = parts.mirror.losses;
  parts.mirror?.retire();
  parts.mapped.swap(table);
  parts.mirror = mirror;
}

/** @throws ControlError */
export function assembleTable(
  request: AssemblyRequest,
  environment: TargetEnvironment,
  clients = new IoStats(),
): {
  readonly table: Table;
  readonly mirror: MirrorSet | null;
  readonly native: NativeRecorder | null;
} {
  let mirror: MirrorSet | null = null;
  let native: NativeRecorder | null = null;
  const build: BuildMirror = (parts, devices) => {
    const { args } = parts;
    refuseSmallRegions(args.regionSectors, devices.slice(0, args.legs.length));
    const log = logPlaceOf(parts, devices);
    const start = request.mirror.start(placesOf(args, devices, request.legs), args, log);
    native = start.native ?? null;
    mirror = makeSet(request, start, parts, environment, clients);
    return new MirrorTarget(parts, mirror);
  };
  try {
    const { legs, readOnly } = request;
    const spec = readTable(request.table, [...targetTypes, createMirrorTargetType(build, 1)]);
    const devices = spec.lines.map((line) =>
      line.spec.devices.map(({ path }) => legs.deviceOf(path, environment.loop)),
    );
    const table = buildTable(readOnly ? forReadOnly(spec) : spec, devices, environment);
    return { table, mirror, native };
  } catch (error) {
    throw tableErrorOf(error);
  }
}

/** Without writers a reference need not be writable. A mirror heals its legs all the same. */
function forReadOnly(spec: TableSpec): TableSpec {
  if (isMirror(spec)) return spec;
  const lines = spec.lines.map((line) => {
    const devices = line.spec.devices.map((reference) => ({ ...reference, writable: false }));
    return { ...line, spec: { ...line.spec, devices } };
  });
  return { ...spec, lines };
}

/** Regions are copied whole, so they are made of whole blocks of every leg. */
function refuseSmallRegions(regionSectors: number, devices: readonly BlockDevice[]): void {
  for (const { name, limits } of devices) {
    if (bytesOfSectors(regionSectors) >= limits.logicalBlockSize) continue;
    throw new TableError(
      `regions of ${bytesOfSectors(regionSectors)} bytes on leg ${name}, whose blocks have ${limits.logicalBlockSize}: at least one block is wanted`,
    );
  }
}

function logPlaceOf(
  { args, sectors }: MirrorParts,
  devices: readonly BlockDevice[],
): LogPlace | null {
  const device = devices[args.legs.length];
  if (args.logDevice === null || device === undefined) return null;
  return { device, regions: Math.ceil(sectors / args.regionSectors) };
}

function placesOf(
  args: MirrorArgs,
  devices: readonly BlockDevice[],
  legs: LegSource,
): readonly LegPlace[] {
  return args.legs.map(({ path, startSector }, i) => {
    const absence = legs.missing.get(path) ?? null;
    return { path, startSector, device: absence === null ? (devices[i] ?? null) : null, absence };
  });
}

function makeSet(
  { name, mirror }: AssemblyRequest,
  start: MirrorStart,
  { sectors, args }: MirrorParts,
  environment: TargetEnvironment,
  clients: IoStats,
): MirrorSet {
  const { readPolicy, onEvent, eventNr = 0 } = mirror;
  const { regionLog, native: _, ...rest } = start;
  return new MirrorSet({
    ...environment,
    recorder: mirror.recorder,
    ...rest,
    ...(regionLog !== undefined && { regionLog }),
    name,
    sectors,
    regionSectors: args.regionSectors,
    readPolicy,
    legTimeoutMs: mirror.legTimeoutMs,
    clients,
    eventNr,
    onEvent,
  });
}

function tableErrorOf(error: unknown): unknown {
  return error instanceof TableError ? new ControlError('bad-table', error.message) : error;
}
