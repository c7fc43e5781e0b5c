/** Makes a device of a request or of its record: open legs, table, record, export; all or nothing. */
import { resolve } from 'node:path';
import { bytesOfSectors, sectorsFloor } from '../../core/base/units.ts';
import { ControlError } from '../../core/control/error.ts';
import { isLegUri } from '../../core/control/leg-name.ts';
import type { Loop } from '../../core/block/loop.ts';
import type { TargetEnvironment } from '../../core/dm/target.ts';
import type { ExportTable } from '../../core/export/export-table.ts';
import type { MirrorEvent } from '../../core/mirror/options.ts';
import { errnoName } from '../../core/base/errno.ts';
import type { DeviceIdentity, DeviceRecord, DeviceRecorder } from '../device-record.ts';
import type { EngineName } from '../engine.ts';
import type { StateStore } from '../state-store.ts';
import {
  isMirror,
  isNativeTable,
  linesOf,
  logPathOf,
  pathsOf,
  readKnownTable,
  readTable,
  refuseTwins,
} from './assemble.ts';
import { eraseLegs } from './native-metadata.ts';
import {
  adoptSet,
  createdBytes,
  fitLegs,
  folderOf,
  formatNew,
  isNativeRequest,
  makeExternal,
  markedOf,
  nativeTable,
  refuseMarked,
  type Marked,
  type NativeMade,
} from './native-build.ts';
import {
  excludedOf,
  planNative,
  recordOfPlan,
  tableOfPlan,
  type NativePlan,
} from './native-start.ts';
import { Device } from './device.ts';
import { loggedMirrorOf, lookAtLog, newLogBytes, NO_LOG, settleLog } from './disk-log.ts';
import { externalOfTable } from './external-metadata.ts';
import { LegChanges } from './leg-changes.ts';
import { LegReturn, type ReturnPolicy } from './leg-return.ts';
import { refuseDifferentContent, refuseForeignContent } from './leg-content.ts';
import { OpenLegs } from './legs.ts';
import type { OpenLegsOptions } from './legs.ts';
import { DEFAULT_READ_POLICY } from './read-policy.ts';
import {
  cacheOf,
  checkLegTimeouts,
  checkRequest,
  linearTable,
  logDeviceOf,
  mirrorTable,
  regionSectorsOf,
} from './request.ts';
import type { DeviceRequest } from './request.ts';
import type { PlaneThread } from '../worker/threads.ts';
import type { Stack } from './stack.ts';
import { runHere, runInWorker, type Made } from './running.ts';

export interface Assembly {
  readonly device: Device;
  /** Legs that were named and are none of the set. */
  readonly leftOut: readonly string[];
}

export interface BuildContext {
  readonly stack: Stack;
  readonly environment: TargetEnvironment;
  readonly exports: ExportTable;
  /** Null: a private daemon, nothing is remembered. */
  readonly store: StateStore | null;
  readonly engine: EngineName;
  /** How legs that are out come back. */
  readonly legReturn: ReturnPolicy;
  readonly onEvent: (device: string, event: MirrorEvent) => void;
  /** The thread of a device has ended although nobody asked it to. */
  readonly onDeath: (device: string, why: string) => void;
}

export interface Built {
  readonly device: Device;
  readonly createdLegs: readonly string[];
}

/**
 * A device that was not before. When this fails, nothing has changed.
 * @throws ControlError
 */
export async function buildNew(request: DeviceRequest, context: BuildContext): Promise<Built> {
  checkRequest(request);
  const legs = await openNew(request, context);
  try {
    const { loop } = context.environment;
    await lookForMetadata(request, legs);
    const marked = await markedOf(legs, pathsOfRequest(request), loop);
    // Made a moment ago, all of them: zeros everywhere.
    const areCreated = pathsOfRequest(request).every((path) => legs.created.includes(path));
    const areEqual = areCreated || (request.mirror !== undefined && request.assumeClean);
    const made = await nativeOf(request, legs, areCreated, marked, loop);
    try {
      const table =
        made === null ? await tableOf(request, legs) : tableOfPlan(made.plan, folderOf(request));
      const spec = readKnownTable(table);
      checkLegTimeouts(request, pathsOf(spec));
      const identity: DeviceIdentity = {
        name: request.name,
        source: request.source,
        table: linesOf(table),
        readOnly: request.readOnly,
        readPolicy: request.readPolicy ?? DEFAULT_READ_POLICY,
        cache: cacheOf(request.cache, pathsOf(spec)),
        legTimeout: request.legTimeout,
        setUuid: made?.plan.assembly.ruler.setUuid ?? null,
      };
      const log = loggedMirrorOf(table);
      const rule = request.table === undefined ? 'new' : 'by-word';
      const isForced = request.content.kind === 'take' && request.source !== 'config';
      const found = log === undefined ? NO_LOG : await lookAtLog(log, legs, rule, isForced);
      // What a daemon without a state directory has remembered says more than what legs look like.
      if (made === null && found.record === null && isMirror(spec)) {
        await refuseContent(request, legs, legPathsOf(table), marked);
        // Taken by force: from now on they are no legs of another set.
        await eraseLegs(
          marked.map(({ device }) => device),
          loop,
        );
      }
      const writeMostly = request.writeMostly ?? [];
      if (log !== undefined) await settleLog(log, legs, found);
      const native = made?.plan ?? null;
      if (native !== null) await fitLegs(legs, native);
      const recorded = native === null ? found.record : recordOfPlan(native);
      const how = { recorded, log: found.bytes, areEqual, writeMostly, thread: null, native };
      const device = await start(identity, legs, context, { ...how, isNew: true });
      return { device, createdLegs: [...legs.created] };
    } catch (error) {
      await made?.undo().catch(() => undefined);
      throw error;
    }
  } catch (error) {
    await legs.undo();
    throw error;
  }
}

