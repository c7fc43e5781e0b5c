/** Opening the legs of a device, all or none, and putting back what creation did. */
import { lstatSync } from 'node:fs';
import { open } from 'node:fs/promises';
import type { Clock, Log } from '../../core/base/ports.ts';
import { ERRNO, errnoName } from '../../core/base/errno.ts';
import { bytesOfSectors, sectorsCeil } from '../../core/base/units.ts';
import { Bio } from '../../core/block/bio.ts';
import type { BlockDevice } from '../../core/block/device.ts';
import type { Loop } from '../../core/block/loop.ts';
import { REQ_OP } from '../../core/block/op.ts';
import { ControlError } from '../../core/control/error.ts';
import type { ErrorCode } from '../../core/control/error.ts';
import { isLegUri } from '../../core/control/leg-name.ts';
import { OpenError } from '../fsio/open-error.ts';
import type { OpenErrorCode } from '../fsio/open-error.ts';
import { AbsentDevice } from './absent-device.ts';
import { openLeg, type LegDevice } from './open-leg.ts';
import { signatureOf, SIGNATURE_BYTES } from './signature.ts';

export interface OpenLegsOptions {
  readonly loop: Loop;
  readonly clock: Clock;
  readonly log: Log;
  readonly readOnly: boolean;
  /** Missing legs are made, this long. */
  readonly createBytes: number | null;
  /** Ends the sentence about a missing leg; empty when nothing would make it. */
  readonly createHint: string;
  /** A leg that is not there is left out, with the reason; else it is an error. */
  readonly mayBeMissing: boolean;
}

/** The open legs of one device, by the path that named them. */
export class OpenLegs {
  readonly devices = new Map<string, LegDevice>();
  /** Legs that are not there, and why. */
  readonly missing = new Map<string, string>();
  /** Legs made just now: they hold zeros. */
  readonly created: string[] = [];

  /**
   * Opens every path once, under an exclusive lock. What fails leaves nothing behind.
   * @throws ControlError
   */
  static async open(paths: readonly string[], options: OpenLegsOptions): Promise<OpenLegs> {
    const legs = new OpenLegs();
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
    return this.devices.get(path) ?? new AbsentDevice(path, loop);
  }

  async close(): Promise<void> {
    for (const device of this.devices.values()) await device.close();
    this.devices.clear();
  }

  /** Close, and remove what opening has made. */
  async undo(): Promise<void> {
    for (const device of this.devices.values()) await device.abandon();
    this.devices.clear();
  }

  private async openOne(path: string, options: OpenLegsOptions): Promise<void> {
    const wasThere = isLegUri(path) || lstatSync(path, { throwIfNoEntry: false }) !== undefined;
    try {
      this.devices.set(path, await openLeg(path, options));
      // Nothing in it: whoever may have been faster than we left no content.
      if (!wasThere && lstatSync(path).blocks === 0) this.created.push(path);
    } catch (error) {
      if (options.mayBeMissing && isAbsence(error)) this.missing.set(path, error.message);
      else throw withHint(error, options);
    }
  }
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

/** The first bytes of a leg; fewer when it is shorter. */
async function headOf(legs: OpenLegs, path: string): Promise<Buffer> {
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
  const sectors = Math.min(device.sectors, sectorsCeil(SIGNATURE_BYTES), device.limits.maxSectors);
  const block = device.limits.logicalBlockSize;
  const bytes = Math.ceil(bytesOfSectors(sectors) / block) * block;
  const head = Buffer.alloc(bytes);
  const bio = new Bio();
  bio.op = REQ_OP.READ;
  bio.sectors = sectorsCeil(bytes);
  bio.setBuffer(head, 0, bytes);
  const errno = await new Promise<number>((ended) => {
    bio.owner = { endIo: () => ended(bio.error) };
    device.submit(bio);
  });
  if (errno === ERRNO.OK) return head.subarray(0, SIGNATURE_BYTES);
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

function isAbsence(error: unknown): error is OpenError {
  return error instanceof OpenError && (error.code === 'missing' || error.code === 'not-a-device');
}
