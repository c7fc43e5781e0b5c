/** Opening the legs of a device, all or none, and putting back what creation did. */
import { lstatSync } from 'node:fs';
import { open } from 'node:fs/promises';
import type { Clock, Log } from '../../core/base/ports.ts';
import { assert } from '../../core/base/assert.ts';
import { ERRNO, errnoName } from '../../core/base/errno.ts';
import { bytesOfSectors, sectorsCeil } from '../../core/base/units.ts';
import { Bio } from '../../core/block/bio.ts';
import type { BlockDevice } from '../../core/block/device.ts';
import { sectorsFloor } from '../../core/base/units.ts';
import type { Loop } from '../../core/block/loop.ts';
import type { CacheMode } from '../../core/control/cache.ts';
import { REQ_OP } from '../../core/block/op.ts';
import { ControlError } from '../../core/control/error.ts';
import type { ErrorCode } from '../../core/control/error.ts';
import { isLegUri } from '../../core/control/leg-name.ts';
import { OpenError } from '../fsio/open-error.ts';
import type { OpenErrorCode } from '../fsio/open-error.ts';
import { RemoteLeg } from '../remote/leg.ts';
import { AbsentDevice } from './absent-device.ts';
import { LowerDevice } from './lower-device.ts';
import { lowerNameOf, StackedLeg, type Stack } from './stack.ts';
import type { OpenLeg } from './assemble.ts';
import { openLeg, type LegDevice } from './open-leg.ts';
import { contentIdOf, signatureOf, SIGNATURE_BYTES } from './signature.ts';

/** How legs are cached, by path; a leg that is not there has its kind's default. */
type CacheByPath = Readonly<Record<string, CacheMode>>;

export interface OpenLegsOptions {
  /** The device that is to stand on these legs, and the others it may stand on; null: on none. */
  readonly upper: string;
  readonly stack: Stack | null;
  readonly loop: Loop;
  readonly clock: Clock;
  readonly log: Log;
  readonly readOnly: boolean;
  /** Missing legs are made, this long. */
  readonly createBytes: number | null;
  /** Ends the sentence about a missing leg; empty when nothing would make it. */
  readonly createHint: string;
  /** One of the paths is that of a `disk` log: it must be there, or be made, this long. */
  readonly dirtyLog?:
    | { readonly path: string; readonly createBytes: number | null; readonly hint: string }
    | undefined;
  /** A leg that is not there is left out, with the reason; else it is an error. */
  readonly mayBeMissing: boolean;
}

/** The open legs of one device, by the path that named them. */
export class OpenLegs {
  readonly devices = new Map<string, LegDevice>();
  /** Devices of this daemon. */
  readonly stacked = new Map<string, StackedLeg>();
  /** Legs that are not there, and why. */
  readonly missing = new Map<string, string>();
  /** Legs made just now: they hold zeros. */
  readonly created: string[] = [];
  /** Where the device lives in a thread: gives a remote leg's connections to it. */
  handOver: (leg: RemoteLeg) => void = () => undefined;
  private readonly cache: CacheByPath;

  private constructor(cache: CacheByPath) {
    this.cache = cache;
  }

  static none(): OpenLegs {
    return new OpenLegs({});
  }

  /**
   * Opens every path once, under an exclusive lock. What fails leaves nothing behind.
   * @throws ControlError
   */
  static async open(
    paths: readonly string[],
    options: OpenLegsOptions & { readonly cache: CacheByPath },
  ): Promise<OpenLegs> {
    const legs = new OpenLegs(options.cache);
    try {
      for (const path of new Set(paths)) await legs.openOne(path, options);
      return legs;
    } catch (error) {
      await legs.undo();
      throw controlErrorOf(error);
    }
  }

  /** The device of a path; an absent one where none is there. */
  deviceOf(path: string, loop: Loop): BlockDevice {
    const file = this.devices.get(path);
    if (file !== undefined) return file;
    const below = this.stacked.get(path)?.below;
    if (below === undefined) return new AbsentDevice(path, loop);
    const { sectors, limits } = below;
    return below.device ?? new AbsentDevice(path, loop, sectors, limits);
  }