/** The metadata of a set with the native log: written, or found. Null: another log. */
async function nativeOf(
  request: DeviceRequest,
  legs: OpenLegs,
  areCreated: boolean,
  marked: readonly Marked[],
  loop: Loop,
): Promise<NativeMade | null> {
  if (!isNativeRequest(request)) return null;
  const paths = pathsOfRequest(request);
  const blocks = legs.blocksAt(paths, loop);
  if (isAdopting(request, marked)) return adoptSet(request, legs, blocks, marked, loop);
  if (request.metadata === 'start') {
    throw new ControlError(
      'bad-leg',
      `leg ${paths[0] ?? ''} carries no metadata of a mirror; --create --size S writes it`,
    );
  }
  await refuseContent(request, legs, paths, marked);
  if (folderOf(request) === null) {
    return formatNew(request, nativeTable(request, blocks), blocks, areCreated, loop);
  }
  await eraseLegs(
    marked.map(({ device }) => device),
    loop,
  );
  await legs.closeMetadata();
  const table = nativeTable(request, legs.blocksAt(paths, loop));
  await makeExternal(request, table, legs, paths);
  return formatNew(request, table, legs.blocksAt(paths, loop), areCreated, loop);
}

/** Metadata files that are there already: of a set that is to be started, or must not be lost. */
async function lookForMetadata(request: DeviceRequest, legs: OpenLegs): Promise<void> {
  const folder = isNativeRequest(request) ? folderOf(request) : null;
  if (folder === null || (request.metadata === 'new' && request.content.kind === 'take')) return;
  const rule = { folder, makeBytes: null, makesFolder: false, force: false, moved: false };
  await legs.openMetadata(pathsOfRequest(request), rule);
}

/** The legs are of a mirror already, and the request is to start that. */
function isAdopting(request: DeviceRequest, marked: readonly Marked[]): boolean {
  const isOfSet = marked.some(({ metadata }) => metadata.kind === 'superblock');
  return isNativeRequest(request) && request.metadata !== 'new' && isOfSet;
}

function pathsOfRequest({ mirror, linear, table }: DeviceRequest): readonly string[] {
  return mirror ?? (linear === undefined ? pathsOf(readTable(table ?? '')) : [linear]);
}

/** A set that its legs know and this daemon does not: open, and what is to become of it. */
export interface FoundSet {
  readonly legs: OpenLegs;
  readonly plan: NativePlan;
  /** Where the legs' metadata is; null: on them. */
  readonly folder: string | null;
}

export interface FindOptions {
  /** Legs that are none of the set are left out. */
  readonly force: boolean;
  readonly folder: string | null;
  /** Legs and metadata files were copied to where they are. */
  readonly moved: boolean;
}

/** @throws ControlError bad-leg, would-lose-data, and what opening refuses; nothing is open then */
export async function findSet(
  paths: readonly string[],
  { force, folder, moved }: FindOptions,
  { environment, stack }: BuildContext,
): Promise<FoundSet> {
  await refuseTwins(paths);
  await stack.gather(paths, null);
  const legs = await OpenLegs.open(paths, {
    ...environment,
    // Its metadata has the name: `heldFor` tells it.
    upper: '',
    stack,
    readOnly: false,
    cache: {},
    createBytes: null,
    createHint: '',
    mayBeMissing: false,
    external:
      folder === null ? null : { folder, makeBytes: null, makesFolder: false, force: false, moved },
  });
  try {
    const known = { setUuid: null, record: null };
    const plan = await planNative(legs.blocksAt(paths, environment.loop), known, environment.loop);
    const [stranger] = excludedOf(plan);
    if (stranger !== undefined && !force) {
      const { path, reason } = stranger;
      throw new ControlError('would-lose-data', `leg ${path}: ${reason}; --force leaves it out`);
    }
    return { legs, plan, folder };
  } catch (error) {
    await legs.close();
    throw error;
  }
}

