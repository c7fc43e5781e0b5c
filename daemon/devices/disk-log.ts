/**
 * The device of a `disk` log in the control thread: opened with the legs, looked at before a mirror is
 * made of it, begun anew where it says nothing of these legs. From then on the data plane writes it.
 *
 * A log is begun anew before the record names it: all zeros, durably. A crash after that finds an
 * empty log, which puts every region in doubt.
 */
import { bytesOfSectors, sectorsFloor } from '../../core/base/units.ts';
import { ERRNO, errnoName } from '../../core/base/errno.ts';
import { Bio } from '../../core/block/bio.ts';
import type { BlockDevice } from '../../core/block/device.ts';
import { REQ_OP, type ReqOp } from '../../core/block/op.ts';
import { ControlError } from '../../core/control/error.ts';
import { splitWords } from '../../core/dm/args.ts';
import { parseMirrorArgs, type MirrorArgs } from '../../core/dm/target-mirror.ts';
import { diskLogBytes, readDiskLog, writeDiskLog } from '../../core/mirror/disk-log-format.ts';
import { readLogRecord } from '../../core/mirror/disk-log-record.ts';
import { diskLogParts } from '../../core/mirror/disk-log-start.ts';
import type { MirrorRecord, MirrorRecorder } from '../../core/mirror/record.ts';
import { readSectors } from './leg-content.ts';
import type { OpenLegs } from './legs.ts';
import type { MirrorStart } from './standing.ts';
import { signatureOf, SIGNATURE_BYTES } from './signature.ts';

/** A mirror line with a `disk` log. */
export interface LoggedMirror {
  readonly path: string;
  readonly regions: number;
  readonly args: MirrorArgs;
}

/**
 * What is believed of a log that is there.
 * `recorded`: it is that of the set on record. `by-word`: the user's table line names it, as the
 * kernel would read it. `new`: the set is new, so it cannot be its log.
 */
export type LogRule = 'recorded' | 'by-word' | 'new';

export interface LogFound {
  /** The log as it is; null: begun anew. */
  readonly bytes: Uint8Array | null;
  /** Who is in sync, by a daemon without a state directory. */
  readonly record: MirrorRecord | null;
}

export const NO_LOG: LogFound = { bytes: null, record: null };

/** Undefined: no mirror, or one with the `core` log. The table has been read before. */
export function loggedMirrorOf(table: string): LoggedMirror | undefined {
  for (const line of table.split(/\r?\n/)) {
    const [, length = '', type, ...words] = splitWords(line);
    if (type !== 'mirror') continue;
    const args = parseMirrorArgs(Number(length), words, 1);
    if (args.logDevice === null) return undefined;
    const regions = Math.ceil(Number(length) / args.regionSectors);
    return { path: args.logDevice, regions, args };
  }
  return undefined;
}

/** Length of a log file that is made: whole blocks of any disk. */
export function newLogBytes(sectors: number, regionSectors: number): number {
  return diskLogBytes(Math.ceil(sectors / regionSectors), 4096);
}

/**
 * Reads the log, or says in one line why it is none of these legs. Changes nothing.
 * @throws ControlError bad-leg, would-lose-data, io
 */
export async function lookAtLog(
  mirror: LoggedMirror,
  legs: OpenLegs,
  rule: LogRule,
  force: boolean,
): Promise<LogFound> {
  const { path, regions, args } = mirror;
  const device = deviceOf(mirror, legs);
  const length = diskLogBytes(regions, device.limits.logicalBlockSize);
  if (bytesOfSectors(device.sectors) < length) {
    const has = bytesOfSectors(device.sectors);
    throw new ControlError(
      'bad-leg',
      `log ${path} has ${has} bytes, too small for ${regions} regions: ${length} are wanted`,
    );
  }
  const bytes = await readLog(device, length);
  const read = readDiskLog(bytes, regions, undefined);
  if (read.kind === 'refused') {
    if (force && rule !== 'recorded') return NO_LOG;
    throw new ControlError('bad-leg', `log ${path}: ${read.reason}`);
  }
  if (!read.wasThere) {
    await refuseOtherData(path, device, bytes, rule, force);
    // On record: an empty log says of no region that it is clean.
    return rule === 'recorded' ? { bytes: new Uint8Array(length), record: null } : NO_LOG;
  }
  const record = rule === 'recorded' ? null : readLogRecord(bytes, args.legs);
  if (rule === 'recorded' || record !== null) return { bytes, record };
  if (force && rule === 'new') return NO_LOG;
  if (rule === 'new') {
    throw new ControlError(
      'would-lose-data',
      `log ${path} is the dirty log of another mirror, of ${read.stored} regions; --force begins it anew`,
    );
  }
  if (read.stored !== regions && read.stored <= Number.MAX_SAFE_INTEGER && !force) {
    throw new ControlError(
      'would-lose-data',
      `log ${path} is that of a mirror of ${read.stored} regions, this one has ${regions}; --force takes it all the same`,
    );
  }
  return args.sync === undefined ? { bytes, record: null } : NO_LOG;
}

