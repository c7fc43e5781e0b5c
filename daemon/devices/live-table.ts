/**
 * The two tables of a device, as dmsetup has them: the live one, and one that `reload` has checked and
 * that the next `resume` puts in its place.
 *
 *   suspend   data plane: hold, wait, flush, record clean
 *   resume    nothing loaded:  data plane: go on
 *             the same native set:  suspend unless it is -> still the same? -> go on (native-reload.ts)
 *             another table loaded: suspend unless it is -> freeze (the mirror records no more)
 *                              -> the record names the next table and who is in sync in it, durably
 *                              -> the data plane swaps -> go on -> legs of the old table are closed
 *
 * A crash before the record is replaced leaves the old table, one after it the next; who is in sync is
 * in the same file, so there is no mix.
 */
import { bytesOfSectors } from '../../core/base/units.ts';
import { errnoName } from '../../core/base/errno.ts';
import { ControlError } from '../../core/control/error.ts';
import type { TableSpec } from '../../core/dm/parse.ts';
import { NoRecorder, type MirrorRecord } from '../../core/mirror/record.ts';
import type { DeviceIdentity, DeviceRecorder } from '../device-record.ts';
import {
  assembleTable,
  isMirror,
  linesOf,
  logPathOf,
  pathsOf,
  readKnownTable,
  readTable,
  refuseTwins,
} from './assemble.ts';
import type { BuildContext } from './build.ts';
import type { Device } from './device.ts';
import { loggedMirrorOf, lookAtLog, NO_LOG, settleLog, type LoggedMirror } from './disk-log.ts';
import { refuseForeignContent } from './leg-content.ts';
import { OpenLegs } from './legs.ts';
import { isSameNativeSet, type ReadTable } from './native-reload.ts';
import { readPolicyOf } from './request.ts';
import { mirrorOfRecord } from './standing.ts';
import { succeed, type Before, type Next } from './succession.ts';

/** A table that waits for `resume`. */
export interface InactiveTable extends Next {
  readonly identity: DeviceIdentity;
  /** Those the live table does not have open. */
  readonly added: OpenLegs;
  /** The set with the native log that is there: it stays as it is. */
  readonly isSameSet: boolean;
}

/**
 * `reload`: checks everything and opens what is new. The live table goes on. A table loaded before
 * gives way to this one.
 * @throws ControlError the device is as it was, without a loaded table
 */
export async function load(
  device: Device,
  text: string,
  force: boolean,
  context: BuildContext,
  endsAlike = false,
): Promise<void> {
  await clear(device);
  const spec = readTable(text);
  const paths = pathsOf(spec);
  const liveLines = await liveTable(device);
  const live = liveLines.spec;
  const lines = linesOf(text);
  if (isSameNativeSet(device.name, liveLines, { spec, text })) {
    const { identity } = device;
    device.inactive = { identity, added: OpenLegs.none(), spec, lines, force, isSameSet: true };
    return;
  }
  refuseSmaller(device.name, live, spec);
  if (isMirror(spec)) await refuseTwins(paths);
  const mirror = await device.runner.call('mirror-record', null);
  const record = succeed(device.name, { spec: live, mirror }, { spec, lines, force, endsAlike });
  const added = await openAdded(device, spec, text, context);
  try {
    if (isMirror(spec) && !force) {
      const log = logPathOf(text);
      const news = [...added.devices.keys(), ...added.stacked.keys()].filter((p) => p !== log);
      await refuseForeignContent(added, news, OVERWRITES);
    }
    await lookAtNext(device, spec, text, force, added);
    const identity = { ...device.identity, table: lines };
    tryOut(device, identity, added, record, context);
    device.inactive = { identity, added, spec, lines, force, endsAlike, isSameSet: false };
  } catch (error) {
    await added.undo();
    throw error;
  }
}

const OVERWRITES = 'the mirror may overwrite it; --force takes it all the same';

/** `clear`: the loaded table is forgotten, what was opened for it is closed. */
export async function clear(device: Device): Promise<void> {
  const { inactive } = device;
  device.inactive = null;
  await inactive?.added.close();
}

export async function suspend(device: Device, flush: boolean): Promise<void> {
  if (device.isSuspended) return;
  await device.runner.call('suspend', { flush });
  device.isSuspended = true;
}

/** @throws ControlError the live table is as it was, suspended if it was */
export async function resume(device: Device): Promise<void> {
  const { inactive } = device;
  if (inactive !== null) {
    const wasSuspended = device.isSuspended;
    await suspend(device, true);
    try {
      if (inactive.isSameSet) await keep(device, inactive);
      else await replace(device, inactive);
    } catch (error) {
      if (!wasSuspended) await goOn(device);
      throw error;
    }
  }
  await goOn(device);
  if (inactive?.isSameSet === false) await device.legs.closeOthers(pathsOf(inactive.spec));
}

async function goOn(device: Device): Promise<void> {
  if (!device.isSuspended) return;
  await restoreRecord(device);
  await device.runner.call('resume', null);
  device.isSuspended = false;
}

/** Legs may have come and gone since the table was loaded. @throws ControlError unsupported */
async function keep(device: Device, inactive: InactiveTable): Promise<void> {
  const next = { spec: inactive.spec, text: inactive.lines.join('\n') };
  isSameNativeSet(device.name, await liveTable(device), next);
  device.inactive = null;
}

