/** Opening the legs of a device, all or none, and putting back what creation did. */
import { lstatSync } from 'node:fs';
import { bytesOfSectors } from '../../core/base/units.ts';
import type { Clock, Log } from '../../core/base/ports.ts';
import { assert } from '../../core/base/assert.ts';
import type { BlockDevice } from '../../core/block/device.ts';
import type { Loop } from '../../core/block/loop.ts';
import type { Remembered } from '../../core/remote/witness.ts';
import type { CacheMode } from '../../core/control/cache.ts';
import type { DeviceReference } from '../../core/dm/target.ts';
import { ControlError } from '../../core/control/error.ts';
import type { ErrorCode } from '../../core/control/error.ts';
import { isLegUri } from '../../core/control/leg-name.ts';
import { FileDevice } from '../fsio/file-device.ts';
import { OpenError } from '../fsio/open-error.ts';
import type { OpenErrorCode } from '../fsio/open-error.ts';
import { RemoteLeg } from '../remote/leg.ts';
import { AbsentDevice } from './absent-device.ts';
import {
  externalPathOf,
  openExternal,
  withExternal,
  type ExternalRule,
} from './external-metadata.ts';
import { LowerDevice } from './lower-device.ts';
import { lowerNameOf, StackedLeg, type Stack } from './stack.ts';
import type { OpenLeg } from './assemble.ts';
import { openLeg, type LegDevice } from './open-leg.ts';

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
  /** The metadata of each leg is in a file of its own; null: not so, or the files are opened later. */
  readonly external?: ExternalRule | null;
  /** Of a remote leg that was open before: what it must hold. */
  readonly remembered?: readonly Remembered[];
  readonly isOther?: boolean;
  /** A leg that is not there is left out, with the reason; else it is an error. */
  readonly mayBeMissing: boolean;
}