/**
 * Makes the device say what was found, durably, before anybody is told of the set.
 * @throws ControlError io
 */
export async function settleLog(
  mirror: LoggedMirror,
  legs: OpenLegs,
  found: LogFound,
): Promise<void> {
  const device = deviceOf(mirror, legs);
  const { regions, path } = mirror;
  const length = diskLogBytes(regions, device.limits.logicalBlockSize);
  try {
    if (found.bytes === null) {
      await writeInOrder(device, new Uint8Array(length), 'header-first');
      return;
    }
    const read = readDiskLog(found.bytes, regions, undefined);
    if (read.kind === 'refused' || (read.wasThere && read.stored === regions)) return;
    const image = found.bytes.slice();
    // Where the header is not there no bit may be believed when it comes.
    writeDiskLog(image, read.dirty);
    await writeInOrder(device, image, read.wasThere ? 'header-last' : 'header-first');
  } catch (error) {
    if (typeof error !== 'number') throw error;
    throw new ControlError('io', `log ${path} cannot be written: ${errnoName(error)}`);
  }
}

/** What of a mirror's start the log decides. */
export function withDiskLog(
  start: MirrorStart,
  log: { readonly device: BlockDevice; readonly regions: number } | null,
  how: {
    readonly found: Uint8Array | null;
    readonly args: MirrorArgs;
    readonly isRecorded: boolean;
    /** Null: no state directory. */
    readonly recorder: MirrorRecorder | null;
  },
): MirrorStart {
  if (log === null) return start;
  const { legs, membersEqual } = start;
  const { args, ...rest } = how;
  return {
    ...start,
    ...diskLogParts({ ...log, ...rest, sync: args.sync, legs, membersEqual }),
  };
}

async function refuseOtherData(
  path: string,
  device: BlockDevice,
  bytes: Uint8Array,
  rule: LogRule,
  force: boolean,
): Promise<void> {
  if (force && rule !== 'recorded') return;
  const head = await readLog(device, Math.min(bytesOfSectors(device.sectors), SIGNATURE_BYTES));
  const found = signatureOf(head);
  const magic = new DataView(bytes.buffer, bytes.byteOffset).getUint32(0, true);
  if (found === undefined && magic === 0) return;
  const what = found ?? `no dirty log: it begins with 0x${magic.toString(16).padStart(8, '0')}`;
  if (rule === 'recorded') {
    throw new ControlError(
      'bad-leg',
      `log ${path} carries ${what}; a log of zeros puts all regions in doubt, and is taken`,
    );
  }
  throw new ControlError('would-lose-data', `log ${path} carries ${what}; --force overwrites it`);
}

function deviceOf({ path }: LoggedMirror, legs: OpenLegs): BlockDevice {
  const device = legs.devices.get(path);
  if (device === undefined) throw new ControlError('no-leg', `log ${path} is not there`);
  return device;
}

async function readLog(device: BlockDevice, length: number): Promise<Uint8Array> {
  const block = sectorsFloor(device.limits.logicalBlockSize);
  const sectors = Math.ceil(sectorsFloor(length + 511) / block) * block;
  const bytes = new Uint8Array(bytesOfSectors(sectors));
  for (let at = 0; at < sectors;) {
    const count = Math.min(sectors - at, device.limits.maxSectors, STEP_SECTORS);
    bytes.set(await readSectors(device, at, count), bytesOfSectors(at));
    at += count;
  }
  return bytes;
}

const STEP_SECTORS = 2048;

/** `header-last`: the new length of the log counts only when all its bits are there. */
async function writeInOrder(
  device: BlockDevice,
  bytes: Uint8Array,
  order: 'header-first' | 'header-last',
): Promise<void> {
  const head = sectorsFloor(device.limits.logicalBlockSize);
  const parts = [
    [0, head],
    [head, sectorsFloor(bytes.length)],
  ] as const;
  for (const [from, end] of order === 'header-first' ? parts : [...parts].reverse()) {
    for (let at = from; at < end;) {
      const count = Math.min(end - at, device.limits.maxSectors, STEP_SECTORS);
      const start = bytesOfSectors(at);
      await submit(device, REQ_OP.WRITE, at, bytes.slice(start, start + bytesOfSectors(count)));
      at += count;
    }
    await submit(device, REQ_OP.FLUSH, 0, null);
  }
}

/** @throws the errno */
async function submit(
  device: BlockDevice,
  op: ReqOp,
  sector: number,
  bytes: Uint8Array | null,
): Promise<void> {
  const bio = new Bio();
  bio.op = op;
  bio.sector = sector;
  bio.sectors = bytes === null ? 0 : sectorsFloor(bytes.length);
  if (bytes !== null) bio.setBuffer(bytes, 0, bytes.length);
  const errno = await new Promise<number>((ended) => {
    bio.owner = { endIo: () => ended(bio.error) };
    device.submit(bio);
  });
  // eslint-disable-next-line @typescript-eslint/only-throw-error -- settleLog puts it into words
  if (errno !== ERRNO.OK) throw errno;
}