/** The device is suspended: its next table becomes the live one, on record first. */
async function replace(device: Device, inactive: InactiveTable): Promise<void> {
  const { runner, recorder } = device;
  const { identity, added } = inactive;
  const { record, eventNr } = await runner.call('freeze', null);
  const before: Before = { spec: await liveSpec(device), mirror: record };
  try {
    const recorded = succeed(device.name, before, inactive);
    const legs = device.legs.with(added, pathsOf(inactive.spec));
    const log = await nextLog(device, identity.table.join('\n'), legs);
    await save(recorder, identity, recorded);
    await runner.swap({ identity, legs, recorded, log, eventNr });
  } catch (error) {
    device.inDoubt = { record };
    await restoreRecord(device);
    throw error;
  }
  device.legs.adopt(added);
  device.identity = identity;
  device.inactive = null;
}

/**
 * The record may name a table that never came to be. Until it names the live one again no bio goes on:
 * a crash would bring up the other table with a mirror that never heard of what was written.
 * @throws ControlError io
 */
async function restoreRecord(device: Device): Promise<void> {
  const { inDoubt } = device;
  if (inDoubt === null) return;
  await save(device.recorder, device.identity, inDoubt.record);
  await device.runner.call('thaw', null);
  device.inDoubt = null;
}

async function save(
  recorder: DeviceRecorder | null,
  identity: DeviceIdentity,
  mirror: MirrorRecord | null,
): Promise<void> {
  if (recorder === null) return;
  const errno = await recorder.replace(identity, mirror);
  if (errno === 0) return;
  throw new ControlError(
    'io',
    `the record of ${identity.name} cannot be written: ${errnoName(errno)}`,
  );
}

/** A log that the live table does not have must be one that may be begun anew. */
async function lookAtNext(
  device: Device,
  spec: TableSpec,
  text: string,
  force: boolean,
  added: OpenLegs,
): Promise<void> {
  const log = loggedMirrorOf(text);
  if (log === undefined || (await isSameLog(device, log))) return;
  await lookAtLog(log, device.legs.with(added, pathsOf(spec)), 'new', force);
}

/**
 * The bits of the live table's log are those of these regions: they go on. Any other log is begun
 * anew before the record names it; the record says whether legs may differ.
 */
async function nextLog(device: Device, text: string, legs: OpenLegs): Promise<Uint8Array | null> {
  const log = loggedMirrorOf(text);
  if (log === undefined) return null;
  const isSame = await isSameLog(device, log);
  const found = isSame ? await lookAtLog(log, legs, 'recorded', false) : NO_LOG;
  await settleLog(log, legs, found);
  return found.bytes;
}

async function isSameLog(device: Device, next: LoggedMirror): Promise<boolean> {
  const live = loggedMirrorOf((await device.tableLines()).join('\n'));
  return live?.path === next.path && live.args.regionSectors === next.args.regionSectors;
}

/** Legs of a mirror come and go: what the data plane says is the table. */
async function liveSpec(device: Device): Promise<TableSpec> {
  return (await liveTable(device)).spec;
}

async function liveTable(device: Device): Promise<ReadTable> {
  const text = (await device.tableLines()).join('\n');
  return { spec: readKnownTable(text), text };
}

/** NBD cannot tell a client that its device has become smaller. */
function refuseSmaller(name: string, live: TableSpec, next: TableSpec): void {
  if (next.sectors >= live.sectors) return;
  const sizes = `${bytesOfSectors(next.sectors)} bytes, device ${name} has ${bytesOfSectors(live.sectors)}`;
  throw new ControlError(
    'would-lose-data',
    `the table has ${sizes}: a device does not shrink while clients know its size; remove it and create it anew`,
  );
}

async function openAdded(
  device: Device,
  spec: TableSpec,
  text: string,
  { environment, stack }: BuildContext,
): Promise<OpenLegs> {
  const { devices, stacked } = device.legs;
  const absent = pathsOf(spec).filter((path) => !devices.has(path) && !stacked.has(path));
  const log = loggedMirrorOf(text)?.path;
  await stack.gather(absent, device.runner.below().place?.thread ?? null);
  return OpenLegs.open(absent, {
    ...environment,
    upper: device.name,
    stack,
    readOnly: device.identity.readOnly && !isMirror(spec),
    createBytes: null,
    createHint: '',
    mayBeMissing: false,
    cache: device.identity.cache,
    dirtyLog: log === undefined ? undefined : { path: log, createBytes: null, hint: '' },
  });
}

/** Puts the table together once and throws it away: what can be wrong with it is told now. */
function tryOut(
  device: Device,
  identity: DeviceIdentity,
  added: OpenLegs,
  record: MirrorRecord | null,
  { environment }: BuildContext,
): void {
  const { name, readOnly, readPolicy } = identity;
  const { table } = assembleTable(
    {
      name,
      readOnly,
      table: identity.table.join('\n'),
      legs: device.legs.with(added, pathsOf(readTable(identity.table.join('\n')))),
      mirror: {
        readPolicy: readPolicyOf(readPolicy),
        recorder: new NoRecorder(environment.loop),
        onEvent: () => undefined,
        start: (places) => {
          if (record === null) throw new Error('a mirror that starts from nothing');
          return mirrorOfRecord(places, record);
        },
      },
    },
    environment,
  );
  const block = table.limits.logicalBlockSize;
  const told = device.exported.logicalBlockBytes;
  if (block <= told) return;
  throw new ControlError(
    'bad-table',
    `the table has blocks of ${block} bytes, clients of ${name} were told ${told}: remove it and create it anew`,
  );
}