/** The open legs of one device, by the path that named them. */
export class OpenLegs {
  readonly devices = new Map<string, LegDevice>();
  /** Devices of this daemon. */
  readonly stacked = new Map<string, StackedLeg>();
  /** The metadata files of legs that have one, by the path of the leg. */
  readonly metadata = new Map<string, FileDevice>();
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
    const file = this.wholeOf(path);
    if (file !== undefined) return file;
    const below = this.stacked.get(path)?.below;
    if (below === undefined) return new AbsentDevice(path, loop);
    const { sectors, limits } = below;
    return below.device ?? new AbsentDevice(path, loop, sectors, limits);
  }

  /** A leg with what is kept for it elsewhere. */
  private wholeOf(path: string): BlockDevice | undefined {
    const device = this.devices.get(path);
    const metadata = this.metadata.get(path);
    if (device === undefined || metadata === undefined) return device;
    return withExternal(device, metadata, device.loop);
  }

  /** What crosses threads of a leg that is open. */
  openLegOf(path: string): OpenLeg {
    const device = this.devices.get(path);
    assert(device !== undefined, 'a leg that is not open');
    const metadata = this.metadata.get(path);
    return {
      ...openLegOf(path, device),
      metadata: metadata === undefined ? null : openLegOf(metadata.name, metadata),
    };
  }

  /**
   * Opens the metadata files of legs that are open, or makes them.
   * @throws ControlError what was opened or made here is as before
   */
  async openMetadata(paths: readonly string[], rule: ExternalRule): Promise<void> {
    const before = new Set(this.metadata.keys());
    try {
      for (const path of paths) await this.openMetadataOf(path, rule);
    } catch (error) {
      for (const [path, file] of this.metadata) {
        if (before.has(path)) continue;
        this.metadata.delete(path);
        await file.abandon();
      }
      throw controlErrorOf(error);
    }
  }

  /** False: there is none. */
  private async openMetadataOf(path: string, rule: ExternalRule): Promise<boolean> {
    const device = this.devices.get(path);
    if (device === undefined || this.metadata.has(path)) return true;
    const opened = await openExternal(path, device, rule);
    if (opened !== null) this.metadata.set(path, opened);
    return opened !== null;
  }

  /** Lets go of the metadata files: of legs that are to have none of these. */
  async closeMetadata(): Promise<void> {
    for (const file of this.metadata.values()) await file.close();
    this.metadata.clear();
  }

  /** The device that stands on these was not known when they were borrowed. */
  heldFor(upper: string): void {
    for (const { lower } of this.stacked.values()) lower.holder = upper;
  }

  /** What these paths name, as far as it is there, for who reads and writes here. */
  blocksAt(paths: readonly string[], loop: Loop): ReadonlyMap<string, BlockDevice> {
    const found = new Map<string, BlockDevice>();
    for (const path of paths) {
      const device = this.wholeOf(path);
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
      const metadata = this.metadata.get(path) ?? added.metadata.get(path);
      if (metadata !== undefined) some.metadata.set(path, metadata);
      const lower = this.stacked.get(path) ?? added.stacked.get(path);
      if (lower !== undefined) some.stacked.set(path, lower);
    }
    return some;
  }

  /** Files may have become longer since they were opened. */
  async lookAgain(): Promise<void> {
    for (const device of this.devices.values()) {
      if (device instanceof FileDevice) await device.lookAgain();
    }
  }

  /** Takes the legs of `added` over. */
  adopt(added: OpenLegs): void {
    for (const [path, device] of added.devices) this.devices.set(path, device);
    for (const [path, lower] of added.stacked) this.stacked.set(path, lower);
    for (const [path, file] of added.metadata) this.metadata.set(path, file);
    added.devices.clear();
    added.metadata.clear();
    added.stacked.clear();
  }

  /** Legs that have become too short for what is on them are as good as gone. */
  async dropShort(references: readonly DeviceReference[]): Promise<void> {
    for (const { path, startSector, sectors } of references) {
      const device = this.devices.get(path);
      if (device === undefined || device.sectors >= startSector + sectors) continue;
      const [has, wanted] = [device.sectors, startSector + sectors].map(bytesOfSectors);
      await this.closeOne(path);
      this.missing.set(path, `${path} has ${has} bytes now, ${wanted} are wanted`);
    }
  }

  /** Closes all but those that `paths` name. */
  async closeOthers(paths: readonly string[]): Promise<void> {
    for (const path of this.missing.keys()) this.missing.delete(path);
    for (const [path, device] of this.devices) {
      if (paths.includes(path)) continue;
      this.devices.delete(path);
      await device.close();
      await this.takeMetadata(path)?.close();
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
    const device = this.wholeOf(path);
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
    await this.takeMetadata(path)?.close();
  }

  private takeMetadata(path: string): FileDevice | undefined {
    const file = this.metadata.get(path);
    this.metadata.delete(path);
    return file;
  }

  /** The same, and what opening has made is removed. */
  async undoOne(path: string): Promise<void> {
    const device = this.devices.get(path);
    this.devices.delete(path);
    await device?.abandon();
    await this.takeMetadata(path)?.abandon();
  }

  async close(): Promise<void> {
    for (const device of this.devices.values()) await device.close();
    this.devices.clear();
    await this.closeMetadata();
    await this.releaseStacked();
  }

  /** Close, and remove what opening has made. */
  async undo(): Promise<void> {
    for (const device of this.devices.values()) await device.abandon();
    this.devices.clear();
    for (const file of this.metadata.values()) await file.abandon();
    this.metadata.clear();
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
      await this.openWith(path, options.external ?? null);
      // Nothing in it: whoever may have been faster than we left no content.
      if (!wasThere && lstatSync(path).blocks === 0) this.created.push(path);
    } catch (error) {
      if (options.mayBeMissing && isAbsence(error)) this.missing.set(path, error.message);
      else throw isLegUri(path) ? error : withHint(error, options);
    }
  }

  /** A leg without its metadata is none: it is let go again. */
  private async openWith(path: string, rule: ExternalRule | null): Promise<void> {
    if (rule === null) return;
    try {
      if (await this.openMetadataOf(path, rule)) return;
      const file = externalPathOf(rule.folder, path);
      throw new OpenError('missing', `${path}: its metadata file ${file} does not exist`);
    } catch (error) {
      await this.undoOne(path);
      throw error;
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
function openLegOf(path: string, device: LegDevice): OpenLeg {
  const { sectors, limits } = device;
  const metadata = null;
  if (device instanceof RemoteLeg) {
    const { plan } = device;
    return { path, fd: -1, syncFds: [], direct: false, sectors, limits, remote: plan, metadata };
  }
  const { fd, syncFds, isDirect } = device;
  return { path, fd, syncFds, direct: isDirect, sectors, limits, remote: null, metadata };
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
  foreign: 'bad-leg',
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

/** Of what is there and cannot be the leg that was. Not `busy`: somebody else may be writing to it. */
const ABSENT: readonly OpenErrorCode[] = [
  'missing',
  'directory',
  'not-a-device',
  'permission',
  'read-only',
  'empty',
  'size',
  'no-direct',
  'broken',
  'foreign',
];

/** A disk that has died is as good as gone, whether its name is still there or not. */
function isAbsence(error: unknown): error is OpenError {
  if (!(error instanceof OpenError)) return false;
  return ABSENT.includes(error.code);
}