  /** The device that stands on these was not known when they were borrowed. */
  heldFor(upper: string): void {
    for (const { lower } of this.stacked.values()) lower.holder = upper;
  }

  /** What these paths name, as far as it is there, for who reads and writes here. */
  blocksAt(paths: readonly string[], loop: Loop): ReadonlyMap<string, BlockDevice> {
    const found = new Map<string, BlockDevice>();
    for (const path of paths) {
      const device = this.devices.get(path);
      if (device !== undefined) found.set(path, device);
      const runner = this.stacked.get(path)?.lower.runner;
      if (runner === undefined) continue;
      found.set(path, runner.below().device ?? new LowerDevice(path, runner, loop));
    }
    return found;
  }

  /** Those of these and of `added` that `paths` name, for who only looks. */
  with(added: OpenLegs, paths: readonly string[]): OpenLegs {
    const some = new OpenLegs(this.cache);
    for (const path of paths) {
      const device = this.devices.get(path) ?? added.devices.get(path);
      if (device !== undefined) some.devices.set(path, device);
      const lower = this.stacked.get(path) ?? added.stacked.get(path);
      if (lower !== undefined) some.stacked.set(path, lower);
    }
    return some;
  }

  /** Takes the legs of `added` over. */
  adopt(added: OpenLegs): void {
    for (const [path, device] of added.devices) this.devices.set(path, device);
    for (const [path, lower] of added.stacked) this.stacked.set(path, lower);
    added.devices.clear();
    added.stacked.clear();
  }

  /** Closes all but those that `paths` name. */
  async closeOthers(paths: readonly string[]): Promise<void> {
    for (const path of this.missing.keys()) this.missing.delete(path);
    for (const [path, device] of this.devices) {
      if (paths.includes(path)) continue;
      this.devices.delete(path);
      await device.close();
    }
    for (const [path, lower] of this.stacked) {
      if (paths.includes(path)) continue;
      this.stacked.delete(path);
      await lower.release();
    }
  }

  /**
   * One more, or one again.
   * @throws ControlError
   */
  async openMore(path: string, options: OpenLegsOptions): Promise<LegDevice> {
    try {
      await this.openOne(path, options);
    } catch (error) {
      throw controlErrorOf(error);
    }
    const device = this.devices.get(path);
    if (device === undefined) throw new ControlError('no-leg', this.missing.get(path) ?? path);
    this.missing.delete(path);
    return device;
  }

  attach({ path }: OpenLeg): BlockDevice {
    const device = this.devices.get(path);
    assert(device !== undefined, 'a leg nobody has opened was attached');
    return device;
  }

  /** Lets go of one leg: nothing may be under way there. */
  async closeOne(path: string): Promise<void> {
    const device = this.devices.get(path);
    const lower = this.stacked.get(path);
    this.devices.delete(path);
    this.stacked.delete(path);
    await lower?.release();
    await device?.close();
  }

  /** The same, and what opening has made is removed. */
  async undoOne(path: string): Promise<void> {
    const device = this.devices.get(path);
    this.devices.delete(path);
    await device?.abandon();
  }

  async close(): Promise<void> {
    for (const device of this.devices.values()) await device.close();
    this.devices.clear();
    await this.releaseStacked();
  }

  /** Close, and remove what opening has made. */
  async undo(): Promise<void> {
    for (const device of this.devices.values()) await device.abandon();
    this.devices.clear();
    await this.releaseStacked();
  }

  private async releaseStacked(): Promise<void> {
    for (const lower of this.stacked.values()) await lower.release();
    this.stacked.clear();
  }

