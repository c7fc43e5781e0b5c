/**
 * `--metadata external:DIR`: the native log's metadata of each leg in a file of its own, for legs that
 * have no room for a trailer. A leg and its file are one device here, the file behind the leg's last
 * sector, so the mirror knows nothing of it: what is durable before what is the same.
 *
 * The leg carries nothing that could tie the two, so the file does (core/mirror/external.ts):
 *
 * | the file                           | start, assemble                  | create           | leg add, re-add       |
 * |------------------------------------|----------------------------------|------------------|-----------------------|
 * | is the leg's                       | counts                           | refused, --force | add: refused, --force |
 * | is not there                       | the leg is missing; refused when | made             | made: all is copied   |
 * |                                    | it was named                     |                  |                       |
 * | is another leg's, of a leg that    | as above                         | refused, --force | refused, --force      |
 * | was shorter or longer, of another  |                                  |                  |                       |
 * | file or disk, is damaged, is none  |                                  |                  |                       |
 * | all of it, but legs were copied    | assemble --moved                 |                  |                       |
 */
import { fstat as fstatOf, mkdirSync, readFileSync, readSync, statSync, writeSync } from 'node:fs';
import { fstatSync, fsyncSync, unlinkSync, rmdirSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { bytesOfSectors } from '../../core/base/units.ts';
import type { BlockDevice } from '../../core/block/device.ts';
import type { Loop } from '../../core/block/loop.ts';
import { ControlError } from '../../core/control/error.ts';
import { splitWords } from '../../core/dm/args.ts';
import { MappedDevice } from '../../core/dm/mapped-device.ts';
import { Table } from '../../core/dm/table.ts';
import { LinearTarget } from '../../core/dm/target-linear.ts';
import { EXTERNAL, parseMirrorArgs } from '../../core/dm/target-mirror.ts';
import {
  CARD_BYTES,
  CARD_SECTORS,
  cardProblem,
  decodeCard,
  encodeCard,
  externalBytes,
  externalNameOf,
  type Card,
} from '../../core/mirror/external.ts';
import { deviceNumber } from '../fsio/block-device-facts.ts';
import { openFileDevice } from '../fsio/engine.ts';
import type { FileDevice } from '../fsio/file-device.ts';
import { OpenError, type OpenErrorCode } from '../fsio/open-error.ts';
import { RemoteLeg } from '../remote/leg.ts';
import { errorCodeOf } from '../sys/node-errors.ts';
import { isNativeTable, linesOf } from './assemble.ts';
import type { LegDevice } from './open-leg.ts';

/** Where the files are, and what may be done about one that is not as it should be. */
export interface ExternalRule {
  readonly folder: string;
  /** One that is not there is made, this long; null: then the leg has no metadata. */
  readonly makeBytes: number | null;
  /** So is the folder: only by `create`, for a folder that is gone later may be one not mounted. */
  readonly makesFolder: boolean;
  /** One that is not the leg's is made anew. */
  readonly force: boolean;
  /** Legs and files were copied from elsewhere: a leg at its path with its length is believed. */
  readonly moved: boolean;
}

const EXTERNAL_FORMAT = `internal or ${EXTERNAL}DIR`;

/** The folder of `external:DIR`; null: the metadata is on the legs. @throws ControlError bad-argument */
export function externalFolderOf(metadata: string | undefined): string | null {
  if (metadata === undefined || metadata === 'internal') return null;
  const folder = metadata.startsWith(EXTERNAL) ? metadata.slice(EXTERNAL.length) : '';
  if (folder.startsWith('/') && !/[\0\n\r]/.test(folder)) return folder;
  throw new ControlError(
    'bad-argument',
    `metadata ${JSON.stringify(metadata)}: expected ${EXTERNAL_FORMAT}, a folder`,
  );
}

/** `external:DIR` with the folder as `absolute` has it. */
export function mapMetadataPath(
  metadata: string | undefined,
  absolute: (path: string) => string,
): string | undefined {
  if (metadata?.startsWith(EXTERNAL) !== true || metadata === EXTERNAL) return metadata;
  return EXTERNAL + absolute(metadata.slice(EXTERNAL.length));
}

/** What a table says of its legs' metadata files; null: it has none. */
export function externalOfTable(
  text: string,
): { readonly folder: string; readonly bytes: number } | null {
  if (!isNativeTable(text)) return null;
  const [, length = '', , ...words] = splitWords(linesOf(text)[0] ?? '');
  const { metadataFolder, regionSectors } = parseMirrorArgs(Number(length), words, 1);
  if (metadataFolder === null) return null;
  const bytes = externalBytes(Math.ceil(Number(length) / regionSectors));
  return { folder: metadataFolder, bytes };
}

export function externalPathOf(folder: string, leg: string): string {
  return join(folder, externalNameOf(leg));
}

/**
 * Opens a leg's metadata file, under a lock of its own; null: there is none, and none was to be made.
 * @throws OpenError
 */
export async function openExternal(
  path: string,
  leg: LegDevice,
  rule: ExternalRule,
): Promise<FileDevice | null> {
  const { folder, makeBytes } = rule;
  const file = externalPathOf(folder, path);
  const hasFolder = statSync(folder, { throwIfNoEntry: false }) !== undefined;
  if (!hasFolder && makeBytes === null) return null;
  const isFolderMade = inFolder(path, rule);
  const isThere = statSync(file, { throwIfNoEntry: false }) !== undefined;
  if (!isThere && makeBytes === null) return null;
  // In blocks of 512 bytes, whatever the leg's are: its own writes are made durable one by one.
  const { loop } = leg;
  const how = { loop, readOnly: false, exclusive: true, cache: 'writeback' } as const;
  const create = makeBytes === null ? {} : { create: { sizeBytes: makeBytes } };
  const open = async (isNew: boolean): Promise<FileDevice> => {
    const device = await openFileDevice(file, { ...how, ...create });
    try {
      await tie(device, file, isNew, path, leg, rule);
      return device;
    } catch (error) {
      await device.abandon();
      throw error;
    }
  };
  try {
    return await open(!isThere).catch((error: unknown) => {
      if (!rule.force || makeBytes === null || !isReplaceable(error)) throw error;
      unlinkSync(file);
      return open(true);
    });
  } catch (error) {
    if (isFolderMade) rmdirSync(folder);
    throw saidOf(path, error);
  }
}

/** In the words of the leg; what is there and cannot be its metadata is the metadata of nothing. */
function saidOf(path: string, error: unknown): unknown {
  if (!(error instanceof OpenError)) return error;
  const code = USELESS.includes(error.code) ? 'foreign' : error.code;
  return new OpenError(code, `${path}: ${error.message}`);
}

const USELESS: readonly OpenErrorCode[] = ['foreign', 'size', 'empty', 'directory'];

/**
 * The same for who only looks: nothing is locked, nothing written.
 * @throws OpenError
 */
export async function lookAtExternal(
  path: string,
  leg: FileDevice,
  folder: string,
): Promise<FileDevice> {
  const file = externalPathOf(folder, path);
  const { loop } = leg;
  const device = await openFileDevice(file, { loop, readOnly: true, exclusive: false });
  try {
    const rule = { folder, makeBytes: null, makesFolder: false, force: false, moved: false };
    await tie(device, file, false, path, leg, rule);
    return device;
  } catch (error) {
    await device.close();
    throw error;
  }
}

/** It is no good, and nobody uses it. */
function isReplaceable(error: unknown): boolean {
  return error instanceof OpenError && USELESS.includes(error.code) && error.code !== 'directory';
}

/** The file's card is the leg's, or is written. @throws OpenError */
async function tie(
  device: FileDevice,
  file: string,
  isNew: boolean,
  path: string,
  leg: LegDevice,
  { makeBytes, moved }: ExternalRule,
): Promise<void> {
  const wanted = await cardOf(path, leg);
  if (fstatSync(device.fd).isBlockDevice())
    throw new OpenError('not-a-device', `its metadata ${file} is no file`);
  const isLong = makeBytes === null || bytesOfSectors(device.sectors) === makeBytes;
  const bytes = Buffer.alloc(CARD_BYTES);
  readSync(device.fd, bytes, 0, CARD_BYTES, 0);
  // Zeros: whoever made it was killed before he had written a word.
  const isBlank = makeBytes !== null && isLong && bytes.every((byte) => byte === 0);
  if (isNew || isBlank) {
    writeCard(device, wanted);
    return;
  }
  const found = decodeCard(bytes);
  const known = typeof found !== 'string' && moved ? { ...found, key: '' } : found;
  const problem =
    typeof known === 'string'
      ? known
      : (cardProblem(known, wanted) ?? (isLong ? null : 'has not the length that this set needs'));
  if (problem !== null) throw new OpenError('foreign', `its metadata file ${file} ${problem}`);
  if (moved) writeCard(device, wanted);
}

function writeCard({ fd }: FileDevice, card: Card): void {
  writeSync(fd, encodeCard(card), 0, CARD_BYTES, 0);
  fsyncSync(fd);
}

/** True: the folder was made; the one above must be there. @throws OpenError */
function inFolder(path: string, { folder, makesFolder }: ExternalRule): boolean {
  const found = statSync(folder, { throwIfNoEntry: false });
  if (found?.isDirectory() === true) return false;
  const words = `${path}: the metadata folder ${folder}`;
  if (found !== undefined) throw new OpenError('not-a-device', `${words} is no folder`);
  if (!makesFolder) throw new OpenError('missing', `${words} does not exist`);
  try {
    mkdirSync(folder, { mode: 0o700 });
    return true;
  } catch (error) {
    throw new OpenError('failed', `${words} cannot be made: ${errorCodeOf(error) ?? ''}`);
  }
}

const fstat = promisify(fstatOf);

async function cardOf(leg: string, device: LegDevice): Promise<Card> {
  return { leg, legSectors: device.sectors, key: await keyOf(device) };
}

/**
 * What stays the same over a reboot: of a file its inode and birth, where the file system has births
 * (FUSE, whose inode numbers are drawn anew, has none); of a disk what it says of itself.
 */
async function keyOf(device: LegDevice): Promise<string> {
  if (device instanceof RemoteLeg) return '';
  const stats = await fstat(device.fd, { bigint: true });
  if (stats.isBlockDevice()) return diskKey(deviceNumber(stats.rdev));
  return stats.birthtimeNs > 0n ? `file ${stats.ino} of ${stats.birthtimeNs / 1_000_000_000n}` : '';
}

function diskKey(number: string): string {
  const sys = `/sys/dev/block/${number}`;
  const part = word(`${sys}/partition`);
  const disk = part === '' ? sys : `${sys}/..`;
  const places = ['wwid', 'device/wwid', 'device/serial', 'serial', 'dm/uuid'];
  const own = places.map((place) => word(`${disk}/${place}`)).find((text) => text !== '') ?? '';
  return own === '' ? '' : `disk ${own}${part === '' ? '' : ` part ${part}`}`;
}

function word(path: string): string {
  try {
    return readFileSync(path, 'ascii').trim();
  } catch {
    return '';
  }
}

/** Of a device that `withExternal` has made: the leg in it. */
const legsInside = new WeakMap<BlockDevice, BlockDevice>();

export function legInside(whole: BlockDevice): BlockDevice {
  return legsInside.get(whole) ?? whole;
}

/** The leg, and behind its last sector what is a trailer elsewhere: one device. */
export function withExternal(leg: BlockDevice, metadata: BlockDevice, loop: Loop): BlockDevice {
  const { name, sectors } = leg;
  const behind = metadata.sectors - CARD_SECTORS;
  const here = { path: name, startSector: 0, sectors, writable: true };
  const there = { path: metadata.name, startSector: CARD_SECTORS, sectors: behind, writable: true };
  const table = new Table([
    { startSector: 0, endSector: sectors, target: new LinearTarget(0, here, leg, loop) },
    {
      startSector: sectors,
      endSector: sectors + behind,
      target: new LinearTarget(sectors, there, metadata, loop),
    },
  ]);
  const whole = new MappedDevice(name, table, loop);
  legsInside.set(whole, leg);
  return whole;
}