/** The set becomes a device of this name. @throws ControlError nothing has changed, and nothing is open then */
export async function buildFound(
  name: string,
  { legs, plan, folder }: FoundSet,
  context: BuildContext,
): Promise<Device> {
  try {
    legs.heldFor(name);
    await fitLegs(legs, plan);
    const identity: DeviceIdentity = {
      name,
      source: 'create',
      table: [tableOfPlan(plan, folder)],
      readOnly: false,
      readPolicy: DEFAULT_READ_POLICY,
      cache: {},
      setUuid: plan.assembly.ruler.setUuid,
    };
    const recorded = recordOfPlan(plan);
    const how = {
      recorded,
      areEqual: false,
      writeMostly: [],
      thread: null,
      log: null,
      native: plan,
      isNew: true,
    };
    return await start(identity, legs, context, how);
  } catch (error) {
    await legs.close();
    throw error;
  }
}

/**
 * A device of the state directory. Legs of a mirror may be missing as long as one in sync is there.
 * @throws ControlError
 */
export async function buildRecorded(
  record: DeviceRecord,
  context: BuildContext,
  thread: PlaneThread | null = null,
): Promise<Device> {
  const table = record.table.join('\n');
  const spec = readKnownTable(table);
  if (isMirror(spec)) await refuseTwins(pathsOf(spec));
  await context.stack.gather(pathsOf(spec), thread);
  const folder = externalOfTable(table)?.folder ?? null;
  const legs = await OpenLegs.open(pathsOf(spec), {
    ...context.environment,
    upper: record.name,
    stack: context.stack,
    readOnly: record.readOnly && !isMirror(spec),
    cache: record.cache,
    createBytes: null,
    createHint: '',
    mayBeMissing: isMirror(spec) && record.mirror !== null,
    external:
      folder === null
        ? null
        : { folder, makeBytes: null, makesFolder: false, force: false, moved: false },
    dirtyLog: logOptions(logPathOf(table)),
  });
  try {
    const { format: _, mirror, ...identity } = record;
    const how = { areEqual: false, writeMostly: [], thread };
    if (!isNativeTable(table)) {
      const references = spec.lines.flatMap((line) => line.spec.devices);
      const onLegs = references.filter(({ path }) => path !== logPathOf(table));
      if (mirror !== null) await legs.dropShort(onLegs);
      const log = loggedMirrorOf(table);
      const found = log === undefined ? NO_LOG : await lookAtLog(log, legs, 'recorded', false);
      if (log !== undefined) await settleLog(log, legs, found);
      const { bytes } = found;
      const more = { recorded: mirror, log: bytes, native: null, isNew: mirror === null };
      return await start(identity, legs, context, { ...how, ...more });
    }
    const known = { setUuid: record.setUuid, record: mirror };
    const { loop } = context.environment;
    const blocks = legs.blocksAt(pathsOf(spec), loop);
    if (blocks.size === 0) {
      throw new ControlError('no-leg', `no leg is there: ${[...legs.missing.values()].join('; ')}`);
    }
    const native = await planNative(blocks, known, loop);
    for (const { path, reason } of excludedOf(native)) {
      context.environment.log.warn({ device: record.name, leg: path, reason }, 'no leg of the set');
    }
    await fitLegs(legs, native);
    const recorded = recordOfPlan(native);
    const found = { ...identity, table: [tableOfPlan(native, folder)] };
    const more = { recorded, log: null, native, isNew: false };
    return await start(found, legs, context, { ...how, ...more });
  } catch (error) {
    await legs.undo();
    throw error;
  }
}

async function openNew(
  request: DeviceRequest,
  { environment, stack }: BuildContext,
): Promise<OpenLegs> {
  const { mirror, linear, table, sizeBytes, mayCreate } = request;
  const spec = table === undefined ? null : readTable(table);
  const log = logDeviceOf(request.log);
  const named = mirror === undefined || log === null ? mirror : [...mirror, log];
  const paths = named ?? (linear === undefined ? pathsOf(spec ?? readTable('')) : [linear]);
  const isNewMirror = mirror !== undefined || (spec !== null && isMirror(spec));
  if (isNewMirror) {
    await refuseTwins(paths.map((path) => (isLegUri(path) ? path : resolve(path))));
  }
  await stack.gather(paths, null);
  const createBytes = mayCreate && sizeBytes !== undefined ? sizeBytes : null;
  const createHint = table === undefined ? request.createHint : '';
  return OpenLegs.open(paths, {
    ...environment,
    upper: request.name,
    stack,
    readOnly: request.readOnly && !isNewMirror,
    cache: cacheOf(request.cache, paths),
    createBytes: createBytes === null ? null : createdBytes(request, createBytes),
    createHint,
    mayBeMissing: false,
    dirtyLog: logOptions(
      log ?? logPathOf(table ?? ''),
      createBytes === null ? null : newLogLength(request, createBytes),
      createHint,
    ),
  });
}