  private async stackOn(path: string, options: OpenLegsOptions): Promise<void> {
    const { upper, stack } = options;
    if (stack === null) {
      throw new ControlError(
        'unsupported',
        `leg ${path}: devices become legs by create and reload`,
      );
    }
    try {
      this.stacked.set(path, await StackedLeg.borrow(path, upper, stack));
    } catch (error) {
      const isGone = error instanceof ControlError && error.code === 'no-leg';
      if (!options.mayBeMissing || !isGone) throw error;
      this.missing.set(path, error.message);
    }
  }

  private async openOne(path: string, options: OpenLegsOptions): Promise<void> {
    if (path === options.dirtyLog?.path) {
      await this.openLog(options.dirtyLog, options);
      return;
    }
    if (lowerNameOf(path) !== undefined) {
      await this.stackOn(path, options);
      return;
    }
    const wasThere = isLegUri(path) || lstatSync(path, { throwIfNoEntry: false }) !== undefined;
    try {
      this.devices.set(path, await openLeg(path, { ...options, cache: this.cache[path] }));
      // Nothing in it: whoever may have been faster than we left no content.
      if (!wasThere && lstatSync(path).blocks === 0) this.created.push(path);
    } catch (error) {
      if (options.mayBeMissing && isAbsence(error)) this.missing.set(path, error.message);
      else throw isLegUri(path) ? error : withHint(error, options);
    }
  }

  private async openLog(
    { path, createBytes, hint }: NonNullable<OpenLegsOptions['dirtyLog']>,
    options: OpenLegsOptions,
  ): Promise<void> {
    const wasThere = lstatSync(path, { throwIfNoEntry: false }) !== undefined;
    try {
      const cache = this.cache[path];
      const opened = await openLeg(path, { ...options, readOnly: false, createBytes, cache });
      this.devices.set(path, opened);
      if (!wasThere) this.created.push(path);
    } catch (error) {
      if (!(error instanceof OpenError)) throw error;
      const isHelp = createBytes === null && hint !== '' && error.code === 'missing';
      const words = `log ${error.message}${isHelp ? `; ${hint}` : ''}`;
      throw new ControlError(ERROR_CODES[error.code], words);
    }
  }
}

/** What crosses threads of an open leg. */
export function openLegOf(path: string, device: LegDevice): OpenLeg {
  const { sectors, limits } = device;
  if (device instanceof RemoteLeg) {
    const { plan } = device;
    return { path, fd: -1, syncFds: [], direct: false, sectors, limits, remote: plan };
  }
  const { fd, syncFds, isDirect } = device;
  return { path, fd, syncFds, direct: isDirect, sectors, limits, remote: null };
}

/**
 * A new mirror overwrites its legs with the content of the first, and the first may be somebody's:
 * none may carry data that can be told from noise.
 * @throws ControlError would-lose-data
 */
export async function refuseForeignContent(
  legs: OpenLegs,
  paths: Iterable<string>,
  howToForce: string,
): Promise<void> {
  for (const path of paths) {
    const found = signatureOf(await headOf(legs, path));
    if (found === undefined) continue;
    throw new ControlError('would-lose-data', `leg ${path} carries ${found}; ${howToForce}`);
  }
}

/** The same for legs that may be copies of each other already: those of one beginning. */
export async function refuseDifferentContent(
  legs: OpenLegs,
  paths: readonly string[],
  howToForce: string,
): Promise<void> {
  const [first, ...others] = paths;
  if (first === undefined) return;
  const head = await headOf(legs, first);
  const different: string[] = [];
  for (const path of others) {
    const other = await headOf(legs, path);
    const length = Math.min(head.length, other.length);
    if (!head.subarray(0, length).equals(other.subarray(0, length))) different.push(path);
  }
  await refuseForeignContent(legs, different, howToForce);
}

/**
 * A leg that comes back is filled from the others: what it carries must be of the set, or nothing
 * that can be told from noise.
 * @throws ControlError would-lose-data
 */
