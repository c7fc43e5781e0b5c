/** What a new device is to be, checked as far as words alone can be. */
import { SECTOR_SIZE, isPowerOfTwo, bytesOfSectors, sectorsFloor } from '../../core/base/units.ts';
import { cacheModes, type CacheMode } from '../../core/control/cache.ts';
import { ControlError } from '../../core/control/error.ts';
import { legTimeoutError } from '../../core/control/leg-timeout.ts';
import { nameError } from '../../core/control/name.ts';
import type { DeviceSource } from '../../core/control/status.ts';
import { MAX_REGIONS } from '../../core/base/error-bits.ts';
import { formatMirrorArgs, type MirrorLogType } from '../../core/dm/target-mirror.ts';
import { escapeWord } from '../../core/dm/args.ts';
import type { ReadPolicy } from '../../core/mirror/options.ts';
import { externalFolderOf } from './external-metadata.ts';
import { legProblem } from './open-leg.ts';
import { lowerNameOf } from './stack.ts';
import { DEFAULT_READ_POLICY, parseReadPolicy, READ_POLICY_FORMAT } from './read-policy.ts';

/** Exactly one of `mirror`, `linear` and `table` is given. */
export interface DeviceRequest {
  readonly name: string;
  readonly source: DeviceSource;
  readonly mirror?: readonly string[] | undefined;
  readonly linear?: string | undefined;
  readonly table?: string | undefined;
  readonly sizeBytes?: number | undefined;
  readonly log?: string | undefined;
  readonly regionSizeBytes?: number | undefined;
  /** With the native log: `external:DIR`, or `internal`, on the legs. */
  readonly metadataPlace?: string | undefined;
  readonly readPolicy?: string | undefined;
  /** Of legs: see core/control/cache.ts. */
  readonly cache?: readonly string[] | undefined;
  /** After how long a leg is given up on: see core/control/leg-timeout.ts. */
  readonly legTimeout?: readonly string[] | undefined;
  /** Those of `mirror` that are read only where no other leg is good. */
  readonly writeMostly?: readonly string[] | undefined;
  readonly assumeClean: boolean;
  readonly readOnly: boolean;
  /** Missing legs are made, `sizeBytes` long. */
  readonly mayCreate: boolean;
  /** Ends the sentence that says that a leg is missing: what would make it. */
  readonly createHint: string;
  /** What to do about legs of a new mirror that carry data. */
  readonly content: ContentRule;
  /** With the native log: what becomes of legs that are of a mirror already, and of those of none. */
  readonly metadata: MetadataRule;
}

/** `new`: it is written; `start`: it must be there; `start-or-new`: written where no leg has any. */
type MetadataRule = 'new' | 'start' | 'start-or-new';

/** Of `dmio create` and the config file; `dmio serve` has its own. */
const DEFAULT_LOG = 'core' satisfies MirrorLogType;
/** Of `dmio serve`, which leaves nothing on legs that it was not told to. */
export const DEFAULT_SERVE_LOG = 'core' satisfies MirrorLogType;

type ContentRule =
  | { readonly kind: 'take' }
  /** `remedy`: the end of the sentence that refuses. */
  | { readonly kind: 'refuse'; readonly remedy: string }
  /** Copies of one another are welcome: they were a mirror before. */
  | { readonly kind: 'refuse-different'; readonly remedy: string };

const LOG_FORMAT = 'native, core or disk=PATH';
const MIN_LEGS = 2;
const DEFAULT_REGION_BYTES = 512 * 1024;

/** @throws ControlError bad-argument, unsupported */
export function checkRequest(request: DeviceRequest): void {
  const { name, mirror, sizeBytes, regionSizeBytes, log } = request;
  const problem =
    nameError(name) ?? kindError(request) ?? legsError(mirror) ?? writeMostlyError(request);
  if (problem !== undefined) throw bad(problem);
  if (sizeBytes !== undefined && (sizeBytes === 0 || sizeBytes % SECTOR_SIZE !== 0)) {
    throw bad(`size ${sizeBytes}: a multiple of ${SECTOR_SIZE} bytes above 0 is wanted`);
  }
  if (regionSizeBytes !== undefined && !isRegionSize(regionSizeBytes)) {
    throw bad(`region size ${regionSizeBytes}: a power of two of at least 1024 bytes is wanted`);
  }
  if (log !== undefined) checkLog(log);
  if (log !== undefined && mirror === undefined)
    throw bad('only a mirror of legs has a log; a table names its own');
  checkMetadata(request);
  readPolicyOf(request.readPolicy, mirror?.length);
  if (request.linear !== undefined && request.legTimeout !== undefined) {
    throw bad('only a mirror has leg time-outs');
  }
  // Of a table they are checked when its legs are known.
  if (mirror !== undefined) checkLegTimeouts(request, mirror);
}

/** @throws ControlError bad-argument */
export function checkLegTimeouts({ legTimeout }: DeviceRequest, legs: readonly string[]): void {
  const wrong = legTimeoutError(legTimeout ?? [], legs);
  if (wrong !== undefined) throw bad(wrong);
}

/** @throws ControlError bad-argument */
export function readPolicyOf(text: string | undefined, legs: number = MAX_REGIONS): ReadPolicy {
  const policy = parseReadPolicy(text ?? DEFAULT_READ_POLICY);
  if (policy === undefined) {
    throw bad(`read policy ${JSON.stringify(text)}: expected ${READ_POLICY_FORMAT}`);
  }
  if (policy.kind === 'prefer' && policy.leg >= legs) {
    throw bad(`read policy prefer=${policy.leg}: the legs are 0 to ${legs - 1}`);
  }
  return policy;
}

