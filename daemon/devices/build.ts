/** Makes a device of a request or of its record: open legs, table, record, export; all or nothing. */
import { resolve } from 'node:path';
import { bytesOfSectors, sectorsFloor } from '../../core/base/units.ts';
import { ControlError } from '../../core/control/error.ts';
import type { TargetEnvironment } from '../../core/dm/target.ts';
import type { ExportTable } from '../../core/export/export-table.ts';
import type { MirrorEvent } from '../../core/mirror/options.ts';
import type { MirrorRecord } from '../../core/mirror/record.ts';
import { errnoName } from '../../core/base/errno.ts';
import type { DeviceIdentity, DeviceRecord, DeviceRecorder } from '../device-record.ts';
import type { EngineName } from '../engine.ts';
import type { StateStore } from '../state-store.ts';
import { isMirror, linesOf, pathsOf, readKnownTable, readTable, refuseTwins } from './assemble.ts';
import { Device } from './device.ts';
import { LegChanges } from './leg-changes.ts';
import { LegReturn, type ReturnPolicy } from './leg-return.ts';
import { OpenLegs, refuseDifferentContent, refuseForeignContent } from './legs.ts';
import { DEFAULT_READ_POLICY } from './read-policy.ts';
import { checkRequest, linearTable, mirrorTable } from './request.ts';
import type { DeviceRequest } from './request.ts';
import { runHere, runInWorker } from './running.ts';

export interface BuildContext {
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
    const table = await tableOf(request, legs);
    const identity: DeviceIdentity = {
      name: request.name,
      source: request.source,
      table: linesOf(table),
      readOnly: request.readOnly,
      readPolicy: request.readPolicy ?? DEFAULT_READ_POLICY,
    };
    // Made a moment ago, all of them: zeros everywhere.
    const areEqual = pathsOf(readTable(table)).every((path) => legs.created.includes(path));
    const writeMostly = request.writeMostly ?? [];
    const device = await start(identity, legs, context, null, areEqual, writeMostly);
    return { device, createdLegs: [...legs.created] };
  } catch (error) {
    await legs.undo();
    throw error;
  }
}

/**
 * A device of the state directory. Legs of a mirror may be missing as long as one in sync is there.
 * @throws ControlError
 */
export async function buildRecorded(record: DeviceRecord, context: BuildContext): Promise<Device> {
  const table = record.table.join('\n');
  const spec = readKnownTable(table);
  if (isMirror(spec)) await refuseTwins(pathsOf(spec));
  const legs = await OpenLegs.open(pathsOf(spec), {
    loop: context.environment.loop,
    readOnly: record.readOnly && !isMirror(spec),
    createBytes: null,
    createHint: '',
    mayBeMissing: isMirror(spec) && record.mirror !== null,
  });
  try {
    const { format: _, mirror, ...identity } = record;
    return await start(identity, legs, context, mirror, false, []);
  } catch (error) {
    await legs.undo();
    throw error;
  }
}

async function openNew(request: DeviceRequest, { environment }: BuildContext): Promise<OpenLegs> {
  const { mirror, linear, table, sizeBytes, mayCreate } = request;
  const spec = table === undefined ? null : readTable(table);
  const paths = mirror ?? (linear === undefined ? pathsOf(spec ?? readTable('')) : [linear]);
  const isNewMirror = mirror !== undefined || (spec !== null && isMirror(spec));
  if (isNewMirror) await refuseTwins(paths.map((path) => resolve(path)));
  const legs = await OpenLegs.open(paths, {
    loop: environment.loop,
    readOnly: request.readOnly && !isNewMirror,
    createBytes: mayCreate && sizeBytes !== undefined ? sizeBytes : null,
    createHint: table === undefined ? request.createHint : '',
    mayBeMissing: false,
  });
  try {
    if (isNewMirror) await refuseContent(request, paths);
    return legs;
  } catch (error) {
    await legs.undo();
    throw error;
  }
}

async function refuseContent({ content }: DeviceRequest, paths: readonly string[]): Promise<void> {
  switch (content.kind) {
    case 'take':
      return;
    case 'refuse':
      await refuseForeignContent(paths, content.remedy);
      return;
    case 'refuse-different':
      await refuseDifferentContent(paths, content.remedy);
  }
}

/** The lines of the device, whose size is now known. */
async function tableOf(request: DeviceRequest, legs: OpenLegs): Promise<string> {
  if (request.table !== undefined) return request.table;
  const devices = [...legs.devices.values()];
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
  recorded: MirrorRecord | null,
  areEqual: boolean,
  writeMostly: readonly string[],
): Promise<Device> {
  const { exports, store } = context;
  const { name, source } = identity;
  const recorder = store?.recorder(identity, recorded) ?? null;
  const made = { identity, legs, recorded, areEqual, writeMostly, recorder };
  const running =
    context.engine === 'uring' ? await runInWorker(made, context) : runHere(made, context);
  if (recorder !== null) {
    try {
      await saved(recorder, name, recorded === null);
    } catch (error) {
      await running.runner.settle();
      throw error;
    }
  }
  exports.add(running.exported);
  running.go();
  const { exported, runner } = running;
  const { loop, log } = context.environment;
  const changes = new LegChanges(name, runner, legs, loop);
  const legReturn = new LegReturn(name, runner, changes, context.legReturn, log);
  // A leg may have been missing, or out, from the start.
  legReturn.wake();
  return new Device({ name, source, exported, runner, legs, changes, legReturn, recorder });
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