export async function refuseStranger(
  legs: OpenLegs,
  path: string,
  member: string,
  remedy: string,
): Promise<void> {
  const [head, ours] = [await headOf(legs, path), await headOf(legs, member)];
  const found = signatureOf(head);
  const isCopy = head.equals(ours.subarray(0, head.length));
  if (found === undefined || isCopy) return;
  const id = contentIdOf(head);
  if (id !== undefined && id === contentIdOf(ours)) return;
  throw new ControlError('would-lose-data', `leg ${path} carries ${found} of its own; ${remedy}`);
}

/** The first bytes of a leg; fewer when it is shorter. */
async function headOf(legs: OpenLegs, path: string): Promise<Buffer> {
  const stacked = legs.stacked.get(path);
  if (stacked !== undefined) {
    const sectors = sectorsFloor(SIGNATURE_BYTES);
    return Buffer.from(await stacked.lower.runner.call('head', { sectors }));
  }
  const device = legs.devices.get(path);
  if (isLegUri(path) && device !== undefined) return readHead(device);
  const file = await open(path, 'r');
  try {
    const head = Buffer.alloc(SIGNATURE_BYTES);
    const { bytesRead } = await file.read(head, 0, head.length, 0);
    return head.subarray(0, bytesRead);
  } finally {
    await file.close();
  }
}

async function readHead(device: BlockDevice): Promise<Buffer> {
  const block = sectorsCeil(device.limits.logicalBlockSize);
  const wanted = Math.ceil(sectorsCeil(SIGNATURE_BYTES) / block) * block;
  const head = Buffer.alloc(bytesOfSectors(Math.min(device.sectors, wanted)));
  const step = Math.min(device.limits.maxSectors, sectorsCeil(head.length));
  for (let at = 0; at < sectorsCeil(head.length); at += step) {
    const sectors = Math.min(step, sectorsCeil(head.length) - at);
    head.set(await readSectors(device, at, sectors), bytesOfSectors(at));
  }
  return head.subarray(0, SIGNATURE_BYTES);
}

/** @throws ControlError io */
export async function readSectors(
  device: BlockDevice,
  sector: number,
  sectors: number,
): Promise<Buffer> {
  const bytes = Buffer.alloc(bytesOfSectors(sectors));
  const bio = new Bio();
  bio.op = REQ_OP.READ;
  bio.sector = sector;
  bio.sectors = sectors;
  bio.setBuffer(bytes, 0, bytes.length);
  const errno = await new Promise<number>((ended) => {
    bio.owner = { endIo: () => ended(bio.error) };
    device.submit(bio);
  });
  if (errno === ERRNO.OK) return bytes;
  throw new ControlError('io', `leg ${device.name} cannot be read: ${errnoName(errno)}`);
}

const ERROR_CODES: Readonly<Record<OpenErrorCode, ErrorCode>> = {
  missing: 'no-leg',
  directory: 'bad-leg',
  'not-a-device': 'bad-leg',
  permission: 'bad-leg',
  'read-only': 'bad-leg',
  busy: 'busy',
  'same-file': 'bad-leg',
  empty: 'bad-leg',
  size: 'bad-leg',
  'no-space': 'io',
  'no-direct': 'bad-leg',
  broken: 'io',
  uri: 'bad-argument',
  failed: 'io',
};

/** An OpenError in the words of the control path; anything else as it is. */
export function controlErrorOf(error: unknown): unknown {
  if (!(error instanceof OpenError)) return error;
  return new ControlError(ERROR_CODES[error.code], `leg ${error.message}`);
}

function withHint(error: unknown, { createBytes, createHint }: OpenLegsOptions): unknown {
  const isHelp = createBytes === null && createHint !== '';
  if (!isHelp || !(error instanceof OpenError) || error.code !== 'missing') return error;
  return new ControlError('no-leg', `leg ${error.message}; ${createHint}`);
}

/** A disk that has died is as good as gone, whether its name is still there or not. */
function isAbsence(error: unknown): error is OpenError {
  if (!(error instanceof OpenError)) return false;
  return error.code === 'missing' || error.code === 'not-a-device' || error.code === 'broken';
}