/** A `disk` log among the legs of a device. */
function logOptions(
  path: string | undefined,
  createBytes: number | null = null,
  hint = '',
): OpenLegsOptions['dirtyLog'] {
  return path === undefined ? undefined : { path, createBytes, hint };
}

function newLogLength({ regionSizeBytes }: DeviceRequest, sizeBytes: number): number {
  const sectors = sectorsFloor(sizeBytes);
  return newLogBytes(sectors, regionSectorsOf(regionSizeBytes, sectors));
}

/** What a table names but its log. */
function legPathsOf(table: string): readonly string[] {
  const log = logPathOf(table);
  return pathsOf(readTable(table)).filter((path) => path !== log);
}

async function refuseContent(
  request: DeviceRequest,
  legs: OpenLegs,
  paths: readonly string[],
  marked: readonly Marked[],
): Promise<void> {
  const { content } = request;
  if (content.kind !== 'take') {
    const folder = isNativeRequest(request) ? folderOf(request) : null;
    refuseMarked(marked, paths, content.remedy, folder);
  }
  switch (content.kind) {
    case 'take':
      return;
    case 'refuse':
      await refuseForeignContent(legs, paths, content.remedy);
      return;
    case 'refuse-different':
      await refuseDifferentContent(legs, paths, content.remedy);
  }
}

/** The lines of the device, whose size is now known. */
async function tableOf(request: DeviceRequest, legs: OpenLegs): Promise<string> {
  if (request.table !== undefined) return request.table;
  const lower = [...legs.stacked.values()].map(({ name, below }) => {
    return { name, sectors: below.sectors };
  });
  const log = logDeviceOf(request.log);
  const open = [...legs.devices].flatMap(([path, device]) => (path === log ? [] : [device]));
  const devices = [...open, ...lower];
  const sizes = devices.map((device) => bytesOfSectors(device.sectors));
  const sizeBytes = request.sizeBytes ?? Math.min(...sizes);
  const small = devices.find((device) => bytesOfSectors(device.sectors) < sizeBytes);
  if (small !== undefined) {
    const has = bytesOfSectors(small.sectors);
    throw new ControlError(
      'bad-leg',
      `leg ${small.name} has ${has} bytes, too small for a device of ${sizeBytes} bytes`,
    );
  }
  const sectors = sectorsFloor(sizeBytes);
  if (request.linear !== undefined) return linearTable(request.linear, sectors);
  return mirrorTable(request, sectors);
}

/** Everything is open: puts it together, makes its record durable, shows it to clients. */
async function start(
  identity: DeviceIdentity,
  legs: OpenLegs,
  context: BuildContext,
  how: Pick<Made, 'recorded' | 'log' | 'areEqual' | 'writeMostly' | 'thread' | 'native'> & {
    readonly isNew: boolean;
  },
): Promise<Device> {
  const { recorded, isNew } = how;
  const { exports, store } = context;
  const { name } = identity;
  const recorder = store?.recorder(identity, recorded) ?? null;
  const made = { identity, legs, recorder, ...how };
  const running =
    context.engine === 'uring' ? await runInWorker(made, context) : runHere(made, context);
  if (recorder !== null) {
    try {
      await saved(recorder, name, isNew);
    } catch (error) {
      await running.runner.settle();
      throw error;
    }
  }
  exports.add(running.exported);
  running.go();
  const { exported, runner } = running;
  const { log } = context.environment;
  const changes = new LegChanges(name, runner, legs, context.environment);
  const legReturn = new LegReturn(name, runner, changes, context.legReturn, log);
  // A leg may have been missing, or out, from the start.
  legReturn.wake();
  return new Device({ identity, exported, runner, legs, changes, legReturn, recorder });
}

/** The record is durable before anybody hears of the device; of a new one nothing is left if not. */
async function saved(recorder: DeviceRecorder, name: string, isNew: boolean): Promise<void> {
  const errno = await new Promise<number>((told) => {
    recorder.save(told);
  });
  if (errno === 0) return;
  if (isNew) await recorder.remove().catch(() => undefined);
  throw new ControlError('io', `the record of ${name} cannot be written: ${errnoName(errno)}`);
}