/** The line of a mirror whose legs are used from their beginning. */
export function mirrorTable(
  request: DeviceRequest,
  sectors: number,
  regionSectors = regionSectorsOf(request.regionSizeBytes, sectors),
): string {
  const legs = request.mirror ?? [];
  const words = formatMirrorArgs({
    logType: logTypeOf(request.log),
    logDevice: logDeviceOf(request.log),
    regionSectors,
    // Not with the kernel's log: this line may be given to dm-mirror, which believes `nosync` at
    // every start, after a crash too.
    sync: request.assumeClean && logTypeOf(request.log) !== 'disk' ? 'nosync' : undefined,
    metadataFolder: externalFolderOf(request.metadataPlace),
    legs: legs.map((path) => ({ path, startSector: 0 })),
    // What we do in any case: a leg that fails is dropped, the rest goes on.
    features: { handleErrors: true, keepLog: false },
  });
  return `0 ${sectors} mirror ${words}`;
}

export function linearTable(path: string, sectors: number): string {
  return `0 ${sectors} linear ${escapeWord(path)} 0`;
}

/** The default shrinks to fit: no region is longer than its mirror (the kernel's rule). */
export function regionSectorsOf(asked: number | undefined, sectors: number): number {
  if (asked !== undefined) return sectorsFloor(asked);
  let region = sectorsFloor(DEFAULT_REGION_BYTES);
  while (region > sectors && region > 2) region /= 2;
  return region;
}

export function isRegionSize(bytes: number): boolean {
  return isPowerOfTwo(bytes) && bytes >= bytesOfSectors(2);
}

/**
 * How each leg is cached, of those of which something is said.
 * @throws ControlError bad-argument
 */
export function cacheOf(
  words: readonly string[] | undefined,
  legs: readonly string[],
): Readonly<Record<string, CacheMode>> {
  const modes = cacheModes(words ?? [], legs);
  if (typeof modes === 'string') throw bad(modes);
  return modes;
}

function kindError({ mirror, linear, table }: DeviceRequest): string | undefined {
  const given = [mirror, linear, table].filter((kind) => kind !== undefined);
  return given.length === 1 ? undefined : 'a device is one of: a mirror, a linear leg, a table';
}

/** What is wrong with the legs of a mirror, or undefined. */
export function legsError(legs: readonly string[] | undefined): string | undefined {
  if (legs === undefined) return undefined;
  if (legs.length < MIN_LEGS || legs.length > MAX_REGIONS) {
    return `a mirror has ${MIN_LEGS} to ${MAX_REGIONS} legs; ${legs.length} given`;
  }
  const bad = legs.find((leg) => leg === '' || /[\0\n\r]/.test(leg));
  if (bad === undefined) {
    const named = legs.find((leg) => legProblem(leg) !== undefined);
    return named === undefined ? undefined : `leg ${named}: ${legProblem(named) ?? ''}`;
  }
  return `leg ${JSON.stringify(bad)}: a path that is not empty, without NUL and line breaks`;
}

function writeMostlyError({ mirror, writeMostly }: DeviceRequest): string | undefined {
  const stranger = (writeMostly ?? []).find((leg) => mirror?.includes(leg) !== true);
  return stranger === undefined
    ? undefined
    : `write-mostly ${stranger}: it is no leg of the mirror`;
}

/** The log of a mirror that is given by its legs. */
export function logTypeOf(log: string | undefined): MirrorLogType {
  if (logDeviceOf(log) !== null) return 'disk';
  return (log ?? DEFAULT_LOG) === 'native' ? 'native' : 'core';
}

/** The path of `disk=PATH`; null: another log. */
export function logDeviceOf(log: string | undefined): string | null {
  return log?.startsWith(DISK_PREFIX) === true ? log.slice(DISK_PREFIX.length) : null;
}

/** `disk=PATH` with the path as `absolute` has it; other logs as they are. */
export function mapLogPath(
  log: string | undefined,
  absolute: (path: string) => string,
): string | undefined {
  const path = logDeviceOf(log);
  return path === null || path === '' ? log : `${DISK_PREFIX}${absolute(path)}`;
}

const DISK_PREFIX = 'disk=';

function checkLog(log: string): void {
  if (log === 'core' || log === 'native') return;
  const path = logDeviceOf(log);
  if (path !== null) {
    const isPath = path.startsWith('/') && !/[\0\n\r]/.test(path);
    if (isPath) return;
    throw bad(`log ${JSON.stringify(log)}: expected disk=PATH, of a file or a block device`);
  }
  throw bad(`log ${JSON.stringify(log)}: expected ${LOG_FORMAT}`);
}

function checkMetadata({ metadataPlace, mirror, log }: DeviceRequest): void {
  if (metadataPlace === undefined) return;
  if (mirror === undefined) throw bad('only a mirror of legs has metadata; a table names its own');
  const folder = externalFolderOf(metadataPlace);
  if (logTypeOf(log) !== 'native') {
    throw bad(`metadata ${metadataPlace}: only the native log has metadata; --log native`);
  }
  const lower = mirror.find((leg) => lowerNameOf(leg) !== undefined);
  if (folder === null || lower === undefined) return;
  throw new ControlError(
    'unsupported',
    `leg ${lower}: external metadata is for files, block devices and other servers' exports`,
  );
}

function bad(message: string): ControlError {
  return new ControlError('bad-argument', message);
}
